//! Archives of strangers: unpacked below a directory, and rewritten.
//!
//! What is rewritten must be taken, and rewritten to itself; what lies beside the root must stay.
#![no_main]

use std::fs::{self, File};
use std::os::fd::AsFd;

use libfuzzer_sys::fuzz_target;
use pyro_archive::{Limits, Overwrite, UnpackOptions, rewrite, unpack};

const LIMITS: Limits =
    Limits { entries: 200, name_bytes: 64 << 10, bytes: 1 << 20, file_bytes: 1 << 20 };

fuzz_target!(|input: &[u8]| {
    let place = tempfile::tempdir().expect("a directory");
    let root = place.path().join("root");
    fs::create_dir(&root).expect("a root");
    fs::write(place.path().join("canary"), b"alive").expect("a canary");
    let directory = File::open(&root).expect("the root");
    let options = |delete| UnpackOptions {
        overwrite: Overwrite::Replace,
        delete,
        limits: LIMITS,
        ..UnpackOptions::default()
    };
    let delete = input.first().is_some_and(|first| first & 1 == 1);
    let _ = unpack(&mut &*input, directory.as_fd(), options(delete));

    let mut once = Vec::new();
    if rewrite(&mut &*input, &mut once, &LIMITS).is_ok() {
        let mut twice = Vec::new();
        rewrite(&mut &once[..], &mut twice, &LIMITS).expect("what we wrote we take");
        assert!(once == twice);
    }
    assert_eq!(fs::read(place.path().join("canary")).expect("the canary"), b"alive");
    assert_eq!(fs::read_dir(place.path()).expect("the place").count(), 2);
});
