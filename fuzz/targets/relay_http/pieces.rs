//! Bytes are judged alike, in whichever pieces they come.

use pyro_relay::{DomainName, Inspector, MOST_HELD};

/// How much passed and which names were claimed; none where it was refused.
fn feed(port: u16, pieces: &[&[u8]]) -> Option<(usize, Vec<DomainName>)> {
    let mut inspector = Inspector::new(port);
    let (mut held, mut names, mut passed) = (Vec::new(), Vec::new(), 0);
    for piece in pieces {
        held.extend_from_slice(piece);
        let clear = inspector
            .advance(&held, &mut |_, name| {
                names.push(name.clone());
                Ok(())
            })
            .ok()?;
        passed += clear;
        held.drain(..clear);
        assert!(held.len() <= MOST_HELD || inspector.awaits_answer());
    }
    // Whatever else happens, an end and an answer break nothing.
    let _ = inspector.answer(pieces.last().unwrap_or(&&[][..]));
    let _ = inspector.end(&held, &mut |_, _| Ok(()));
    Some((passed, names))
}

/// Panics where pieces of some length are judged in another way than the whole.
pub fn agree(port: u16, bytes: &[u8], cut: u8) {
    let pieces: Vec<&[u8]> = bytes.chunks(usize::from(cut).max(1)).collect();
    assert_eq!(feed(port, &[bytes]), feed(port, &pieces));
}
