//! A patch, as a client sends it, and a file that it is put into.
//!
//! The input is two texts with a zero byte between them: the file, the patch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pyro_change::{Action, apply, parse};

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(2, |&byte| byte == 0);
    let (file, patch) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(patch) = parse(patch, b"/workspace") else { return };
    assert!(!patch.files.is_empty());
    for patched in &patch.files {
        for name in [&patched.old, &patched.new] {
            assert!(!name.is_empty() && !name.starts_with(b"/"));
            assert!(name.split(|&byte| byte == b'/').all(|part| part != b".." && !part.is_empty()));
        }
        let old = if patched.action == Action::Add { &b""[..] } else { file };
        if let Ok(applied) = apply(old, patched) {
            assert!(applied.mended_hunks <= patched.hunks.len());
        }
    }
});
