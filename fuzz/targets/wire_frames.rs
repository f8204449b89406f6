//! Frames and messages between host and guest: both sides read what the other one sent.
//!
//! The first byte says in what pieces the rest arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pyro_wire::{
    Call, Decoder, ExecControl, ExecEvent, Frame, GuestEvent, HEADER_BYTES, MAX_MESSAGE, Message,
    Reply, header, message_frame,
};

fuzz_target!(|input: &[u8]| {
    let Some((&piece, stream)) = input.split_first() else { return };
    let pieces = stream.chunks(usize::from(piece).max(1));
    let frames = cut(pieces);
    // However a stream arrives, it is the same frames.
    assert_eq!(frames, cut(std::iter::once(stream)));

    let mut again = Vec::new();
    for frame in &frames {
        again.extend_from_slice(&header(frame.kind, frame.payload.len()));
        again.extend_from_slice(&frame.payload);
        read::<Call>(frame);
        read::<Reply>(frame);
        read::<ExecControl>(frame);
        read::<ExecEvent>(frame);
        read::<GuestEvent>(frame);
    }
    assert_eq!(again, stream[..again.len()]);
});

fn cut<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Frame> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.buffer().extend_from_slice(piece);
        loop {
            match decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
        // What a length field claims is not reserved beyond one frame.
        let most = 2 * (MAX_MESSAGE + HEADER_BYTES + piece.len());
        assert!(decoder.buffer().capacity() <= most);
    }
    frames
}

/// What can be read as a message can be written, and reads the same again.
fn read<M: Message + Default + PartialEq + std::fmt::Debug>(frame: &Frame) {
    let Ok(message) = frame.message::<M>() else { return };
    let mut decoder = Decoder::default();
    decoder.buffer().extend_from_slice(&message_frame(&message));
    let Ok(Some(again)) = decoder.next_frame() else { return };
    assert_eq!(again.message::<M>().expect("what we wrote is well formed"), message);
}
