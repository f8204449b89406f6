//! A patch, put into the files of the workload: all of it or nothing.
//!
//! It is first worked out in memory, whatever it touches; then every file that will be is written beside its
//! place; only when all that went well do they get their names. What goes wrong after that is undone.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read, Write},
    os::fd::AsFd,
};

use pyro_change::{Action, FilePatch, apply, parse};
use pyro_wire::{ApplyPatch, ChangeStatus, FilePatched, FilesPatched, Problem, file_outcome};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, openat, readlinkat, symlinkat, unlinkat};

use super::{
    conversation::{Ending, Input, Output},
    list::joined,
    root::{Root, Spot, refused, reopen_regular},
    write::Draft,
};
use crate::refusal::{FileProblem, Refusal, shown};

/// Of all files that a patch touches, bytes.
const MOST_CONTENT: u64 = 64 << 20;
/// Files of one patch.
const MOST_FILES: usize = 10_000;

/// Takes a patch from the host and applies it.
pub(super) fn patch(
    root: &Root,
    call: &ApplyPatch,
    output: &Output,
    input: &mut Input,
) -> Result<Ending, Refusal> {
    output.go_on()?;
    let mut text = Vec::new();
    let most = pyro_change::LONGEST_PATCH as u64 + 1;
    input.take(most).read_to_end(&mut text).map_err(|_| Refusal::Interrupted)?;
    let files = put(root, &text, call)?;
    Ok(Ending::outcome(file_outcome::Result::Patched(FilesPatched { files })))
}

fn put(root: &Root, text: &[u8], call: &ApplyPatch) -> Result<Vec<FilePatched>, Refusal> {
    let patch = parse(text, &call.base).map_err(|error| told(error.code(), error.to_string()))?;
    if patch.files.len() > MOST_FILES {
        let text = format!("the patch changes more than {MOST_FILES} files");
        return Err(told("patch_too_complex", text));
    }
    let mut work = Work { root, base: &call.base, states: BTreeMap::new(), bytes: 0 };
    let mut files = Vec::new();
    for file in &patch.files {
        files.push(work.one(file)?);
    }
    if !call.check {
        work.carry_out()?;
    }
    Ok(files)
}

fn told(code: &str, message: String) -> Refusal {
    Refusal::Told(Problem { code: code.to_owned(), message, causes: Vec::new() })
}

/// What is, or is to be, at a path.
#[derive(Clone, PartialEq, Eq)]
enum There {
    Nothing,
    File { content: Vec<u8>, mode: u32 },
    Link { target: Vec<u8> },
}

/// A path that the patch speaks of.
struct State {
    was: There,
    stat: Option<Stat>,
    is: There,
}

struct Work<'a> {
    root: &'a Root,
    base: &'a [u8],
    states: BTreeMap<Vec<u8>, State>,
    bytes: u64,
}

impl Work<'_> {
    fn path(&self, name: &[u8]) -> Vec<u8> {
        joined(self.base, name)
    }

    /// What is at a name by now.
    fn state(&mut self, name: &[u8]) -> Result<&mut State, Refusal> {
        if !self.states.contains_key(name) {
            let (was, stat) = self.look(name)?;
            let is = was.clone();
            self.states.insert(name.to_vec(), State { was, stat, is });
        }
        self.states.get_mut(name).ok_or(Refusal::Interrupted)
    }

    fn look(&mut self, name: &[u8]) -> Result<(There, Option<Stat>), Refusal> {
        let path = self.path(name);
        let refused = refused(&path);
        let spot = match self.root.spot(&path) {
            Ok(spot) => spot,
            Err(error) if is_absence(&error) => return Ok((There::Nothing, None)),
            Err(error) => return Err(refused(error)),
        };
        let Some(found) = spot.found().map_err(&refused)? else {
            return Ok((There::Nothing, None));
        };
        let there = match FileType::from_raw_mode(found.st_mode) {
            FileType::Symlink => {
                let target = readlinkat(&spot.directory, &spot.name, Vec::new());
                There::Link { target: target.map_err(|error| refused(error.into()))?.into_bytes() }
            }
            FileType::RegularFile => {
                let file = open(&spot).map_err(|problem| file_refused(&path, problem))?;
                let mut content = Vec::new();
                let left = MOST_CONTENT - self.bytes;
                file.take(left + 1).read_to_end(&mut content).map_err(&refused)?;
                self.bytes += content.len() as u64;
                if content.len() as u64 > left {
                    return Err(too_much());
                }
                There::File { content, mode: found.st_mode & 0o7777 }
            }
            _ => return Err(file_refused(&path, FileProblem::NotRegular)),
        };
        Ok((there, Some(found)))
    }

    /// Works out what becomes of one file.
    fn one(&mut self, patch: &FilePatch) -> Result<FilePatched, Refusal> {
        let mut old_name = patch.old.clone();
        // `diff -u` gives a file two names; the one that is there is meant.
        if patch.action == Action::Modify
            && patch.old != patch.new
            && self.state(&patch.new)?.is != There::Nothing
        {
            old_name.clone_from(&patch.new);
        }
        let was = self.state(&old_name)?.is.clone();
        let path = self.path(&patch.new);
        let (content, mode) = match (&was, patch.action) {
            (There::Nothing, Action::Add) => (Vec::new(), 0o644),
            (_, Action::Add) => return Err(file_refused(&path, FileProblem::Exists)),
            (There::Nothing, _) => {
                return Err(file_refused(&self.path(&old_name), FileProblem::NotFound));
            }
            (There::File { content, mode }, _) => (content.clone(), *mode),
            (There::Link { target }, _) => (target.clone(), 0o777),
        };
        let applied =
            apply(&content, patch).map_err(|miss| told(miss.code(), format!("{patch}: {miss}")))?;
        self.bytes += applied.content.len() as u64;
        if self.bytes > 2 * MOST_CONTENT {
            return Err(too_much());
        }
        let is_link = patch.mode.map_or(matches!(was, There::Link { .. }), |_| patch.is_symlink());
        let executable = patch.mode.map(|mode| mode & 0o111 != 0);
        let is = match patch.action {
            // Without a word on what is in it, whatever that is goes.
            Action::Delete if !applied.content.is_empty() && !patch.hunks.is_empty() => {
                let text = format!("{patch}: it is to go, but holds more than the patch says");
                return Err(told("patch_does_not_fit", text));
            }
            Action::Delete => There::Nothing,
            _ if is_link => There::Link { target: applied.content },
            _ => {
                let mode = match executable {
                    // Whoever may read it may execute it, or nobody.
                    Some(true) => mode | ((mode & 0o444) >> 2),
                    Some(false) => mode & !0o111,
                    None => mode,
                };
                There::File { content: applied.content, mode }
            }
        };
        let moves = matches!(patch.action, Action::Rename | Action::Copy);
        if moves && self.state(&patch.new)?.is != There::Nothing && patch.old != patch.new {
            return Err(file_refused(&path, FileProblem::Exists));
        }
        if matches!(patch.action, Action::Rename | Action::Delete) {
            self.state(&old_name)?.is = There::Nothing;
        }
        let name = if patch.action == Action::Modify { &old_name } else { &patch.new };
        if is != There::Nothing {
            self.state(name)?.is = is;
        }
        let status = match patch.action {
            Action::Add | Action::Copy => ChangeStatus::ChangeAdded,
            Action::Delete => ChangeStatus::ChangeDeleted,
            Action::Rename => ChangeStatus::ChangeRenamed,
            Action::Modify => ChangeStatus::ChangeModified,
        };
        let old_path = if moves { self.path(&patch.old) } else { Vec::new() };
        Ok(FilePatched {
            path: self.path(name).into(),
            status: status.into(),
            old_path: old_path.into(),
            mended_hunks: applied.mended_hunks as u32,
        })
    }

    /// Does what was worked out.
    fn carry_out(&self) -> Result<(), Refusal> {
        let changed = || self.states.iter().filter(|(_, state)| state.was != state.is);
        let mut made = Vec::new();
        let mut done = Vec::new();
        let outcome = (|| {
            // What goes first, may make room for a directory of its name.
            for (name, state) in changed().filter(|(_, state)| state.is == There::Nothing) {
                let path = self.path(name);
                let spot = self.root.spot(&path).map_err(refused(&path))?;
                unlinkat(&spot.directory, &spot.name, AtFlags::empty())
                    .map_err(|error| refused(&path)(error.into()))?;
                done.push((name, state));
                self.tidy(name);
            }
            let mut drafts = Vec::new();
            for (name, state) in changed().filter(|(_, state)| state.is != There::Nothing) {
                self.make_way(name, &mut made)?;
                drafts.push((name, state, self.draft(name, state)?));
            }
            for (name, state, draft) in drafts {
                let path = self.path(name);
                self.publish(&path, state, draft).map_err(refused(&path))?;
                done.push((name, state));
            }
            Ok(())
        })();
        if outcome.is_err() {
            self.undo(&done, &made);
        }
        outcome
    }

    fn draft(&self, name: &[u8], state: &State) -> Result<Option<Draft>, Refusal> {
        let There::File { content, mode } = &state.is else { return Ok(None) };
        let path = self.path(name);
        let refused = refused(&path);
        let spot = self.root.spot(&path).map_err(&refused)?;
        let regular = state.stat.filter(|_| matches!(state.was, There::File { .. }));
        let draft = Draft::new(spot, regular.as_ref(), Some(*mode));
        let mut draft = draft.map_err(|problem| file_refused(&path, problem))?;
        draft.file.write_all(content).map_err(&refused)?;
        Ok(Some(draft))
    }

    fn publish(&self, path: &[u8], state: &State, draft: Option<Draft>) -> io::Result<()> {
        if let Some(draft) = draft {
            return draft.publish(true);
        }
        if let There::Link { target } = &state.is {
            let spot = self.root.spot(path)?;
            if state.was != There::Nothing {
                unlinkat(&spot.directory, &spot.name, AtFlags::empty())?;
            }
            symlinkat(&**target, &spot.directory, &spot.name)?;
        }
        Ok(())
    }

    /// Makes the directories of a name, and notes which were not there.
    fn make_way(&self, name: &[u8], made: &mut Vec<Vec<u8>>) -> Result<(), Refusal> {
        for (end, _) in name.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let path = self.path(&name[..end]);
            if self.root.open(&path, OFlags::PATH).is_err() {
                made.push(path);
            }
        }
        self.root.make_parents(&self.path(name))
    }

    /// Removes the directories of a name that are empty, as git does.
    fn tidy(&self, name: &[u8]) {
        let slashes = name.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
        for (end, _) in slashes {
            let spot = self.root.spot(&self.path(&name[..end]));
            let Ok(spot) = spot else { return };
            if unlinkat(&spot.directory, &spot.name, AtFlags::REMOVEDIR).is_err() {
                return;
            }
        }
    }

    /// Makes it as it was.
    fn undo(&self, done: &[(&Vec<u8>, &State)], made: &[Vec<u8>]) {
        for (name, state) in done.iter().rev() {
            let back = State { was: state.is.clone(), stat: state.stat, is: state.was.clone() };
            let path = self.path(name);
            let _ = self.root.make_parents(&path);
            if back.is == There::Nothing {
                if let Ok(spot) = self.root.spot(&path) {
                    let _ = unlinkat(&spot.directory, &spot.name, AtFlags::empty());
                }
            } else if let Ok(draft) = self.draft(name, &back) {
                let _ = self.publish(&path, &back, draft);
            }
        }
        for path in made.iter().rev() {
            if let Ok(spot) = self.root.spot(path) {
                let _ = unlinkat(&spot.directory, &spot.name, AtFlags::REMOVEDIR);
            }
        }
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn file_refused(path: &[u8], problem: FileProblem) -> Refusal {
    Refusal::File { path: shown(path), problem }
}

fn too_much() -> Refusal {
    let text = format!("the files that the patch changes are more than {MOST_CONTENT} bytes");
    told("patch_too_complex", text)
}

fn open(spot: &Spot) -> Result<File, FileProblem> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let found = openat(&spot.directory, &spot.name, flags, Mode::empty());
    reopen_regular(found.map_err(|error| FileProblem::of(error.into()))?.as_fd())
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::{MetadataExt, PermissionsExt, symlink},
        path::Path,
    };

    use super::*;

    fn apply(directory: &Path, patch: &str, check: bool) -> Result<Vec<String>, String> {
        let root = Root::new(File::open(directory).unwrap().into());
        let call = ApplyPatch { base: "/workspace".into(), check };
        match put(&root, patch.as_bytes(), &call) {
            Ok(files) => Ok(files
                .iter()
                .map(|file| format!("{:?} {}", file.status(), String::from_utf8_lossy(&file.path)))
                .collect()),
            Err(refusal) => Err(refusal.code().to_owned()),
        }
    }

    fn world() -> (tempfile::TempDir, std::path::PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("workspace");
        fs::create_dir_all(base.join("deep/er")).unwrap();
        fs::write(base.join("a"), "one\ntwo\n").unwrap();
        fs::write(base.join("deep/er/b"), "x\n").unwrap();
        fs::set_permissions(base.join("a"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("a", base.join("link")).unwrap();
        (directory, base)
    }

    #[test]
    fn a_patch_is_applied_whole() {
        let (directory, base) = world();
        let patch = "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n one\n-two\n+zwei\n\
            diff --git a/a b/a\nold mode 100644\nnew mode 100755\n\
            diff --git a/deep/er/b b/other/c\nrename from deep/er/b\nrename to other/c\n\
            --- /dev/null\n+++ b/new/d\n@@ -0,0 +1 @@\n+d\n\
            diff --git a/link b/link\n--- a/link\n+++ b/link\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+/b\n\\ No newline at end of file\n";
        let expected = [
            "ChangeModified /workspace/a",
            "ChangeModified /workspace/a",
            "ChangeRenamed /workspace/other/c",
            "ChangeAdded /workspace/new/d",
            "ChangeModified /workspace/link",
        ];
        assert_eq!(apply(directory.path(), patch, true).unwrap(), expected);
        assert_eq!(fs::read(base.join("a")).unwrap(), b"one\ntwo\n");
        assert_eq!(apply(directory.path(), patch, false).unwrap(), expected);
        assert_eq!(fs::read(base.join("a")).unwrap(), b"one\nzwei\n");
        assert_eq!(fs::metadata(base.join("a")).unwrap().mode() & 0o777, 0o750);
        assert_eq!(fs::read(base.join("other/c")).unwrap(), b"x\n");
        assert_eq!(fs::read(base.join("new/d")).unwrap(), b"d\n");
        assert_eq!(fs::read_link(base.join("link")).unwrap(), Path::new("/b"));
        assert!(!base.join("deep").exists(), "what is empty now goes");
    }

    #[test]
    fn one_that_does_not_fit_changes_nothing() {
        let (directory, base) = world();
        let good = "--- a/a\n+++ b/a\n@@ -1,2 +1,2 @@\n one\n-two\n+zwei\n--- /dev/null\n+++ b/new/d\n@@ -0,0 +1 @@\n+d\n";
        for (bad, code) in [
            ("--- a/deep/er/b\n+++ b/deep/er/b\n@@ -1 +1 @@\n-y\n+z\n", "patch_does_not_fit"),
            ("--- a/gone\n+++ b/gone\n@@ -1 +1 @@\n-y\n+z\n", "file_not_found"),
            ("--- /dev/null\n+++ b/link\n@@ -0,0 +1 @@\n+d\n", "file_exists"),
            ("--- a/deep\n+++ b/deep\n@@ -1 +1 @@\n-y\n+z\n", "file_not_regular"),
            ("--- a/deep/er/b\n+++ /dev/null\n@@ -0,0 +0,0 @@\n+\n", "patch_does_not_fit"),
            // A directory stands where this one's is to be made: found out when it is written.
            ("--- /dev/null\n+++ b/link/x\n@@ -0,0 +1 @@\n+d\n", "file_not_directory"),
        ] {
            assert_eq!(
                apply(directory.path(), &format!("{good}{bad}"), false).unwrap_err(),
                code,
                "{bad}"
            );
            assert_eq!(fs::read(base.join("a")).unwrap(), b"one\ntwo\n", "{bad}");
            let names: Vec<_> =
                fs::read_dir(&base).unwrap().map(|it| it.unwrap().file_name()).collect();
            assert_eq!(names.len(), 3, "{bad}: {names:?}");
        }
    }
}
