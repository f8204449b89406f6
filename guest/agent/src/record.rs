//! Records of finished execs on the agent disk.
//!
//! One directory per exec, named by its id: the file `record` (an `ExecRecord`) and the segments
//! of its spool. A directory without a record belongs to an exec that ran when the machine ended;
//! it is removed. Refuses to know running execs.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use pyro_core::ExecId;
use pyro_wire::{ExecRecord, Message};

/// Finished execs that are kept.
pub const MAX_RECORDS: usize = 1000;
/// The longest record that is read back.
const MAX_RECORD_BYTES: u64 = 64 << 10;

/// The directory of an exec's record and output.
pub fn directory(execs: &Path, id: ExecId) -> PathBuf {
    execs.join(id.to_string())
}

/// Writes a record, whole or not at all.
pub fn write(directory: &Path, record: &ExecRecord) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let temporary = directory.join("record.new");
    fs::write(&temporary, record.encode_to_vec())?;
    fs::rename(temporary, directory.join("record"))
}

/// The records that are there, oldest first. What is damaged, half-made or too much is removed.
pub fn load(execs: &Path) -> Vec<(ExecId, ExecRecord)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(execs).into_iter().flatten().filter_map(Result::ok) {
        let id = entry.file_name().to_str().and_then(|name| name.parse::<ExecId>().ok());
        match (id, read(&entry.path())) {
            (Some(id), Ok(record)) if !record.running => found.push((id, record)),
            _ => remove(&entry.path()),
        }
    }
    found.sort_by_key(|(id, record)| (record.started_millis, *id));
    let excess = found.len().saturating_sub(MAX_RECORDS);
    for (id, _) in found.drain(..excess) {
        remove(&directory(execs, id));
    }
    found
}

fn read(directory: &Path) -> io::Result<ExecRecord> {
    let path = directory.join("record");
    if fs::metadata(&path)?.len() > MAX_RECORD_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    ExecRecord::decode(&fs::read(path)?[..]).map_err(io::Error::other)
}

/// Removes an exec's directory.
pub fn remove(directory: &Path) {
    let _ = fs::remove_dir_all(directory);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_in_order_and_wrecks_are_removed() {
        let execs = tempfile::tempdir().unwrap();
        for (number, started) in [(1, 20), (2, 10)] {
            let id = ExecId::from_random(number);
            let record = ExecRecord {
                exec_id: id.to_string(),
                started_millis: started,
                ..Default::default()
            };
            write(&directory(execs.path(), id), &record).unwrap();
        }
        let half_made = directory(execs.path(), ExecId::from_random(3));
        fs::create_dir(&half_made).unwrap();
        let ids: Vec<_> = load(execs.path()).into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, [ExecId::from_random(2), ExecId::from_random(1)]);
        assert!(!half_made.exists());
    }
}
