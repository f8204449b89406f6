//! What the lab VM boots from, made once: `vmlinux`, `base.cpio` (the initramfs without the run's
//! own files), `root.ext4` and `self_test.cpio`.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result};

use super::{cache::Cache, cpio::Archive, kernel, process};

/// This file makes something else of the same inputs when it changes.
const RECIPE: &str = include_str!("image.rs");
const SUITE: &str = "bookworm";
const PACKAGES: &str = include_str!("guest/packages.txt");
const ADD_KERNEL: &str = include_str!("guest/add_kernel.sh");
const INIT: &str = include_str!("guest/init.sh");
const SELF_TEST_INIT: &str = include_str!("guest/self_test_init.sh");
/// Sparse: what a run writes goes to a throw-away layer.
const ROOT_SIZE: &str = "64G";
/// What the initramfs needs to reach the root disk, in loading order.
const FIRST_MODULES: [&str; 4] = [
    "drivers/virtio/virtio_ring.ko",
    "drivers/virtio/virtio.ko",
    "drivers/virtio/virtio_mmio.ko",
    "drivers/block/virtio_blk.ko",
];
/// The cached directory of the lab's boot files, made when missing.
pub fn cached(cache: &Cache, binaries: &Path, rebuild: bool) -> Result<PathBuf> {
    // Named by its version and the digests of what stands in it.
    let binaries_name = binaries.file_name().context("the binaries' directory has a name")?;
    let inputs = [
        RECIPE.as_bytes(),
        SUITE.as_bytes(),
        PACKAGES.as_bytes(),
        ADD_KERNEL.as_bytes(),
        INIT.as_bytes(),
        SELF_TEST_INIT.as_bytes(),
        ROOT_SIZE.as_bytes(),
        binaries_name.as_encoded_bytes(),
    ];
    cache.entry("lab", &inputs, rebuild, |directory| {
        let start = Instant::now();
        eprintln!("lab: making the VM's kernel and root disk from Debian's packages (about 40 s)");
        make(directory, binaries)?;
        eprintln!("lab: made in {:.0} s", start.elapsed().as_secs_f64());
        Ok(())
    })
}

fn make(directory: &Path, binaries: &Path) -> Result<()> {
    let tree = directory.join("tree");
    let hook = directory.join("add_kernel.sh");
    fs::write(&hook, ADD_KERNEL)?;
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755))?;
    process::complete(
        Command::new("mmdebstrap")
            .args(["--quiet", "--variant=minbase", "--format=directory"])
            .arg("--aptopt=Acquire::Languages \"none\"")
            .arg("--dpkgopt=path-exclude=/usr/share/doc/*")
            .arg("--dpkgopt=path-exclude=/usr/share/man/*")
            .arg("--dpkgopt=path-exclude=/usr/share/locale/*")
            .arg(format!("--include={}", PACKAGES.split_whitespace().collect::<Vec<_>>().join(",")))
            .arg("--customize-hook=./add_kernel.sh \"$1\"")
            .args([SUITE, "tree"])
            .current_dir(directory),
    )?;
    fs::remove_file(hook)?;

    let bz_image = fs::read(tree.join("boot/vmlinuz")).context("read the kernel")?;
    fs::write(directory.join("vmlinux"), kernel::vmlinux(&bz_image)?)?;

    let busybox = fs::read(tree.join("usr/bin/busybox")).context("read busybox")?;
    fs::write(directory.join("base.cpio"), base_archive(&tree, &busybox)?)?;
    let mut self_test = Archive::new();
    for path in ["bin", "proc"] {
        self_test.directory(path);
    }
    self_test.file("bin/busybox", &busybox);
    self_test.file("init", SELF_TEST_INIT.as_bytes());
    fs::write(directory.join("self_test.cpio"), self_test.finish())?;

    for name in ["firecracker", "jailer"] {
        fs::copy(binaries.join(name), tree.join("usr/local/bin").join(name))?;
    }
    fs::File::create(directory.join("root.ext4"))?.flush()?;
    process::complete(
        Command::new("mke2fs")
            .args(["-q", "-t", "ext4", "-O", "^has_journal", "-m", "0"])
            .args(["-E", "lazy_itable_init=1,nodiscard", "-d", "tree", "root.ext4", ROOT_SIZE])
            .current_dir(directory),
    )?;
    fs::remove_dir_all(tree).context("remove the root's tree")
}

fn base_archive(tree: &Path, busybox: &[u8]) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for path in ["bin", "dev", "lab", "modules", "proc", "root", "sys"] {
        archive.directory(path);
    }
    archive.file("init", INIT.as_bytes());
    archive.file("bin/busybox", busybox);
    let versions = tree.join("usr/lib/modules");
    let version = fs::read_dir(&versions)?.next().context("no kernel modules")??.path();
    for (number, module) in FIRST_MODULES.iter().enumerate() {
        let path = version.join("kernel").join(module);
        let content = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        archive.file(&format!("modules/{number}.ko"), &content);
    }
    Ok(archive.finish())
}
