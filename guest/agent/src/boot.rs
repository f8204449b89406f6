//! The first phase of the boot: the same for every workspace. Nothing of a disk, no identity.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::mount::{MountFlags, mount};

use crate::{cgroup, console};

/// Mounts the kernel's file systems, loads the modules and makes the cgroups. What fails is noted
/// on the console; the agent answers all the same, so that the host can say what is wrong.
pub fn universal() {
    let quiet = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
    for (kind, target, flags, data) in [
        ("devtmpfs", "/dev", MountFlags::NOSUID, c"mode=755"),
        ("proc", "/proc", quiet, c""),
        ("sysfs", "/sys", quiet, c""),
        ("tmpfs", "/run", MountFlags::NOSUID | MountFlags::NODEV, c"mode=755"),
        // The limits of a cgroup name space's own root are not for those inside.
        ("cgroup2", "/sys/fs/cgroup", quiet, c"nsdelegate"),
    ] {
        if let Err(error) =
            fs::create_dir_all(target).and_then(|()| Ok(mount(kind, target, kind, flags, data)?))
        {
            console::note(&format!("mounting {target}: {error}"));
        }
    }
    if let Err(error) = fs::write("/proc/self/oom_score_adj", "-1000") {
        console::note(&format!("oom_score_adj: {error}"));
    }
    load_modules(Path::new("/modules"));
    // What the kernel itself took is nobody's to give.
    let memory = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| available_bytes(&text))
        .unwrap_or_else(|| {
            let info = rustix::system::sysinfo();
            info.freeram * u64::from(info.mem_unit)
        });
    if let Err(error) = cgroup::make_tree(memory) {
        console::note(&format!("cgroups: {error:?}"));
    }
}

/// `MemAvailable` of proc_meminfo(5).
fn available_bytes(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// Which devices a module is for, by the number of virtio (OASIS virtio 1.2, section 5). A machine
/// has one of the two channels, and each module takes as long as a command.
const FOR_DEVICE: [(&str, u32); 4] =
    [("virtio_console", 3), ("vsock", 19), ("vmw_vsock_virtio_transport", 19), ("virtio_rng", 4)];

/// Loaded once nobody waits: random bytes come with the second phase.
const LATER: &str = "virtio_rng";

/// Loaded only where it is asked for.
const ON_DEMAND: [&str; 1] = ["tun"];

/// Loads `NN-name.ko` in the order of their names, but for those that this machine has no device
/// for. One that is there already is fine.
fn load_modules(directory: &Path) {
    let mut devices = None;
    for (path, name) in modules(directory) {
        if ON_DEMAND.contains(&name.as_str()) {
            continue;
        }
        if let Some((_, number)) = FOR_DEVICE.iter().find(|(module, _)| name.starts_with(module)) {
            let devices = devices.get_or_insert_with(virtio_devices);
            let is_there = devices.is_empty() || devices.contains(number);
            if !is_there || name == LATER {
                continue;
            }
        }
        load(&path);
    }
}

/// Loads what can wait.
pub fn load_later() {
    let later = modules(Path::new("/modules")).into_iter().find(|(_, name)| name == LATER);
    if let (Some((path, _)), true) = (later, virtio_devices().contains(&4)) {
        load(&path);
    }
}

/// Loads one that is loaded on demand; where there is none, nothing happens.
pub fn load_module(name: &str) {
    for (path, _) in modules(Path::new("/modules")).into_iter().filter(|(_, of)| of == name) {
        load(&path);
    }
}

fn modules(directory: &Path) -> Vec<(PathBuf, String)> {
    let Ok(entries) = fs::read_dir(directory) else {
        console::note("no modules to load");
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    let name = |path: &Path| {
        let stem = path.file_stem()?.to_str()?;
        Some(stem.split_once('-')?.1.to_owned())
    };
    paths.into_iter().filter_map(|path| Some((path.clone(), name(&path)?))).collect()
}

fn load(path: &Path) {
    let loaded =
        fs::File::open(path).and_then(|file| Ok(rustix::system::finit_module(&file, c"", 0)?));
    match loaded {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            console::note(&format!("{}: {error}", path.display()));
        }
        _ => {}
    }
}

/// The kinds of this machine's virtio devices, in hexadecimal in sysfs.
fn virtio_devices() -> Vec<u32> {
    let entries = fs::read_dir("/sys/bus/virtio/devices").into_iter().flatten();
    entries
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("device")).ok())
        .filter_map(|kind| u32::from_str_radix(kind.trim().trim_start_matches("0x"), 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read_in_bytes() {
        let text = "MemTotal:  481924 kB\nMemAvailable:     416 kB\nBuffers: 0 kB\n";
        assert_eq!(available_bytes(text), Some(416 * 1024));
        assert_eq!(available_bytes("MemAvailable: x kB"), None);
    }
}
