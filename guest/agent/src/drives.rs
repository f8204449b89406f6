//! The four drives: which is which, and what is mounted from them where.
//!
//! | Drive | Serial | Mounted at |
//! |---|---|---|
//! | root image | `pyro-root` | `/root-image`, read-only |
//! | seed image | `pyro-seed` | `/seed-image`, read-only; not at all where it is empty |
//! | workspace disk | `pyro-workspace` | `/disk` |
//! | agent disk | `pyro-agent` | `/agent` |
//!
//! `/workload` is the overlay of root image and workspace disk, `/workspace` that of seed image and
//! another directory of the same disk. An empty directory of the disk stands for an empty seed: an
//! overlay with an index wants the very same lower layer at every boot. Refuses to know name spaces.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::OnceLock,
};

use rustix::mount::MountFlags;

use crate::workload;

/// Where the agent disk is mounted.
pub const AGENT_DISK: &str = "/agent";
const ROOT_IMAGE: &str = "/root-image";
const SEED_IMAGE: &str = "/seed-image";

/// A drive cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// There is none.
    #[error("the machine has no {0}")]
    Missing(&'static str),
    /// It holds no file system that the agent knows.
    #[error("the {0} holds no known file system")]
    Unknown(&'static str),
    /// It could not be read.
    #[error("the {what} cannot be read")]
    Read {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It could not be mounted.
    #[error("the {what} cannot be mounted")]
    Mount {
        /// Which.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A directory on it could not be made.
    #[error("{} cannot be made", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// One of the four.
#[derive(Clone, Copy)]
struct Drive {
    what: &'static str,
    serial: &'static str,
    /// Its name where drives have no serials (Firecracker), in the order they were configured.
    name: &'static str,
}

const ROOT: Drive = Drive { what: "root image", serial: "pyro-root", name: "vda" };
const SEED: Drive = Drive { what: "seed image", serial: "pyro-seed", name: "vdb" };
const WORKSPACE: Drive = Drive { what: "workspace disk", serial: "pyro-workspace", name: "vdc" };
const AGENT: Drive = Drive { what: "agent disk", serial: "pyro-agent", name: "vdd" };

/// The machine's drives by their serials. They stay, and are looked for once: best before anybody
/// waits for it.
pub fn devices() -> &'static [(String, PathBuf)] {
    static DEVICES: OnceLock<Vec<(String, PathBuf)>> = OnceLock::new();
    DEVICES.get_or_init(|| {
        let entries = fs::read_dir("/sys/block").into_iter().flatten().filter_map(Result::ok);
        let named = entries.map(|entry| {
            let serial = fs::read_to_string(entry.path().join("serial")).unwrap_or_default();
            (serial.trim().to_owned(), Path::new("/dev").join(entry.file_name()))
        });
        named.collect()
    })
}

impl Drive {
    fn device(self) -> Result<PathBuf, DriveError> {
        let devices = devices();
        if let Some((_, device)) = devices.iter().find(|(serial, _)| serial == self.serial) {
            return Ok(device.clone());
        }
        let device = Path::new("/dev").join(self.name);
        // A machine that names one drive names all of them.
        if devices.iter().any(|(serial, _)| serial.starts_with("pyro-")) || !device.exists() {
            return Err(DriveError::Missing(self.what));
        }
        Ok(device)
    }

    fn mount(self, target: &str, writable: bool) -> Result<bool, DriveError> {
        let what = self.what;
        let device = self.device()?;
        let kind = match file_system(&device).map_err(|source| DriveError::Read { what, source })? {
            Some(kind) => kind,
            None if !writable => return Ok(false),
            None => return Err(DriveError::Unknown(what)),
        };
        let flags =
            MountFlags::NOATIME | if writable { MountFlags::empty() } else { MountFlags::RDONLY };
        // Zeroing inode tables in the background would fill a sparse disk for nothing.
        let data = if writable && kind == "ext4" { c"noinit_itable" } else { c"" };
        make_directory(target)?;
        rustix::mount::mount(&device, target, kind, flags, data)
            .map_err(|error| DriveError::Mount { what, source: error.into() })?;
        Ok(true)
    }
}

/// The kind of file system, by its magic number.
fn file_system(device: &Path) -> io::Result<Option<&'static str>> {
    let mut start = [0; 2048];
    File::open(device)?.read_exact(&mut start)?;
    Ok(magic(&start))
}

fn magic(start: &[u8; 2048]) -> Option<&'static str> {
    if start.starts_with(b"hsqs") {
        Some("squashfs")
    } else if start[1080..1082] == [0x53, 0xef] {
        Some("ext4")
    } else if start[1024..1028] == [0xe2, 0xe1, 0xf5, 0xe0] {
        Some("erofs")
    } else {
        None
    }
}

fn make_directory(path: impl AsRef<Path>) -> Result<(), DriveError> {
    let path = path.as_ref();
    fs::create_dir_all(path)
        .map_err(|source| DriveError::Directory { path: path.to_owned(), source })
}

/// Mounts the agent disk. Where it is mounted, nothing happens.
pub fn mount_agent_disk() -> Result<(), DriveError> {
    if !workload::is_mounted(Path::new(AGENT_DISK)) {
        AGENT.mount(AGENT_DISK, true)?;
    }
    make_directory(Path::new(AGENT_DISK).join("execs"))
}

/// Mounts the workspace disk and what belongs on it. Where it is mounted, nothing happens.
pub fn mount_workspace_disk() -> Result<(), DriveError> {
    if !workload::is_mounted(Path::new(workload::DISK)) {
        WORKSPACE.mount(workload::DISK, true)?;
    }
    for name in [
        "root/upper",
        "root/work",
        "workspace/upper",
        "workspace/work",
        "workspace/lower",
        "docker",
        "containers",
    ] {
        make_directory(Path::new(workload::DISK).join(name))?;
    }
    if !workload::is_mounted(Path::new(workload::WORKSPACE)) {
        crate::files::remove_drafts(Path::new(workload::DISK));
    }
    Ok(())
}

/// Mounts both images. Where they are mounted, nothing happens.
pub fn mount_images() -> Result<(), DriveError> {
    for (drive, target) in [(ROOT, ROOT_IMAGE), (SEED, SEED_IMAGE)] {
        make_directory(target)?;
        if !workload::is_mounted(Path::new(target))
            && !drive.mount(target, false)?
            && drive.serial == ROOT.serial
        {
            return Err(DriveError::Unknown(drive.what));
        }
    }
    Ok(())
}

/// What `/workspace` began with.
pub fn seed() -> String {
    if workload::is_mounted(Path::new(SEED_IMAGE)) {
        SEED_IMAGE.to_owned()
    } else {
        format!("{}/workspace/lower", workload::DISK)
    }
}

/// Mounts both overlays. Where they are mounted, nothing happens.
pub fn mount_overlays() -> Result<(), DriveError> {
    let seed = seed();
    for (what, lower, upper, target) in [
        ("workload's root", ROOT_IMAGE, "root", workload::ROOT),
        ("workspace folder", &*seed, "workspace", workload::WORKSPACE),
    ] {
        make_directory(target)?;
        if workload::is_mounted(Path::new(target)) {
            continue;
        }
        let disk = workload::DISK;
        let options = format!(
            "lowerdir={lower},upperdir={disk}/{upper}/upper,workdir={disk}/{upper}/work,\
             redirect_dir=on,index=on,xino=on,metacopy=off"
        );
        let options = CString::new(options).unwrap_or_default();
        rustix::mount::mount("overlay", target, "overlay", MountFlags::NOATIME, &*options)
            .map_err(|error| DriveError::Mount { what, source: error.into() })?;
    }
    Ok(())
}

/// What is mounted, in the order in which it can be unmounted.
pub const UNMOUNT_ORDER: [&str; 6] =
    [workload::WORKSPACE, workload::ROOT, workload::DISK, SEED_IMAGE, ROOT_IMAGE, AGENT_DISK];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_known_by_their_magic() {
        let mut start = [0; 2048];
        assert_eq!(magic(&start), None);
        start[1080..1082].copy_from_slice(&[0x53, 0xef]);
        assert_eq!(magic(&start), Some("ext4"));
        start[..4].copy_from_slice(b"hsqs");
        assert_eq!(magic(&start), Some("squashfs"));
    }
}
