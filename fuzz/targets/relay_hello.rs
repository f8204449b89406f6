//! What a guest sends first where only a name let it through: TLS.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "relay_http/pieces.rs"]
mod pieces;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, bytes)) = input.split_first() else { return };
    // Whatever is in it, it is a handshake record that begins.
    let record = [&[0x16, 3, 1], bytes].concat();
    pieces::agree(443, &record, cut);
});
