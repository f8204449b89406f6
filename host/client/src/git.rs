//! What a git repository tracks, as a directory to make a seed of: a clone and its checkout.
//!
//! Nothing of the repository's configuration counts, and none of this host: no hook, no filter, no
//! credential helper runs, and no remote with a password is left in it. The checkout lies in the state
//! directory and goes when it is dropped; what a killed client left goes with the next one's.

use std::{
    ffi::{OsStr, OsString},
    fs,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU64, Ordering},
};

use pyro_directory::{Directory, DirectoryError, Lock};
use sha2::{Digest, Sha256};

use crate::{ClientError, seed::hexadecimal};

/// Where checkouts are, below the state directory.
const PLACE: &str = "checkouts";
/// The most that is kept of what git says.
const SAID: u64 = 64 << 10;
/// What git is told, whatever it is to do.
const SETTINGS: [&str; 8] = [
    "core.hooksPath=/dev/null",
    "core.attributesFile=/dev/null",
    "core.fsmonitor=false",
    "core.logAllRefUpdates=false",
    "core.symlinks=true",
    "credential.helper=",
    "submodule.recurse=false",
    "advice.detachedHead=false",
];
/// What is done to no file: it has the bytes that are committed.
const ATTRIBUTES: &str = "* -filter -text -ident !eol !crlf !working-tree-encoding\n";

/// What a git repository tracks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GitSeed {
    /// A directory or a URL, and after an `@` maybe a branch, a tag or a commit.
    pub repository: String,
    /// All that git finds in its environment: where programs are, which proxy is used, and so on.
    pub environment: Vec<(OsString, OsString)>,
}

/// Which repository is meant, and what of it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Wanted {
    repository: String,
    reference: Option<String>,
    is_local: bool,
}

/// A checkout; dropped, it is removed.
#[derive(Debug)]
pub(crate) struct Checkout {
    parent: Directory,
    name: String,
    _lock: Lock,
    tree: PathBuf,
    fingerprint: String,
    named: String,
    has_uncommitted: bool,
}

impl Drop for Checkout {
    fn drop(&mut self) {
        remove(&self.parent, &self.name);
    }
}

impl Checkout {
    /// Clones and checks out. Blocks.
    pub(crate) fn make(state: &Path, seed: &GitSeed) -> Result<Self, ClientError> {
        let wanted = wanted(&seed.repository, |path| Path::new(path).is_dir())?;
        let unusable = |source| ClientError::State { source };
        let parent = Directory::create(state.join(PLACE)).map_err(unusable)?;
        sweep(&parent);
        let (name, lock) = start(&parent).map_err(unusable)?;
        let tree = parent.path().join(&name).join("tree");
        let mut checkout = Self {
            parent,
            name,
            _lock: lock,
            tree,
            fingerprint: String::new(),
            named: shown(&seed.repository, &wanted),
            has_uncommitted: false,
        };
        let place = checkout.parent.path().join(&checkout.name);
        fs::create_dir(&place).map_err(|source| ClientError::Git {
            doing: format!("make {}", place.display()),
            source,
        })?;
        checkout.fill(&Git { environment: &seed.environment, home: &place }, &wanted)?;
        Ok(checkout)
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.tree
    }

    /// The same for the same commit of the same references.
    pub(crate) fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    /// The repository as it was named, without credentials.
    pub(crate) fn named(&self) -> String {
        self.named.clone()
    }

    /// Whether the repository is one of this host whose files differ from what was taken.
    pub(crate) fn has_uncommitted(&self) -> bool {
        self.has_uncommitted
    }

    fn fill(&mut self, git: &Git<'_>, wanted: &Wanted) -> Result<(), ClientError> {
        let doing = format!("clone {}", self.named);
        let tree = self.tree.as_os_str();
        let clone = |flags: &[&str]| {
            let mut words: Vec<&OsStr> = ["clone", "--quiet", "--no-checkout", "--template="]
                .iter()
                .chain(&["--no-local", "--no-hardlinks", "--no-recurse-submodules"])
                .chain(flags)
                .map(OsStr::new)
                .collect();
            words.extend([OsStr::new("--"), OsStr::new(&wanted.repository), tree]);
            git.run(&doing, &words)
        };
        match wanted.reference.as_deref() {
            None => {
                clone(&["--single-branch"])?;
            }
            // A branch or a tag; else a commit, which is looked for in all there is.
            Some(name) => {
                if clone(&["--single-branch", "--branch", name]).is_err() {
                    remove_tree(&self.tree);
                    clone(&[])?;
                }
            }
        }
        let here = |words: &[&str]| {
            let mut all: Vec<&OsStr> = vec![OsStr::new("-C"), tree];
            all.extend(words.iter().map(OsStr::new));
            git.run(&format!("check out {}", self.named), &all)
        };
        let info = self.tree.join(".git/info");
        let attributes = info.join("attributes");
        let write = || {
            fs::create_dir_all(&info)?;
            fs::write(&attributes, ATTRIBUTES)
        };
        let unwritable =
            |source| ClientError::Git { doing: format!("write {}", attributes.display()), source };
        write().map_err(unwritable)?;
        let revision = match wanted.reference.as_deref() {
            None => "HEAD^{commit}".to_owned(),
            Some(name) => {
                let candidates = [
                    format!("refs/heads/{name}^{{commit}}"),
                    format!("refs/tags/{name}^{{commit}}"),
                    format!("refs/remotes/origin/{name}^{{commit}}"),
                    format!("{name}^{{commit}}"),
                ];
                let known = candidates.iter().find(|revision| {
                    here(&["rev-parse", "--quiet", "--verify", revision.as_str()]).is_ok()
                });
                known.cloned().ok_or_else(|| ClientError::Repository {
                    given: self.named.clone(),
                    why: "it has no such branch, tag or commit",
                })?
            }
        };
        let commit = here(&["rev-parse", "--quiet", "--verify", &revision]).map_err(|_| {
            let why = "it has no commit";
            ClientError::Repository { given: self.named.clone(), why }
        })?;
        let commit = String::from_utf8_lossy(&commit).trim().to_owned();
        let branch = here(&["symbolic-ref", "--quiet", "HEAD"]).ok();
        let branch = branch.filter(|_| {
            let head = here(&["rev-parse", "--quiet", "--verify", "HEAD^{commit}"]);
            head.is_ok_and(|head| String::from_utf8_lossy(&head).trim() == commit)
        });
        if branch.is_some() {
            here(&["reset", "--quiet", "--hard"])?;
        } else {
            here(&["checkout", "--quiet", "--force", "--detach", &commit])?;
        }
        if wanted.is_local {
            self.has_uncommitted = wanted.reference.is_none()
                && is_changed(git, Path::new(&wanted.repository), &self.tree);
            here(&["remote", "remove", "origin"])?;
        } else {
            let url = without_credentials(&wanted.repository);
            here(&["remote", "set-url", "origin", &url])?;
        }
        fs::remove_file(&attributes).map_err(unwritable)?;
        let references = here(&["for-each-ref", "--format=%(objectname) %(refname)"])?;
        let origin = if wanted.is_local { "" } else { self.named.as_str() };
        let mut hash = Sha256::new();
        for part in [b"git 1", commit.as_bytes(), branch.as_deref().unwrap_or_default()]
            .into_iter()
            .chain([references.as_slice(), origin.as_bytes()])
        {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        self.fingerprint = hexadecimal(&hash.finalize());
        Ok(())
    }
}

/// Whether the files of the repository `source` differ from what its index and its commit say. Its
/// own configuration might run programs to find that out: the clone's is used.
fn is_changed(git: &Git<'_>, source: &Path, clone: &Path) -> bool {
    let look = || -> Option<bool> {
        let words = ["-C".as_ref(), source.as_os_str()];
        let words = words.into_iter().chain(["rev-parse", "--git-path", "index"].map(OsStr::new));
        let words: Vec<_> = words.collect();
        let index = git.run("look for the index", &words).ok()?;
        let index = source.join(OsStr::new(std::str::from_utf8(&index).ok()?.trim_end()));
        let copy = git.home.join("index");
        fs::copy(index, &copy).ok()?;
        let top = ["-C".as_ref(), source.as_os_str()];
        let top = top.into_iter().chain(["rev-parse", "--show-toplevel"].map(OsStr::new));
        let top: Vec<_> = top.collect();
        let top = git.run("look for the top", &top).ok()?;
        let top = Path::new(std::str::from_utf8(&top).ok()?.trim_end()).to_owned();
        let (mut work, mut directory) =
            (OsString::from("--work-tree="), OsString::from("--git-dir="));
        work.push(&top);
        directory.push(clone.join(".git"));
        let mut words = vec![directory.as_os_str(), work.as_os_str()];
        let status = ["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"];
        words.extend(status.map(OsStr::new));
        let mut command = git.command(&words);
        command.env("GIT_INDEX_FILE", &copy).current_dir(&top);
        let status = git.finish("look for changes", command).ok()?;
        Some(!status.is_empty())
    };
    look().unwrap_or(false)
}

/// How git is run.
struct Git<'a> {
    environment: &'a [(OsString, OsString)],
    home: &'a Path,
}

impl Git<'_> {
    fn command(&self, words: &[&OsStr]) -> Command {
        let mut command = Command::new("git");
        command.env_clear().envs(self.environment.iter().cloned());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        command.args(words);
        for (name, value) in [
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_TERMINAL_PROMPT", "0"),
            ("GIT_ASKPASS", "true"),
            ("SSH_ASKPASS", "true"),
            ("GIT_SSH_COMMAND", "ssh -oBatchMode=yes"),
            ("GIT_ALLOW_PROTOCOL", "file:git:http:https:ssh"),
            ("GIT_LFS_SKIP_SMUDGE", "1"),
            ("GIT_OPTIONAL_LOCKS", "0"),
            ("LC_ALL", "C"),
        ] {
            command.env(name, value);
        }
        command.env("HOME", self.home).stdin(Stdio::null());
        command
    }

    /// Runs it to its end; what it said on stdout.
    fn run(&self, doing: &str, words: &[&OsStr]) -> Result<Vec<u8>, ClientError> {
        self.finish(doing, self.command(words))
    }

    fn finish(&self, doing: &str, mut command: Command) -> Result<Vec<u8>, ClientError> {
        let run = || -> io::Result<Vec<u8>> {
            // Files, so that neither end can fill a pipe that nobody reads.
            let (said, failed) = (self.home.join("stdout"), self.home.join("stderr"));
            command.stdout(fs::File::create(&said)?).stderr(fs::File::create(&failed)?);
            if command.status()?.success() {
                return beginning(&said, u64::MAX);
            }
            let told = beginning(&failed, SAID)?;
            Err(io::Error::other(last_line(&told)))
        };
        let mut run = run;
        run().map_err(|source| ClientError::Git { doing: doing.to_owned(), source })
    }
}

fn beginning(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What git said, in one line; a URL in it has no credentials.
fn last_line(said: &[u8]) -> String {
    let said = String::from_utf8_lossy(said);
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let line = lines.next_back().unwrap_or("git failed without a word");
    line.split(' ').map(without_credentials).collect::<Vec<_>>().join(" ")
}

/// Takes apart what was given. `is_directory` says what there is on this host.
fn wanted(given: &str, is_directory: impl Fn(&str) -> bool) -> Result<Wanted, ClientError> {
    let refused = |why| ClientError::Repository { given: without_credentials(given), why };
    let make = |repository: &str, reference: Option<&str>, is_local| Wanted {
        repository: repository.to_owned(),
        reference: reference.map(str::to_owned),
        is_local,
    };
    let wanted = if is_directory(given) {
        make(given, None, true)
    } else {
        let local = given.rmatch_indices('@').find(|(at, _)| is_directory(&given[..*at]));
        if let Some((at, _)) = local {
            make(&given[..at], Some(&given[at + 1..]), true)
        } else {
            // What comes before the path may hold an `@` of its own.
            let path = match (given.find("://"), given.find(':')) {
                (Some(scheme), _) => {
                    let host = scheme + 3;
                    given[host..].find('/').map_or(given.len(), |slash| host + slash)
                }
                (None, Some(colon)) if !given[..colon].contains('/') => colon,
                _ => return Err(refused("there is no such directory, and it is no URL")),
            };
            match given[path..].find('@') {
                Some(at) => make(&given[..path + at], Some(&given[path + at + 1..]), false),
                None => make(given, None, false),
            }
        }
    };
    if wanted.repository.starts_with('-') {
        return Err(refused("it begins with a dash"));
    }
    match wanted.reference.as_deref() {
        Some("") => Err(refused("nothing comes after the @")),
        Some(name) if name.starts_with('-') => Err(refused("a reference never begins with a dash")),
        Some(name) if name.chars().any(|c| c.is_control() || c.is_whitespace()) => {
            Err(refused("a reference holds no blanks"))
        }
        _ => Ok(wanted),
    }
}

fn shown(given: &str, wanted: &Wanted) -> String {
    if !wanted.is_local {
        return without_credentials(given);
    }
    let path = std::path::absolute(&wanted.repository);
    let path = path.map_or(wanted.repository.clone(), |path| path.to_string_lossy().into_owned());
    match &wanted.reference {
        Some(reference) => format!("{path}@{reference}"),
        None => path,
    }
}

/// A URL without what stands before the `@` of its host; anything else as it is.
fn without_credentials(text: &str) -> String {
    let Some(scheme) = text.find("://") else { return text.to_owned() };
    let host = scheme + 3;
    let end = text[host..].find('/').map_or(text.len(), |slash| host + slash);
    match text[host..end].rfind('@') {
        Some(at) => format!("{}{}", &text[..host], &text[host + at + 1..]),
        None => text.to_owned(),
    }
}

fn start(parent: &Directory) -> Result<(String, Lock), DirectoryError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}", std::process::id());
        // Its lock may be a sweeper's for a moment.
        if let Some(lock) = parent.try_lock(&format!("{name}.lock"))? {
            remove_tree(&parent.path().join(&name));
            return Ok((name, lock));
        }
    }
}

/// Removes what killed clients left.
fn sweep(parent: &Directory) {
    let Ok(entries) = fs::read_dir(parent.path()) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".lock")) else {
            continue;
        };
        if let Ok(Some(_lock)) = parent.try_lock(&format!("{name}.lock")) {
            remove(parent, name);
        }
    }
}

/// The directory first: as long as it is there, its lock tells the next sweeper of it.
fn remove(parent: &Directory, name: &str) {
    if remove_tree(&parent.path().join(name)) {
        let _ = parent.remove(&format!("{name}.lock"));
    }
}

fn remove_tree(path: &Path) -> bool {
    match fs::remove_dir_all(path) {
        Ok(()) => true,
        Err(error) => error.kind() == ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories_and_references_are_told_apart() {
        let there = |path: &str| ["/src/app", "/src/a@b", "."].contains(&path);
        let parsed = |given: &str| {
            let wanted = wanted(given, there).unwrap();
            (wanted.repository, wanted.reference.unwrap_or_default(), wanted.is_local)
        };
        for (given, repository, reference, is_local) in [
            ("/src/app", "/src/app", "", true),
            ("/src/app@v1", "/src/app", "v1", true),
            ("/src/app@feature/x", "/src/app", "feature/x", true),
            ("/src/a@b", "/src/a@b", "", true),
            ("/src/a@b@v1", "/src/a@b", "v1", true),
            (".@main", ".", "main", true),
            ("https://e.org/r.git", "https://e.org/r.git", "", false),
            ("https://u:p@e.org/r.git@v2", "https://u:p@e.org/r.git", "v2", false),
            ("git@e.org:o/r.git", "git@e.org:o/r.git", "", false),
            ("git@e.org:o/r.git@a/b", "git@e.org:o/r.git", "a/b", false),
        ] {
            let expected = (repository.to_owned(), reference.to_owned(), is_local);
            assert_eq!(parsed(given), expected, "{given}");
        }
        for bad in ["/nowhere", "nowhere@v1", "/src/app@", "/src/app@--upload-pack=x", "-u:x", ""] {
            let refused = wanted(bad, there).unwrap_err();
            assert_eq!(refused.code(), "invalid_repository", "{bad}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        for (url, shown) in [
            ("https://u:p@e.org/r@v1", "https://e.org/r@v1"),
            ("https://u:p@ss@e.org", "https://e.org"),
            ("git@e.org:o/r", "git@e.org:o/r"),
            ("/src/a@b", "/src/a@b"),
        ] {
            assert_eq!(without_credentials(url), shown);
        }
        let said = b"warning: x\nfatal: unable to access 'https://u:p@e.org/r/': no\n";
        assert_eq!(last_line(said), "fatal: unable to access 'https://e.org/r/': no");
    }
}
