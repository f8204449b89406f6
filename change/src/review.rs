//! What a person should look at first in a difference, and what need not be shown line by line.

use std::collections::{BTreeMap, BTreeSet};

/// A change, as far as it matters here.
#[derive(Clone, Copy, Debug)]
pub struct Reviewed<'a> {
    /// Relative to the tree's root.
    pub path: &'a str,
    /// It is new, or has another name.
    pub is_new: bool,
    /// It is gone.
    pub is_gone: bool,
    /// It is a regular file now.
    pub is_file: bool,
    /// Permission bits now, and before.
    pub mode: Option<u32>,
    /// The same as they were.
    pub old_mode: Option<u32>,
    /// Bytes of it now.
    pub size: u64,
    /// Where it leads, if it is a symlink now.
    pub link_target: Option<&'a str>,
}

/// Why a change is worth a second look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Stable, for programs.
    pub code: &'static str,
    /// The same in words.
    pub reason: &'static str,
}

const fn mark(code: &'static str, reason: &'static str) -> Mark {
    Mark { code, reason }
}

/// Why a change is worth a second look: it may run by itself, on this host, once it is taken over.
pub fn marks(change: &Reviewed<'_>) -> Vec<Mark> {
    let mut marks = Vec::new();
    if change.is_gone {
        return marks;
    }
    let has = |mode: Option<u32>, bits: u32| mode.is_some_and(|mode| mode & bits != 0);
    if change.is_file && has(change.mode, 0o111) {
        if change.old_mode.is_none() {
            marks.push(mark("new_executable", "a new file that can be executed"));
        } else if !has(change.old_mode, 0o111) {
            marks.push(mark("became_executable", "it can be executed now"));
        }
    }
    if change.is_file && has(change.mode, 0o6000) && !has(change.old_mode, 0o6000) {
        marks.push(mark("set_user_id", "it runs with the rights of its owner or group"));
    }
    if change.link_target.is_some_and(|target| leaves(change.path, target)) {
        marks.push(mark("link_leaves_tree", "a link that leads out of the tree"));
    }
    marks.extend(by_name(change.path));
    marks
}

/// Whether a link leads out of the tree it is in.
fn leaves(path: &str, target: &str) -> bool {
    if target.starts_with('/') {
        return true;
    }
    let mut depth = path.split('/').count() as i64 - 1;
    target.split('/').any(|part| {
        match part {
            "" | "." => {}
            ".." => depth -= 1,
            _ => depth += 1,
        }
        depth < 0
    })
}

/// What a name alone says: files that a tool reads and acts upon without being told to.
fn by_name(path: &str) -> Option<Mark> {
    let lower = path.to_ascii_lowercase();
    let parts: Vec<&str> = lower.split('/').collect();
    let name = *parts.last()?;
    let within = |folder: &str| parts[..parts.len() - 1].contains(&folder);
    let under = |folders: &[&str]| parts.windows(folders.len()).any(|some| some == folders);
    if within(".git") || within(".husky") || within(".githooks") {
        let hook = within("hooks") || within(".husky") || within(".githooks");
        if hook {
            return Some(mark("git_hook", "git runs it by itself"));
        }
        let acts = matches!(name, "config" | "config.worktree" | "attributes" | "alternates");
        return acts
            .then_some(mark("git_config", "git is told by it what to run and whom to trust"));
    }
    if matches!(name, ".gitmodules" | ".gitattributes" | ".gitconfig") {
        return Some(mark("git_config", "git is told by it what to fetch and what to run"));
    }
    let ci = under(&[".github", "workflows"])
        || under(&[".github", "actions"])
        || within(".circleci")
        || within(".buildkite")
        || matches!(
            name,
            ".gitlab-ci.yml"
                | ".travis.yml"
                | "jenkinsfile"
                | "azure-pipelines.yml"
                | ".drone.yml"
                | "bitbucket-pipelines.yml"
                | ".pre-commit-config.yaml"
                | "lefthook.yml"
        );
    if ci {
        return Some(mark("ci_file", "a build service runs what it says, with its secrets"));
    }
    let editor = (within(".vscode")
        && matches!(name, "tasks.json" | "launch.json" | "settings.json" | "extensions.json"))
        || within(".idea")
        || within(".devcontainer")
        || under(&[".claude"])
        || under(&[".cursor"])
        || matches!(name, ".vimrc" | ".exrc" | ".nvimrc" | ".dir-locals.el" | ".mcp.json");
    if editor {
        return Some(mark("editor_task", "an editor runs what it says when the folder is opened"));
    }
    let install = matches!(
        name,
        "package.json"
            | ".npmrc"
            | ".yarnrc"
            | ".yarnrc.yml"
            | ".pnpmfile.cjs"
            | "setup.py"
            | "setup.cfg"
            | "pyproject.toml"
            | "conftest.py"
            | "sitecustomize.py"
            | "build.rs"
            | ".envrc"
            | "direnv.toml"
            | "binding.gyp"
            | "pip.conf"
    ) || (within(".cargo") && name.starts_with("config"))
        || name.rsplit_once('.').is_some_and(|(_, kind)| kind == "pth");
    install.then_some(mark("install_script", "installing, building or testing runs what it says"))
}

/// A line of a difference that is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Shown {
    /// A change, by its place among those given.
    Change(usize),
    /// Changes in a directory that are counted only.
    Folded {
        /// The directory.
        path: String,
        /// How many changes.
        entries: usize,
        /// Bytes in them.
        bytes: u64,
        /// All of them are new.
        is_new: bool,
    },
}

/// New entries in one directory from which on they are only counted.
const HUGE: usize = 50;

/// The changes as people and models get them: what is in `.git`, and new directories with much in them, is
/// one counted line each. Changes are given sorted, those of a directory together.
pub fn fold(changes: &[Reviewed<'_>]) -> Vec<Shown> {
    // What is in each directory, and whether all of it is new.
    let mut directories: BTreeMap<&str, (usize, u64, bool)> = BTreeMap::new();
    for change in changes {
        for (end, _) in change.path.match_indices('/') {
            let known = directories.entry(&change.path[..end]).or_insert((0, 0, true));
            *known = (known.0 + 1, known.1 + change.size, known.2 && change.is_new);
        }
    }
    let mut shown: Vec<Shown> = Vec::new();
    let mut folded = BTreeSet::new();
    for (at, change) in changes.iter().enumerate() {
        let folds =
            change.path.match_indices('/').map(|(end, _)| &change.path[..end]).find(|path| {
                let is_git = path.rsplit('/').next() == Some(".git");
                is_git || directories.get(path).is_some_and(|known| known.2 && known.0 > HUGE)
            });
        match folds {
            None => shown.push(Shown::Change(at)),
            Some(path) if !folded.insert(path) => {}
            Some(path) => {
                let (entries, bytes, is_new) = directories.get(path).copied().unwrap_or_default();
                shown.push(Shown::Folded { path: path.to_owned(), entries, bytes, is_new });
            }
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(path: &str) -> Reviewed<'_> {
        Reviewed {
            path,
            is_new: true,
            is_gone: false,
            is_file: true,
            mode: Some(0o644),
            old_mode: None,
            size: 10,
            link_target: None,
        }
    }

    fn codes(change: &Reviewed<'_>) -> Vec<&'static str> {
        marks(change).iter().map(|mark| mark.code).collect()
    }

    #[test]
    fn what_may_run_by_itself_is_marked() {
        for (path, code) in [
            (".git/hooks/pre-commit", "git_hook"),
            ("sub/.git/config", "git_config"),
            (".husky/pre-push", "git_hook"),
            (".gitmodules", "git_config"),
            (".github/workflows/ci.yml", "ci_file"),
            ("Jenkinsfile", "ci_file"),
            (".vscode/tasks.json", "editor_task"),
            ("web/package.json", "install_script"),
            ("setup.py", "install_script"),
            (".cargo/config.toml", "install_script"),
            ("lib/site.pth", "install_script"),
        ] {
            assert_eq!(codes(&change(path)), [code], "{path}");
        }
        for path in ["src/main.rs", ".git/objects/ab/cd", ".vscode/notes.md", "config", "hooks/x"] {
            assert_eq!(codes(&change(path)), [""; 0], "{path}");
        }
    }

    #[test]
    fn modes_and_links_are_marked() {
        let new = Reviewed { mode: Some(0o755), ..change("x") };
        assert_eq!(codes(&new), ["new_executable"]);
        assert_eq!(codes(&Reviewed { old_mode: Some(0o644), ..new }), ["became_executable"]);
        assert_eq!(codes(&Reviewed { old_mode: Some(0o755), ..new }), [""; 0]);
        let set = Reviewed { mode: Some(0o4755), old_mode: Some(0o755), ..new };
        assert_eq!(codes(&set), ["set_user_id"]);
        assert_eq!(codes(&Reviewed { is_gone: true, ..new }), [""; 0]);
        for (target, leaves) in [
            ("/etc/passwd", true),
            ("../x", true),
            ("../../x", true),
            ("b/../../../x", true),
            ("c", false),
            ("../b/c", false),
        ] {
            let path = if target == "../b/c" { "a/link" } else { "link" };
            let link = Reviewed { is_file: false, link_target: Some(target), ..change(path) };
            assert_eq!(!codes(&link).is_empty(), leaves, "{target}");
        }
    }

    #[test]
    fn what_is_much_and_new_is_one_line() {
        let many: Vec<String> =
            (0..60).map(|number| format!("web/node_modules/p{number}/a")).collect();
        let mut changes: Vec<_> = vec![change(".git/HEAD"), change(".git/index"), change("a")];
        changes.extend(many.iter().map(|path| change(path)));
        changes.push(Reviewed { is_new: false, ..change("web/package.json") });
        let folded = |path: &str, entries, is_new| Shown::Folded {
            path: path.into(),
            entries,
            bytes: 10 * entries as u64,
            is_new,
        };
        let expected = [
            folded(".git", 2, true),
            Shown::Change(2),
            folded("web/node_modules", 60, true),
            Shown::Change(63),
        ];
        assert_eq!(fold(&changes), expected);
    }
}
