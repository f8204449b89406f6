//! Services on the agent disk: `services/NAME/record` (a `ServiceRecord`) and `services/NAME/log`.
//!
//! Refuses to know what a record means.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use pyro_wire::{Message, ServiceRecord};

use crate::console;

/// The longest record that is read back.
const MAX_RECORD_BYTES: u64 = pyro_wire::MAX_MESSAGE as u64;

/// Whether it may be a service's name; such a name is a file's name too.
pub fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&name.len())
        && name.as_bytes()[0].is_ascii_alphanumeric()
        && name.bytes().all(inner)
}

/// The directory of a service.
pub fn directory(services: &Path, name: &str) -> PathBuf {
    services.join(name)
}

/// The directory of its log.
pub fn log_directory(services: &Path, name: &str) -> PathBuf {
    directory(services, name).join("log")
}

/// Writes a record, whole or not at all, also when the machine ends suddenly: ext4 writes a file out
/// before it replaces another (`auto_da_alloc`). [`sync`] makes sure of the newest. Blocks.
pub fn write(directory: &Path, record: &ServiceRecord) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let temporary = directory.join("record.new");
    fs::write(&temporary, record.encode_to_vec())?;
    fs::rename(temporary, directory.join("record"))
}

/// Returns when the record is on the disk. Blocks.
pub fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory.join("record"))?.sync_all()?;
    File::open(directory)?.sync_all()
}

/// The records that are there, by name. What never had one is removed; what cannot be read is left as
/// it is, with its log, and told. Blocks.
pub fn load(services: &Path) -> Vec<ServiceRecord> {
    let mut found = Vec::new();
    for entry in fs::read_dir(services).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        match read(&entry.path()) {
            Ok(record) if record.spec.as_ref().is_some_and(|spec| spec.name == name) => {
                found.push(record);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let _ = remove(services, &name);
            }
            Ok(_) => console::note(&format!("service {name}: its record is another's")),
            Err(error) => console::note(&format!("record of service {name}: {error}")),
        }
    }
    found
}

fn read(directory: &Path) -> io::Result<ServiceRecord> {
    let path = directory.join("record");
    if fs::metadata(&path)?.len() > MAX_RECORD_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    ServiceRecord::decode(&fs::read(path)?[..]).map_err(io::Error::other)
}

/// Removes a service's directory; returns when that is on the disk, so that what was deleted does not
/// come back. Blocks.
pub fn remove(services: &Path, name: &str) -> io::Result<()> {
    fs::remove_dir_all(directory(services, name))?;
    File::open(services)?.sync_all()
}

#[cfg(test)]
mod tests {
    use pyro_wire::ServiceSpec;

    use super::*;

    #[test]
    fn records_come_back_and_what_cannot_be_read_is_left_alone() {
        let services = tempfile::tempdir().unwrap();
        let spec = ServiceSpec { name: "web".into(), ..ServiceSpec::default() };
        let record = ServiceRecord { spec: Some(spec), run: 3, ..ServiceRecord::default() };
        write(&directory(services.path(), "web"), &record).unwrap();
        sync(&directory(services.path(), "web")).unwrap();
        write(&directory(services.path(), "other"), &record).unwrap();
        assert_eq!(load(services.path()), std::slice::from_ref(&record));
        assert!(services.path().join("other/record").exists());
        let damaged = directory(services.path(), "damaged");
        write(&damaged, &record).unwrap();
        fs::write(damaged.join("record"), b"\xff\xff").unwrap();
        fs::create_dir(directory(services.path(), "half-made")).unwrap();
        assert_eq!(load(services.path()), [record]);
        assert!(damaged.join("record").exists());
        assert!(!services.path().join("half-made").exists());
        remove(services.path(), "web").unwrap();
        assert_eq!(load(services.path()), []);
    }

    #[test]
    fn no_name_leads_anywhere_else() {
        for good in ["web", "a.b-c_1", "0"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
