//! Images made by the usual programs, without root: what only root may make is put in by debugfs.

#![allow(
    clippy::unwrap_used,
    dead_code,
    reason = "a part of several tests, each of which uses some"
)]

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
};

use pyro_disk::{Disks, View};
use tempfile::TempDir;

/// As `pyro-image` makes workspace disks.
const FEATURES: &str = "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,\
    sparse_super,sparse_super2,large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

pub struct Images {
    directory: TempDir,
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned() + &said
}

impl Images {
    pub fn new() -> Self {
        let images = Self { directory: TempDir::new().unwrap() };
        for name in ["root", "seed", "disk/root/upper", "disk/workspace/upper", "disk/docker"] {
            fs::create_dir_all(images.path(name)).unwrap();
        }
        images
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file below one of `root`, `seed` and `disk`.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn link(&self, path: &str, target: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    pub fn squashfs(&self, name: &str, compression: &str) -> PathBuf {
        let image = self.path(&format!("{name}.squashfs"));
        let mut command = Command::new("mksquashfs");
        command.arg(self.path(name)).arg(&image);
        run(command.args(["-noappend", "-quiet", "-no-progress", "-comp", compression]));
        image
    }

    pub fn ext4(&self, options: &[&str]) -> PathBuf {
        let image = self.path("disk.ext4");
        let _ = fs::remove_file(&image);
        let mut command = Command::new("mke2fs");
        command.args(["-q", "-F", "-b", "4096", "-I", "256", "-m", "0", "-O", FEATURES]);
        command.args(["-E", "root_owner=0:0", "-J", "size=4"]).args(options).arg("-d");
        command.arg(self.path("disk")).arg(&image).arg("64m");
        run(command.env("MKE2FS_CONFIG", "/dev/null"));
        image
    }

    /// Whatever debugfs can do to the disk; what it said.
    pub fn debugfs(&self, commands: &[&str]) -> String {
        let script = self.path("script");
        File::create(&script).unwrap().write_all(commands.join("\n").as_bytes()).unwrap();
        run(Command::new("debugfs").arg("-w").arg("-f").arg(script).arg(self.path("disk.ext4")))
    }

    pub fn disks(&self, root: &Path, seed: Option<&Path>) -> Disks {
        let open = |path: &Path| Arc::new(File::open(path).unwrap());
        Disks {
            root_image: open(root),
            seed_image: seed.map(|seed| open(seed) as _),
            workspace_disk: open(&self.path("disk.ext4")),
        }
    }

    /// All of it with the usual compression.
    pub fn view(&self) -> View {
        let (root, seed) = (self.squashfs("root", "zstd"), self.squashfs("seed", "zstd"));
        View::open(self.disks(&root, Some(&seed))).unwrap()
    }
}

pub fn names(view: &View, path: &str) -> Vec<String> {
    let (found, truncated) = view.list(path.as_bytes(), true, 1000).unwrap();
    assert!(!truncated);
    found.iter().map(|found| String::from_utf8_lossy(&found.path).into_owned()).collect()
}

pub fn text(view: &View, path: &str) -> String {
    String::from_utf8(view.read(path.as_bytes(), 0, 1 << 20).unwrap().content).unwrap()
}
