//! The writable disks of a workspace: sparse files with an empty ext4. `mke2fs` makes one of each
//! size, and the few hundred KiB that it wrote are copied from then on.
//!
//! A fresh file is all zeros, and mke2fs is told so: inode tables and journal are marked as zeroed
//! without being written, so that neither formatting nor the guest's kernel ever writes them. A
//! fresh 20 GiB disk takes about 200 KiB, also after it was mounted.

use std::{
    fs::{self, File},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use pyro_core::Mebibytes;
use pyro_directory::copy_data;

use crate::{Cache, Digest, Error, Job, Result, program::Program};

/// The size of every agent disk.
pub const AGENT_DISK: Mebibytes = Mebibytes::new(4096);

/// The label of workspace disks.
pub const WORKSPACE_LABEL: &str = "pyro-workspace";
/// The label of agent disks.
pub const AGENT_LABEL: &str = "pyro-agent";

const MKE2FS: Program = Program { name: "mke2fs", packages: "e2fsprogs" };

/// Everything that would otherwise come from the host's mke2fs.conf. `resize_inode` is left out:
/// it alone would write 4 MiB. `sparse_super2` keeps two backups of the superblock.
const FEATURES: &str = "none,has_journal,ext_attr,dir_index,filetype,extent,64bit,flex_bg,\
    sparse_super,sparse_super2,large_file,huge_file,dir_nlink,extra_isize,metadata_csum";

/// Changes whenever disks are made otherwise.
const FORMAT: u32 = 1;

/// Makes a workspace disk of this size; the file must not exist.
pub fn create_workspace(cache: &Cache, path: &Path, size: Mebibytes) -> Result<()> {
    create(cache, path, &Disk { size, label: WORKSPACE_LABEL, journal_mebibytes: 64 })
}

/// Makes an agent disk of [`AGENT_DISK`]; the file must not exist.
pub fn create_agent(cache: &Cache, path: &Path) -> Result<()> {
    create(cache, path, &Disk { size: AGENT_DISK, label: AGENT_LABEL, journal_mebibytes: 32 })
}

struct Disk {
    size: Mebibytes,
    label: &'static str,
    journal_mebibytes: u32,
}

fn create(cache: &Cache, path: &Path, disk: &Disk) -> Result<()> {
    let write = |source| Error::Write { path: path.to_owned(), source };
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    let file = file.map_err(write)?;
    let copy = || {
        let template = File::open(template(cache, disk)?).map_err(write)?;
        copy_data(&template, &file, &mut |_| true).map(drop).map_err(write)
    };
    // Somebody may have pruned the template between two steps.
    let made = copy().or_else(|_| copy()).and_then(|()| file.sync_all().map_err(write));
    if made.is_err() {
        let _ = fs::remove_file(path);
    }
    made
}

/// A formatted disk to copy from, made unless it is there.
fn template(cache: &Cache, disk: &Disk) -> Result<PathBuf> {
    let Disk { size, label, journal_mebibytes } = disk;
    let parts = format!("{FORMAT} {} {label} {journal_mebibytes} {FEATURES}", size.bytes());
    let digest = Digest::of_parts(&[parts.as_bytes()]);
    let place = cache.place("disks", &digest).join("disk.ext4");
    if !place.exists() {
        let building = cache.start_building()?;
        let path = building.make_content()?.join("disk.ext4");
        let written = File::create_new(&path).and_then(|file| file.set_len(size.bytes()));
        written.map_err(|source| Error::Write { path: path.clone(), source })?;
        format(&path, disk)?;
        cache.publish(&building, "disks", &digest)?;
    }
    Ok(place)
}

fn format(path: &Path, disk: &Disk) -> Result<()> {
    // mke2fs before 1.47 does not know that the disk may be all zeros. What it makes instead grows
    // in use by what the guest's kernel then zeroes.
    let prezeroed = "assume_storage_prezeroed=1,nodiscard,root_owner=0:0";
    let lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard,root_owner=0:0";
    let format = |extended: &str| {
        MKE2FS.run(&Job::silent(), |command| {
            command.args(["-q", "-F", "-b", "4096", "-I", "256", "-i", "16384", "-m", "0"]);
            command.args(["-O", FEATURES, "-L", disk.label, "-E", extended]);
            command.args(["-J", &format!("size={}", disk.journal_mebibytes)]).arg(path);
            command.env("MKE2FS_CONFIG", "/dev/null");
        })
    };
    match format(prezeroed) {
        Err(Error::Failed { .. }) => format(lazy),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    #[test]
    fn fresh_disks_are_empty_file_systems_that_take_next_to_nothing() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(&home.path().join("cache")).unwrap();
        let workspace = home.path().join("workspace ,disk.ext4");
        let agent = home.path().join("agent.ext4");
        create_workspace(&cache, &workspace, Mebibytes::new(20_480)).unwrap();
        create_agent(&cache, &agent).unwrap();
        let mut allocated = 0;
        for (path, length, label) in [
            (&workspace, 20_480_u64 << 20, WORKSPACE_LABEL),
            (&agent, AGENT_DISK.bytes(), AGENT_LABEL),
        ] {
            let metadata = fs::metadata(path).unwrap();
            assert_eq!(metadata.len(), length);
            assert_eq!(metadata.mode() & 0o777, 0o600);
            allocated += metadata.blocks() * 512;
            let mut superblock = vec![0; 2048];
            File::open(path).unwrap().read_exact_at(&mut superblock, 0).unwrap();
            assert_eq!(superblock[1024 + 0x38..1024 + 0x3a], [0x53, 0xef]);
            assert!(superblock[1024 + 0x78..].starts_with(label.as_bytes()));
        }
        assert!(allocated < 3 << 20, "{allocated} bytes");
    }

    #[test]
    fn a_disk_is_never_formatted_over() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(&home.path().join("cache")).unwrap();
        let path = home.path().join("disk");
        fs::write(&path, "precious").unwrap();
        let error = create_workspace(&cache, &path, Mebibytes::new(1024)).unwrap_err();
        assert!(matches!(error, Error::Write { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
