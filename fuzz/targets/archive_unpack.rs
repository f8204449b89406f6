//! Archives of strangers: unpacked below a directory, and rewritten.
//!
//! Bytes alone seldom have the checksum of a header, so most inputs are read as members that are built from
//! them: kinds, names of few letters, links, sizes that lie, extensions. What is rewritten must be taken, and
//! rewritten to itself; what lies beside the root must stay.
#![no_main]

use std::fs::{self, File};
use std::os::fd::AsFd;

use libfuzzer_sys::fuzz_target;
use pyro_archive::{Limits, Overwrite, UnpackOptions, rewrite, unpack};

const LIMITS: Limits =
    Limits { entries: 200, name_bytes: 64 << 10, bytes: 1 << 20, file_bytes: 1 << 20 };

/// Letters of which names are made: enough for every trick with a path.
const LETTERS: &[u8; 8] = b"ab./.\0\xff/";
const KINDS: &[u8; 16] = b"00001122555xxLKS";

/// Takes what is next of the input; zeros behind its end.
struct Given<'a>(&'a [u8]);

impl<'a> Given<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn bytes(&mut self, most: usize) -> &'a [u8] {
        let length = (usize::from(self.byte()) % (most + 1)).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    fn name(&mut self, most: usize) -> Vec<u8> {
        self.bytes(most).iter().map(|byte| LETTERS[usize::from(byte % 8)]).collect()
    }
}

fn archive(mut given: Given<'_>) -> Vec<u8> {
    let mut tar = Vec::new();
    while !given.0.is_empty() && tar.len() < 64 << 10 {
        let kind = KINDS[usize::from(given.byte() % 16)];
        let mut header = [0_u8; 512];
        let (name, link) = (given.name(24), given.name(24));
        header[..name.len()].copy_from_slice(&name);
        header[157..157 + link.len()].copy_from_slice(&link);
        header[100..107].copy_from_slice(format!("{:07o}", given.byte()).as_bytes());
        let content = match kind {
            b'x' => {
                let keys =
                    ["path", "linkpath", "size", "mtime", "GNU.sparse.realsize", "GNU.sparse.name"];
                let key = keys[usize::from(given.byte()) % keys.len()];
                let value = given.name(24);
                let length = key.len() + value.len() + 3;
                let length = length + length.to_string().len();
                [format!("{length} {key}=").as_bytes(), &value, b"\n"].concat()
            }
            b'L' | b'K' => [given.name(200), vec![0]].concat(),
            _ => given.bytes(255).to_vec(),
        };
        // Every fourth says another size than it has.
        let odd = given.byte();
        let size = if odd % 4 == 0 { u64::from(odd) * 37 } else { content.len() as u64 };
        header[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
        header[156] = kind;
        header[257..265].copy_from_slice(b"ustar\x0000");
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend_from_slice(&header);
        tar.extend_from_slice(&content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fuzz_target!(|input: &[u8]| {
    let delete = input.first().is_some_and(|first| first & 1 == 1);
    let is_raw = input.first().is_some_and(|first| first & 14 == 14);
    let built =
        if is_raw { Vec::new() } else { archive(Given(input.get(1..).unwrap_or_default())) };
    let input = if is_raw { input } else { &built[..] };
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
