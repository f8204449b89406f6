//! Lines that match, looked for with ripgrep's own regular expressions and ignore rules. Its reader of
//! files is not taken: with it come the tables of every encoding there ever was.

use std::{
    ffi::{CString, OsStr},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
    overrides::{Override, OverrideBuilder},
};
use pyro_wire::{FileMatch, FileTally, SearchFiles, file_outcome};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, openat, statat};

use super::{
    conversation::{Ending, Output},
    lines::{Heard, Line, scan},
    list::{joined, names},
    root::{Root, refused, reopen_regular},
};
use crate::refusal::{Refusal, shown};

/// Of a line that is told, bytes.
const LONGEST_LINE: usize = 2000;
/// Of an expression and what it is compiled to, bytes.
const LONGEST_PATTERN: usize = 64 << 10;
const LARGEST_EXPRESSION: usize = 8 << 20;
/// Of a file of ignore rules, bytes.
const LONGEST_RULES: u64 = 1 << 20;
/// Directories within each other.
const DEEPEST: usize = 1000;

/// Looks for lines.
pub(super) fn search(root: &Root, call: &SearchFiles, output: &Output) -> Result<Ending, Refusal> {
    let refused = refused(&call.path);
    let matcher = matcher(call)?;
    let wanted = wanted(call)?;
    let start = root.open(&call.path, OFlags::PATH).map_err(&refused)?;
    output.go_on()?;
    let tally = FileTally::default();
    let mut search = Search { call, output, matcher, tally, found: 0 };
    let kind = super::entry::kind_of(start.as_fd()).map_err(&refused)?;
    match kind {
        FileType::Directory => walk(start, &wanted, &mut search)?,
        _ => match reopen_regular(start.as_fd()) {
            Ok(file) => search.file(&call.path, &file)?,
            Err(problem) => {
                return Err(Refusal::File { path: shown(&call.path), problem });
            }
        },
    }
    Ok(Ending::outcome(file_outcome::Result::Searched(search.tally)))
}

fn matcher(call: &SearchFiles) -> Result<RegexMatcher, Refusal> {
    if call.pattern.len() > LONGEST_PATTERN {
        return Err(Refusal::Pattern("it is too long".to_owned()));
    }
    RegexMatcherBuilder::new()
        .case_insensitive(call.ignore_case)
        .fixed_strings(call.literal)
        .multi_line(true)
        .line_terminator(Some(b'\n'))
        .size_limit(LARGEST_EXPRESSION)
        .dfa_size_limit(LARGEST_EXPRESSION)
        .build(&call.pattern)
        .map_err(|error| Refusal::Pattern(error.to_string()))
}

/// Which names are wanted, by the globs of the call.
fn wanted(call: &SearchFiles) -> Result<Override, Refusal> {
    let mut globs = OverrideBuilder::new("/");
    for glob in &call.globs {
        globs.add(glob).map_err(|error| Refusal::Pattern(error.to_string()))?;
    }
    globs.build().map_err(|error| Refusal::Pattern(error.to_string()))
}

struct Search<'a> {
    call: &'a SearchFiles,
    output: &'a Output,
    matcher: RegexMatcher,
    tally: FileTally,
    found: u64,
}

impl Search<'_> {
    fn file(&mut self, path: &[u8], file: &File) -> Result<(), Refusal> {
        self.tally.entries += 1;
        let mut gone = Ok(());
        let context = if self.call.names_only { 0 } else { self.call.context as usize };
        let scanned = scan(file, &self.matcher, context, &mut |line| {
            if !line.is_context {
                if self.found >= self.call.most_matches {
                    self.tally.truncated = true;
                    return Heard::Enough;
                }
                self.found += 1;
            }
            gone = self.output.tell(told(path, &line, self.call.names_only));
            if gone.is_err() || self.call.names_only { Heard::Enough } else { Heard::GoOn }
        });
        // One that cannot be read, or has a line longer than memory, holds nothing that can be told.
        drop(scanned);
        gone
    }
}

fn told(path: &[u8], line: &Line<'_>, name_only: bool) -> file_outcome::Result {
    let (number, text) = if name_only { (0, &b""[..]) } else { (line.number, line.text) };
    file_outcome::Result::Line(FileMatch {
        path: path.to_vec().into(),
        line_number: number,
        line: text[..text.len().min(LONGEST_LINE)].to_vec().into(),
        is_context: line.is_context,
        cut: text.len() > LONGEST_LINE,
    })
}

/// A directory on the way, and what of it is still to come.
struct Level {
    directory: OwnedFd,
    path: Vec<u8>,
    names: Vec<CString>,
    rules: Option<Gitignore>,
}

impl Level {
    fn open(directory: OwnedFd, path: Vec<u8>, all: bool) -> io::Result<Self> {
        let mut names = names(&directory)?;
        names.reverse();
        let rules = if all { None } else { rules(&directory, &path) };
        Ok(Self { directory, path, names, rules })
    }
}

/// The ignore rules that stand in a directory.
fn rules(directory: &OwnedFd, path: &[u8]) -> Option<Gitignore> {
    let mut builder = GitignoreBuilder::new(Path::new(OsStr::from_bytes(path)));
    let mut any = false;
    for name in [c".gitignore", c".ignore"] {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(found) = openat(directory, name, flags, Mode::empty()) else { continue };
        let Ok(file) = reopen_regular(found.as_fd()) else { continue };
        let mut text = Vec::new();
        if file.take(LONGEST_RULES).read_to_end(&mut text).is_err() {
            continue;
        }
        for line in String::from_utf8_lossy(&text).lines() {
            any |= builder.add_line(None, line).is_ok();
        }
    }
    if any { builder.build().ok() } else { None }
}

fn is_ignored(levels: &[Level], path: &Path, is_directory: bool) -> bool {
    for rules in levels.iter().rev().filter_map(|level| level.rules.as_ref()) {
        match rules.matched(path, is_directory) {
            Match::Ignore(_) => return true,
            Match::Whitelist(_) => return false,
            Match::None => {}
        }
    }
    false
}

fn walk(start: OwnedFd, wanted: &Override, search: &mut Search<'_>) -> Result<(), Refusal> {
    let (all, path) = (search.call.all, search.call.path.to_vec());
    let mut levels = vec![Level::open(start, path.clone(), all).map_err(refused(&path))?];
    while let Some(level) = levels.last_mut() {
        if search.tally.truncated {
            return Ok(());
        }
        let Some(name) = level.names.pop() else {
            levels.pop();
            continue;
        };
        if !all && name.to_bytes().starts_with(b".") {
            continue;
        }
        let Ok(found) = statat(&level.directory, &name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let kind = FileType::from_raw_mode(found.st_mode);
        let is_directory = kind == FileType::Directory;
        if !is_directory && kind != FileType::RegularFile {
            continue;
        }
        let path = joined(&level.path, name.to_bytes());
        let shown = Path::new(OsStr::from_bytes(&path));
        let glob = wanted.matched(shown, is_directory);
        if glob.is_ignore()
            || (!glob.is_whitelist() && !all && is_ignored(&levels, shown, is_directory))
        {
            continue;
        }
        let Some(level) = levels.last() else { return Ok(()) };
        let kind = if is_directory { OFlags::DIRECTORY } else { OFlags::empty() };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
        let Ok(inner) = openat(&level.directory, &name, flags, Mode::empty()) else { continue };
        if !is_directory {
            if let Ok(file) = reopen_regular(inner.as_fd()) {
                search.file(&path, &file)?;
            }
        } else if levels.len() < DEEPEST {
            levels.extend(Level::open(inner, path, all));
        }
    }
    Ok(())
}
