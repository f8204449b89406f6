//! The first phase of the boot: the same for every workspace. Nothing of a disk, no identity.

use std::{fs, io, path::Path};

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

/// Loads `NN-name.ko` in the order of their names. One that is there already is fine.
fn load_modules(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else {
        return console::note("no modules to load");
    };
    let mut paths: Vec<_> = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let loaded =
            fs::File::open(&path).and_then(|file| Ok(rustix::system::finit_module(&file, c"", 0)?));
        match loaded {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                console::note(&format!("{}: {error}", path.display()));
            }
            _ => {}
        }
    }
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
