//! The programs the lab needs, and which package brings each. Installs nothing.

use std::path::Path;

use anyhow::{Result, bail, ensure};

use super::process;

/// QEMU's virtiofs daemon: it stands outside of PATH.
pub const VIRTIOFSD: &str = "/usr/lib/qemu/virtiofsd";

const PROGRAMS: [(&str, &str); 7] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    (VIRTIOFSD, "qemu-system-common"),
    ("mmdebstrap", "mmdebstrap"),
    ("mke2fs", "e2fsprogs"),
    ("setpriv", "util-linux"),
    ("python3", "python3"),
    ("pip", "python3-pip"),
];

/// Fails, with what to install, when a needed program is missing or the caller is not root.
pub fn check() -> Result<()> {
    let missing: Vec<_> =
        PROGRAMS.iter().filter(|(program, _)| !process::is_installed(program)).collect();
    if !missing.is_empty() {
        let programs: Vec<_> = missing.iter().map(|(program, _)| *program).collect();
        let packages: Vec<_> = missing.iter().map(|(_, package)| *package).collect();
        bail!(
            "the lab needs {}; hint: apt-get install {}",
            programs.join(", "),
            packages.join(" ")
        );
    }
    ensure!(
        rustix::process::geteuid().is_root(),
        "the lab's root disk and file shares need root; hint: run it as root or in a container"
    );
    ensure!(Path::new("/proc/self").exists(), "/proc is not mounted");
    Ok(())
}
