//! What lies in a directory, by one walk that reads no content.

use std::collections::HashSet;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, readlinkat, statat};
use sha2::{Digest, Sha256};

use crate::error::shown;
use crate::host::rules::{Matcher, Rules};
use crate::host::sensitive::is_sensitive;
use crate::pack::within;
use crate::walk::{Walk, kind};
use crate::{Cancel, Error, Kind};

/// The most names of sensitive files that are told.
pub const MAX_SENSITIVE: usize = 20;

/// What a walk saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// Entries that would be packed.
    pub entries: u64,
    /// Bytes of their files, holes and all; a file with two names counts once.
    pub bytes: u64,
    /// SHA-256 over path, kind, size, mode, mtime, ctime, inode, device and link target of each of
    /// them, in order, and over the rules. The same value means that nobody changed the directory.
    ///
    /// It misses a change within one tick of the file system's clock (up to 10 ms) after the walk
    /// passed, writes through a mapping whose times were not updated yet, clocks that were set back,
    /// and file systems (of networks, or made in user space) that do not keep ctime. It differs
    /// without need when files were touched, or copied elsewhere and back.
    pub fingerprint: [u8; 32],
    /// Entries that the ignore files match, whether they count or not.
    pub ignored_entries: u64,
    /// Bytes of their files.
    pub ignored_bytes: u64,
    /// Paths of packed files whose names usually hold secrets, escaped; the first ones.
    pub sensitive: Vec<String>,
    /// How many there are.
    pub sensitive_count: u64,
    /// Sockets and devices, which are not packed.
    pub skipped: u64,
}

/// Walks the directory `root`.
pub fn survey(
    root: BorrowedFd<'_>,
    rules: &Rules,
    cancel: Option<Cancel<'_>>,
) -> Result<Survey, Error> {
    let mut matcher = Matcher::new(root, rules)?;
    let mut walk = Walk::new(root, b"")?;
    let mut survey = Survey::default();
    let mut hash = Sha256::new();
    for rule in &rules.excludes {
        hash.update((rule.len() as u64).to_le_bytes());
        hash.update(rule);
    }
    hash.update([u8::from(rules.respect_ignore)]);
    let mut ignored: Option<Vec<u8>> = None;
    let mut links = HashSet::new();
    let mut line = Vec::new();
    while let Some(listed) = walk.next()? {
        let path = walk.path();
        if cancel.is_some_and(|cancel| cancel()) {
            return Err(Error::Cancelled { member: shown(path) });
        }
        if matcher.is_excluded(path, listed) {
            continue;
        }
        if ignored.as_ref().is_some_and(|above| !within(path, above)) {
            ignored = None;
        }
        let is_ignored = ignored.is_some() || matcher.is_ignored(path, listed);
        let failed = |source| Error::Unreadable { member: shown(path), source };
        let stat =
            statat(walk.directory(), walk.name(), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
        let of = kind(FileType::from_raw_mode(stat.st_mode));
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let counted =
            of == Kind::File && (stat.st_nlink <= 1 || links.insert((stat.st_dev, stat.st_ino)));
        let bytes = if counted { size } else { 0 };
        if is_ignored {
            survey.ignored_entries += 1;
            survey.ignored_bytes += bytes;
            if ignored.is_none() && of == Kind::Directory {
                ignored = Some(path.to_vec());
            }
        }
        if of == Kind::Other {
            survey.skipped += 1;
        } else if !(is_ignored && rules.respect_ignore) {
            survey.entries += 1;
            survey.bytes += bytes;
            if of == Kind::File && is_sensitive(path) {
                survey.sensitive_count += 1;
                if survey.sensitive.len() < MAX_SENSITIVE {
                    survey.sensitive.push(shown(path));
                }
            }
            line.clear();
            line.extend_from_slice(&(path.len() as u32).to_le_bytes());
            line.extend_from_slice(path);
            line.extend_from_slice(&stat.st_mode.to_le_bytes());
            for number in [stat.st_mtime, stat.st_ctime] {
                line.extend_from_slice(&number.to_le_bytes());
            }
            for number in [size, stat.st_mtime_nsec, stat.st_ctime_nsec, stat.st_ino, stat.st_dev] {
                line.extend_from_slice(&number.to_le_bytes());
            }
            if of == Kind::Symlink {
                let target =
                    readlinkat(walk.directory(), walk.name(), Vec::new()).map_err(failed)?;
                line.extend_from_slice(&(target.as_bytes().len() as u32).to_le_bytes());
                line.extend_from_slice(target.as_bytes());
            }
            hash.update(&line);
        }
        if of == Kind::Directory {
            walk.descend()?;
        }
    }
    survey.fingerprint = hash.finalize().into();
    Ok(survey)
}
