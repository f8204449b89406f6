//! Frames of an upgraded HTTP connection, and the control documents in them.
//!
//! The first byte says in what pieces the rest arrives.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use pyro_api::{ClientControl, ServerControl, StreamFrame, StreamKind};

fuzz_target!(|input: &[u8]| {
    let Some((&piece, stream)) = input.split_first() else { return };
    let frames = cut(stream.chunks(usize::from(piece).max(1)));
    // However a stream arrives, it is the same frames.
    assert_eq!(frames, cut(std::iter::once(stream)));

    let mut again = Vec::new();
    for frame in &frames {
        again.extend_from_slice(&frame.to_bytes());
        if frame.kind != StreamKind::Control {
            continue;
        }
        if let Ok(control) = serde_json::from_slice::<ClientControl>(&frame.payload) {
            let written = StreamFrame::control(&control);
            assert_eq!(
                serde_json::from_slice::<ClientControl>(&written.payload).ok(),
                Some(control)
            );
        }
        if let Ok(control) = serde_json::from_slice::<ServerControl>(&frame.payload) {
            let _ = StreamFrame::control(&control);
        }
    }
    assert_eq!(again, stream[..again.len()]);
});

fn cut<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<StreamFrame> {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match StreamFrame::cut(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}
