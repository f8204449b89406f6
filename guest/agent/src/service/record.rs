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

/// Writes a record, whole or not at all. Blocks.
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

/// The records that are there, by name. What is damaged or half-made is removed. Blocks.
pub fn load(services: &Path) -> Vec<ServiceRecord> {
    let mut found = Vec::new();
    for entry in fs::read_dir(services).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        match read(&entry.path()) {
            Ok(record) if record.spec.as_ref().is_some_and(|spec| spec.name == name) => {
                found.push(record);
            }
            _ => remove(&entry.path()),
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

/// Removes a service's directory. Blocks.
pub fn remove(directory: &Path) {
    let _ = fs::remove_dir_all(directory);
}

#[cfg(test)]
mod tests {
    use pyro_wire::ServiceSpec;

    use super::*;

    #[test]
    fn records_come_back_and_wrecks_are_removed() {
        let services = tempfile::tempdir().unwrap();
        let spec = ServiceSpec { name: "web".into(), ..ServiceSpec::default() };
        let record = ServiceRecord { spec: Some(spec), run: 3, ..ServiceRecord::default() };
        write(&directory(services.path(), "web"), &record).unwrap();
        sync(&directory(services.path(), "web")).unwrap();
        write(&directory(services.path(), "other"), &record).unwrap();
        assert_eq!(load(services.path()), [record]);
        assert!(!services.path().join("other").exists());
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
