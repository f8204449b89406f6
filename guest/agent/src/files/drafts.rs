//! What is being written, and what a machine that died left of it.
//!
//! While anything is, a mark stands on the disk. It is made before the first draft and removed after the
//! last, and the disk's journal keeps that order: where there are drafts there is the mark, on whatever
//! disk, snapshots of it too. So nothing is looked for at a start without it.

use std::{
    fs,
    io::{self, ErrorKind},
    path::Path,
    sync::{Mutex, PoisonError},
};

use pyro_archive::is_draft;

use crate::{console, workload};

const MARK: &str = "drafts";

static WRITERS: Mutex<usize> = Mutex::new(0);

/// Somebody who writes drafts, for as long as this lives.
#[derive(Debug)]
pub(super) struct Drafting(());

impl Drafting {
    pub(super) fn begin() -> Self {
        let mut writers = WRITERS.lock().unwrap_or_else(PoisonError::into_inner);
        if *writers == 0 {
            // Where it cannot be made, nothing else can: whoever writes will hear of it.
            let _ = fs::write(Path::new(workload::DISK).join(MARK), "");
        }
        *writers += 1;
        Self(())
    }
}

impl Drop for Drafting {
    fn drop(&mut self) {
        let mut writers = WRITERS.lock().unwrap_or_else(PoisonError::into_inner);
        *writers -= 1;
        if *writers == 0 {
            let _ = fs::remove_file(Path::new(workload::DISK).join(MARK));
        }
    }
}

/// Removes what was left, before the overlays are mounted.
pub fn remove_drafts(disk: &Path) {
    let mark = disk.join(MARK);
    if !mark.exists() {
        return;
    }
    for upper in ["root/upper", "workspace/upper", "docker", "containers"] {
        if let Err(error) = remove_below(&disk.join(upper)) {
            console::note(&format!("removing what was being written in {upper}: {error}"));
        }
    }
    let _ = fs::remove_file(mark);
}

fn remove_below(root: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let mut rest = vec![root.to_owned()];
    while let Some(directory) = rest.pop() {
        let entries = match fs::read_dir(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let is_directory = entry.file_type()?.is_dir();
            match (is_draft(entry.file_name().as_bytes()), is_directory) {
                (true, true) => fs::remove_dir_all(entry.path())?,
                (true, false) => fs::remove_file(entry.path())?,
                (false, true) => rest.push(entry.path()),
                (false, false) => {}
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_was_being_written_goes_and_nothing_else() {
        let disk = tempfile::tempdir().unwrap();
        let name = String::from_utf8(pyro_archive::draft_name(&[7; 16])).unwrap();
        let deep = disk.path().join("workspace/upper/a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir_all(disk.path().join("outside")).unwrap();
        fs::write(disk.path().join("outside").join(&name), "").unwrap();
        symlink("../../../outside", deep.join("link")).unwrap();
        for kept in [".pyro-draft-", "file"] {
            fs::write(deep.join(kept), "").unwrap();
        }
        fs::create_dir(deep.join(&name)).unwrap();
        fs::write(deep.join(&name).join("in"), "").unwrap();
        fs::write(disk.path().join("workspace/upper").join(&name), "").unwrap();
        let count = || fs::read_dir(&deep).unwrap().count();
        // Without the mark nobody looks.
        remove_drafts(disk.path());
        assert_eq!(count(), 4);
        fs::write(disk.path().join(MARK), "").unwrap();
        remove_drafts(disk.path());
        assert_eq!(count(), 3);
        assert!(!disk.path().join("workspace/upper").join(&name).exists());
        assert!(disk.path().join("outside").join(&name).exists());
        assert!(!disk.path().join(MARK).exists());
    }
}
