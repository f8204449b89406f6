//! What is left out of a directory: patterns of the caller, and the ignore files of the tree.
//!
//! Patterns and precedence are git's (gitignore(5)): deeper files before higher ones, the last match
//! in a file decides, nothing below an ignored directory comes back. In one directory `.pyroignore`
//! counts before `.gitignore`, and that before `.git/info/exclude`. What lies above the directory and
//! git's own configuration do not count.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use rustix::fs::{FileType, Mode, OFlags, fstat, openat};
use rustix::io::{Errno, read};

use crate::beneath::open_directory;
use crate::pack::within;
use crate::{Error, Kind};

/// The most bytes of one ignore file that count.
const MAX_FILE: usize = 1 << 20;

/// What the caller wants left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// Patterns as in a `.gitignore` at the root.
    pub excludes: Vec<String>,
    /// Whether the ignore files of the tree count.
    pub respect_ignore: bool,
}

struct Level {
    directory: Vec<u8>,
    files: Option<Gitignore>,
}

/// Rules at work on one tree. Asked in the order of a walk, it reads each ignore file once.
pub struct Matcher<'a> {
    root: BorrowedFd<'a>,
    excludes: Gitignore,
    respect_ignore: bool,
    levels: Vec<Level>,
}

impl<'a> Matcher<'a> {
    /// Rules on the tree below `root`; [`Error::Rule`] for a pattern that is none.
    pub fn new(root: BorrowedFd<'a>, rules: &Rules) -> Result<Self, Error> {
        let mut builder = GitignoreBuilder::new("");
        builder.allow_unclosed_class(false);
        let bad = |rule: &str, error: ignore::Error| Error::Rule {
            rule: rule.to_owned(),
            why: error.to_string(),
        };
        for rule in &rules.excludes {
            builder.add_line(None, &without_braces(rule)).map_err(|error| bad(rule, error))?;
        }
        let excludes = builder.build().map_err(|error| bad("", error))?;
        Ok(Self { root, excludes, respect_ignore: rules.respect_ignore, levels: Vec::new() })
    }

    /// Whether the entry is left out, by the caller's patterns or by the ignore files if they count.
    pub fn leaves_out(&mut self, path: &[u8], kind: Kind) -> bool {
        self.is_excluded(path, kind) || (self.respect_ignore && self.is_ignored(path, kind))
    }

    /// Whether the caller's patterns match it.
    pub fn is_excluded(&self, path: &[u8], kind: Kind) -> bool {
        matches(&self.excludes, path, kind).is_some_and(|excluded| excluded)
    }

    /// Whether the ignore files match it, whether they count or not.
    pub fn is_ignored(&mut self, path: &[u8], kind: Kind) -> bool {
        let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        self.load(&path[..end]);
        for level in self.levels.iter().rev() {
            let Some(files) = &level.files else { continue };
            let below = match level.directory.len() {
                0 => path,
                length => &path[length + 1..],
            };
            if let Some(ignored) = matches(files, below, kind) {
                return ignored;
            }
        }
        false
    }

    /// The levels from the root to `directory`.
    fn load(&mut self, directory: &[u8]) {
        while self.levels.last().is_some_and(|level| !within(directory, &level.directory)) {
            self.levels.pop();
        }
        let mut at = match self.levels.last() {
            Some(level) if level.directory == directory => return,
            Some(level) if level.directory.is_empty() => 0,
            Some(level) => level.directory.len() + 1,
            None => {
                self.levels.push(Level { directory: Vec::new(), files: self.files(b"") });
                0
            }
        };
        while at < directory.len() {
            let end = directory[at..].iter().position(|byte| *byte == b'/');
            let end = end.map_or(directory.len(), |length| at + length);
            let above = directory[..end].to_vec();
            let files = self.files(&above);
            self.levels.push(Level { directory: above, files });
            at = end + 1;
        }
    }

    /// The ignore files of one directory; what cannot be read is none.
    fn files(&self, directory: &[u8]) -> Option<Gitignore> {
        let directory = open_directory(self.root, directory, false).ok()?;
        let mut builder = GitignoreBuilder::new("");
        let mut any = false;
        if let Ok(git) = open_directory(directory.as_fd(), b".git/info", false) {
            any |= add(&mut builder, git.as_fd(), "exclude");
        }
        any |= add(&mut builder, directory.as_fd(), ".gitignore");
        any |= add(&mut builder, directory.as_fd(), ".pyroignore");
        if any { builder.build().ok() } else { None }
    }
}

fn matches(files: &Gitignore, path: &[u8], kind: Kind) -> Option<bool> {
    match files.matched(Path::new(OsStr::from_bytes(path)), kind == Kind::Directory) {
        Match::None => None,
        Match::Ignore(_) => Some(true),
        Match::Whitelist(_) => Some(false),
    }
}

/// Braces mean nothing to git, but alternatives to the matcher: they are escaped.
fn without_braces(line: &str) -> String {
    let (mut escaped, mut class, mut plain) = (String::with_capacity(line.len()), false, false);
    for letter in line.chars() {
        if !class && !plain && matches!(letter, '{' | '}') {
            escaped.push('\\');
        }
        match letter {
            '[' if !plain => class = true,
            ']' if !plain => class = false,
            _ => {}
        }
        plain = letter == '\\' && !plain;
        escaped.push(letter);
    }
    escaped
}

fn add(builder: &mut GitignoreBuilder, directory: BorrowedFd<'_>, name: &str) -> bool {
    let Ok(bytes) = content(directory, name) else { return false };
    let text = String::from_utf8_lossy(&bytes);
    for line in text.strip_prefix('\u{feff}').unwrap_or(&text).lines() {
        // Like git, a pattern that is none matches nothing.
        let _ = builder.add_line(None, &without_braces(line));
    }
    true
}

fn content(directory: BorrowedFd<'_>, name: &str) -> Result<Vec<u8>, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat(directory, name, flags, Mode::empty())?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    let (mut bytes, mut filled) = (vec![0; 4096], 0);
    while filled < MAX_FILE {
        match read(&file, &mut bytes[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        if filled == bytes.len() {
            bytes.resize(2 * filled, 0);
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

impl Rules {
    /// Whether nothing is left out.
    pub fn is_empty(&self) -> bool {
        self.excludes.is_empty() && !self.respect_ignore
    }
}
