//! What a guest sends where only a name let it through: HTTP, and what may be taken for it.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "relay_http/pieces.rs"]
mod pieces;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, bytes)) = input.split_first() else { return };
    for port in [80, 8080] {
        pieces::agree(port, bytes, cut);
    }
});
