//! The disks of a stopped workspace, of which a guest wrote what it liked.
//!
//! The input says which bytes of two sound images are others: each three bytes a place (taken round their
//! length), and one what stands there; an odd place is in the seed.
#![no_main]

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    sync::{Arc, LazyLock},
};

use libfuzzer_sys::fuzz_target;
use pyro_change::{Options, Side, changes};
use pyro_disk::{Disks, Kind, Source, View};

/// An image of which some bytes are others.
struct Patched {
    base: Arc<Vec<u8>>,
    patches: BTreeMap<u64, u8>,
}

impl Source for Patched {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.base.read_exact_at(buffer, offset)?;
        for (at, byte) in self.patches.range(offset..offset + buffer.len() as u64) {
            buffer[(at - offset) as usize] = *byte;
        }
        Ok(())
    }
}

struct Images {
    disk: Arc<Vec<u8>>,
    seed: Arc<Vec<u8>>,
}

fn run(command: &mut Command) {
    let done = command.output().expect("mke2fs and mksquashfs are installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

fn fill(root: &Path) {
    fs::create_dir_all(root.join("deep/er")).unwrap();
    for number in 0..40 {
        fs::write(root.join(format!("deep/file{number}")), vec![number; 100 * usize::from(number)])
            .unwrap();
    }
    fs::write(root.join("text"), "one\ntwo\n").unwrap();
    fs::hard_link(root.join("text"), root.join("deep/er/same")).unwrap();
    symlink("deep/er", root.join("short")).unwrap();
    symlink("long/".repeat(30), root.join("long")).unwrap();
}

static IMAGES: LazyLock<Images> = LazyLock::new(|| {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    for layer in ["disk/root/upper", "disk/workspace/upper", "seed"] {
        fill(&at(layer));
    }
    fs::create_dir_all(at("disk/workspace/work/index")).unwrap();
    fs::write(at("disk/workspace/upper/text"), "one\nthree\n").unwrap();
    let mut command = Command::new("mke2fs");
    command.args(["-q", "-F", "-t", "ext4", "-b", "1024", "-J", "size=1", "-d"]);
    run(command.arg(at("disk")).arg(at("disk.ext4")).arg("8m"));
    let mut command = Command::new("mksquashfs");
    run(command.arg(at("seed")).arg(at("seed.squashfs")).args([
        "-noappend",
        "-quiet",
        "-no-progress",
    ]));
    let read = |name| Arc::new(fs::read(at(name)).unwrap());
    Images { disk: read("disk.ext4"), seed: read("seed.squashfs") }
});

fuzz_target!(|input: &[u8]| {
    let images = &*IMAGES;
    let (mut disk, mut seed) = (BTreeMap::new(), BTreeMap::new());
    for patch in input.chunks_exact(4) {
        let place = u64::from(u32::from_le_bytes([patch[0], patch[1], patch[2], 0]));
        let (patches, base) =
            if place % 2 == 1 { (&mut seed, &images.seed) } else { (&mut disk, &images.disk) };
        patches.insert((place / 2) % base.len() as u64, patch[3]);
    }
    let source = |base: &Arc<Vec<u8>>, patches| -> Arc<dyn Source> {
        Arc::new(Patched { base: base.clone(), patches })
    };
    let seed_image = source(&images.seed, seed);
    let disks = Disks {
        root_image: seed_image.clone(),
        seed_image: Some(seed_image),
        workspace_disk: source(&images.disk, disk),
    };
    let Ok(view) = View::open(disks) else { return };
    if let Ok((found, _)) = view.list(b"/", true, 2000) {
        for one in found.iter().filter(|one| one.meta.kind == Kind::Regular).take(100) {
            let _ = view.read(&one.path, 0, 1 << 14);
        }
    }
    let _ = view.archive(b"/workspace", io::sink());
    let (merged, layer, baseline) = (view.workspace(), view.workspace_layer(), view.baseline());
    let options = Options {
        paths: Vec::new(),
        renames: false,
        patches: true,
        most_patch_bytes: 1 << 16,
        most_patches_bytes: 1 << 20,
        digests: false,
        most_entries: 2000,
    };
    let (is, was) =
        (Side { merged: &merged, layer: Some(&layer) }, Side { merged: &baseline, layer: None });
    let mut told = 0;
    let _ = changes(is, was, &options, &mut |_| {
        told += 1;
        Ok(())
    });
    assert!(told <= 2000);
});
