//! Disks that make no sense: errors, and neither panics nor endless walks.

mod images;

use std::{fs, sync::Arc};

use images::Images;
use pyro_change::{Layer, Tree};
use pyro_disk::{DiskError, Disks, Source, View};

/// Everything that can be asked of a view, whatever comes of it.
fn exercise(disks: Disks) {
    let Ok(view) = View::open(disks) else { return };
    let found = view.list(b"/", true, 2000).map(|(found, _)| found).unwrap_or_default();
    for found in found.iter().take(200) {
        let _ = view.read(&found.path, 0, 1 << 16);
        let _ = view.read(&found.path, found.meta.size.saturating_sub(10), 100);
        let _ = view.stat(&found.path, true);
    }
    let tree = view.workspace();
    let _ = tree.names(b"");
    for (name, _) in view.workspace_layer().touched(b"").unwrap_or_default() {
        let _ = tree.meta(&name);
    }
}

fn sample() -> Images {
    let images = Images::new();
    for number in 0..40 {
        images.write(&format!("seed/d/{number}"), vec![number; 700 * usize::from(number)]);
        images.write(&format!("root/etc/{number}"), vec![number; 10_000]);
        images.write(&format!("disk/workspace/upper/d/{number}"), vec![number; 5000]);
    }
    images.link("seed/link", "d/1");
    images.link("disk/workspace/upper/link", &"d/../".repeat(30));
    images.ext4(&[]);
    images.debugfs(&[
        "cd /workspace/upper",
        "mknod gone c 0 0",
        "ea_set d trusted.overlay.redirect /d",
    ]);
    images
}

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 as usize
    }
}

fn damaged(bytes: &[u8], spots: &[usize], numbers: &mut Numbers) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=numbers.next() % 8 {
        let spot = spots[numbers.next() % spots.len()];
        let values = [0, 1, 0x7f, 0x80, 0xff, numbers.next() as u8];
        let value = values[numbers.next() % values.len()];
        for at in spot..spot + [1, 2, 4][numbers.next() % 3] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
    }
    bytes
}

fn not_zero(bytes: &[u8]) -> Vec<usize> {
    // What is in files is of no interest: runs of the same byte.
    (1..bytes.len() - 1).filter(|at| bytes[*at] != 0 && bytes[at - 1] != bytes[*at]).collect()
}

#[test]
fn no_damage_to_a_disk_or_an_image_panics_or_hangs() {
    let images = sample();
    let read = |name| fs::read(images.path(name)).unwrap();
    let disk = Arc::new(read("disk.ext4"));
    let seed = Arc::new(fs::read(images.squashfs("seed", "lz4")).unwrap());
    let plain_tables = {
        // Tables that are not packed show their damage to the reader and not to the unpacker.
        let image = images.path("plain.squashfs");
        let mut command = std::process::Command::new("mksquashfs");
        command.arg(images.path("seed")).arg(&image).args(["-noappend", "-quiet", "-noI", "-noD"]);
        command.args(["-noF", "-no-progress"]);
        assert!(command.output().unwrap().status.success());
        Arc::new(fs::read(image).unwrap())
    };
    let root = Arc::new(fs::read(images.squashfs("root", "zstd")).unwrap());
    let mut numbers = Numbers(0x5eed);
    for (which, bytes) in [&disk, &seed, &plain_tables, &root].into_iter().enumerate() {
        let spots = not_zero(bytes);
        for _ in 0..if which == 0 { 150 } else { 400 } {
            let now = Arc::new(damaged(bytes, &spots, &mut numbers));
            let of = |number, usual: &Arc<Vec<u8>>| -> Arc<dyn Source> {
                if which == number { now.clone() } else { usual.clone() }
            };
            exercise(Disks {
                workspace_disk: of(0, &disk),
                seed_image: Some(if which == 2 { of(2, &seed) } else { of(1, &seed) }),
                root_image: of(3, &root),
            });
        }
    }
}

#[test]
fn a_directory_in_itself_is_told() {
    let images = sample();
    images.debugfs(&["cd /workspace/upper", "link d d/loop"]);
    let view = images.view();
    let error = view.list(b"/workspace", true, 1_000_000).unwrap_err();
    assert!(matches!(error, DiskError::Damaged { .. }), "{error}");
    view.list(b"/workspace", false, 1_000_000).unwrap();
}

#[test]
fn what_is_no_disk_is_told() {
    let images = sample();
    let root = images.squashfs("root", "zstd");
    fs::write(images.path("disk.ext4"), vec![7; 1 << 20]).unwrap();
    let error = View::open(images.disks(&root, None)).unwrap_err();
    assert!(matches!(error, DiskError::Damaged { .. }), "{error}");
    fs::write(images.path("disk.ext4"), "short").unwrap();
    let error = View::open(images.disks(&root, None)).unwrap_err();
    assert!(matches!(error, DiskError::Read { .. }), "{error}");
}

#[test]
fn a_huge_size_is_no_huge_memory() {
    let images = sample();
    images.debugfs(&["set_inode_field /workspace/upper/d/1 size 17000000000000"]);
    let view = images.view();
    let part = view.read(b"/workspace/d/1", 16_000_000_000_000, 100).unwrap();
    assert_eq!(part.content, [0; 100]);
    images.debugfs(&["set_inode_field /workspace/upper/d/1 size 18000000000000"]);
    let view = images.view();
    let error = view.read(b"/workspace/d/1", 0, 100).unwrap_err();
    assert!(matches!(error, DiskError::Damaged { .. }), "{error}");
}
