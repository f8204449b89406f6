//! What was changed in a workspace, brought home: onto the directory of this host that it began with.
//!
//! Only what is different is taken, and only where this host's file is still what the workspace began
//! with, or what was taken of it last. All of it is decided before anything is changed.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use base64::{Engine, engine::general_purpose::STANDARD};

use pyro_api::{DiffEntry, Problem};
use pyro_archive::{Overwrite, PackOptions, SafeName, UnpackOptions};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, unlinkat,
};
use sha2::{Digest, Sha256};

use crate::{
    Carried, ClientError, DiffQuery, ExportQuery, FilePath, Node, draft::Draft,
    pull_memory::PullMemory,
};

/// The longest list of names in one call, bytes.
const LONGEST_QUERY: usize = 32 << 10;

/// What becomes of a path of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// It is written as it is in the workspace.
    Write,
    /// It is removed.
    Remove,
    /// It is as in the workspace already, or nothing became of it there since it was taken last.
    Already,
    /// It is neither what the workspace began with nor what was taken last: left alone.
    Conflict,
    /// It is nothing that is taken home: a pipe, a socket, a device; or not to be taken.
    Skip,
}

/// A path and what becomes of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Pulled {
    /// Relative to the directory; with replacement characters where it is no UTF-8.
    pub path: String,
    /// The same, byte for byte.
    name: Vec<u8>,
    /// What was changed in the workspace.
    pub entry: DiffEntry,
    /// What becomes of it here.
    pub plan: Plan,
}

impl Pulled {
    /// Takes it whatever is there.
    pub fn force(&mut self) {
        if self.plan == Plan::Conflict {
            let is_gone = self.entry.status == "deleted";
            self.plan = if is_gone { Plan::Remove } else { Plan::Write };
        }
    }
}

/// What becomes of all paths.
#[derive(Debug)]
pub struct PullPlan {
    /// By path.
    pub pulled: Vec<Pulled>,
    memory: PullMemory,
    /// Those that are as at first in the workspace, and were taken when they were not.
    restored: BTreeSet<Vec<u8>>,
}

/// What an error means for a path of this host.
fn here_failed(directory: &Path, name: &[u8]) -> impl FnOnce(io::Error) -> ClientError {
    let path = directory.join(OsStr::from_bytes(name));
    move |source| ClientError::Output { path, source }
}

impl Node {
    /// Says what would become of each path that is different in the workspace, were it taken home.
    pub async fn plan_pull(
        &self,
        workspace: &str,
        paths: &[String],
        directory: &Path,
        no_start: bool,
    ) -> Result<PullPlan, ClientError> {
        let query = DiffQuery {
            paths: paths.to_vec(),
            summary_only: true,
            digests: true,
            no_start,
            ..DiffQuery::default()
        };
        let diff = self.diff(workspace, &query).await?;
        if diff.truncated {
            let text = "there is more different than can be taken home at once";
            return Err(ClientError::Refused {
                problem: Problem::invalid("pull_too_large", text).hint("name some paths"),
            });
        }
        let root = open_root(directory)?;
        let memory = PullMemory::open(self.state(), diff.workspace_id, directory)?;
        let mut entries: BTreeMap<Vec<u8>, DiffEntry> = BTreeMap::new();
        let mut restored = BTreeSet::new();
        for (name, taken) in memory.entries().filter(|(_, taken)| is_within(&taken.path, paths)) {
            restored.insert(name.clone());
            entries.insert(name.clone(), as_at_first(taken));
        }
        let mut pulled = Vec::new();
        for entry in diff.entries {
            let name = bytes_of(&entry);
            restored.remove(&name);
            entries.insert(name, entry);
        }
        for (name, entry) in entries {
            let taken = memory.of(&name);
            let plan = plan(&root, &name, &entry, taken).map_err(here_failed(directory, &name))?;
            pulled.push(Pulled { path: entry.path.clone(), name, entry, plan });
        }
        Ok(PullPlan { pulled, memory, restored })
    }

    /// Carries a plan out, all but its conflicts.
    pub async fn pull(
        &self,
        workspace: &str,
        plan: PullPlan,
        directory: &Path,
        no_start: bool,
        carried: &Carried,
    ) -> Result<(), ClientError> {
        let PullPlan { pulled: plans, mut memory, restored } = plan;
        let written = of(&plans, Plan::Write);
        let draft = Draft::new(directory).map_err(here_failed(directory, b""))?;
        for paths in in_calls(written) {
            let query =
                ExportQuery { path: FilePath::from("/workspace"), changed: false, paths, no_start };
            self.unpack_into(workspace, &query, draft.path().to_owned(), carried).await?;
        }
        let directory = directory.to_owned();
        let known: Vec<_> =
            self.workspaces().await?.workspaces.iter().map(|it| it.workspace_id).collect();
        let carried = tokio::task::spawn_blocking(move || {
            carry_out(&plans, draft.path(), &directory)?;
            let done = plans
                .iter()
                .filter(|it| matches!(it.plan, Plan::Write | Plan::Remove | Plan::Already));
            memory.keep(done.map(|it| (&it.entry, restored.contains(&it.name))))?;
            memory.forget_all_but(&known);
            Ok(())
        });
        carried.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

/// A path byte for byte.
pub(crate) fn bytes_of(entry: &DiffEntry) -> Vec<u8> {
    let coded = entry.path_base64.as_ref().and_then(|coded| STANDARD.decode(coded).ok());
    coded.unwrap_or_else(|| entry.path.clone().into_bytes())
}

/// As many names at a time as one call may name.
fn in_calls(names: Vec<Vec<u8>>) -> Vec<Vec<Vec<u8>>> {
    let mut calls: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut length = 0;
    for name in names {
        // Each byte may be told in three.
        let cost = 3 * name.len() + 4;
        match calls.last_mut() {
            Some(call) if length + cost <= LONGEST_QUERY => call.push(name),
            _ => {
                length = 0;
                calls.push(vec![name]);
            }
        }
        length += cost;
    }
    calls
}

/// Whether a path is one of these, or in one; all are where none is named.
fn is_within(path: &str, paths: &[String]) -> bool {
    let within = |whole: &String| {
        let whole = whole.strip_prefix("/workspace").unwrap_or(whole);
        let whole = whole.trim_start_matches("./").trim_matches('/');
        let rest = path.strip_prefix(whole);
        matches!(whole, "" | ".") || rest.is_some_and(|it| it.is_empty() || it.starts_with('/'))
    };
    paths.is_empty() || paths.iter().any(within)
}

/// The way back from what was taken to what the workspace began with.
fn as_at_first(taken: &DiffEntry) -> DiffEntry {
    let was_there = taken.old_mode.is_some();
    let artifact_type = match (&taken.old_sha256, &taken.old_link_target) {
        _ if !was_there => taken.artifact_type.as_str(),
        (Some(_), _) => "file",
        (_, Some(_)) => "symlink",
        _ => "directory",
    };
    let is_gone = taken.status == "deleted";
    DiffEntry {
        status: match (was_there, is_gone) {
            (false, _) => "deleted",
            (true, true) => "added",
            (true, false) => "modified",
        }
        .into(),
        artifact_type: artifact_type.into(),
        mode: taken.old_mode.clone(),
        old_mode: taken.mode.clone(),
        size_bytes: taken.old_size_bytes,
        old_size_bytes: taken.size_bytes,
        sha256: taken.old_sha256.clone(),
        old_sha256: taken.sha256.clone(),
        link_target: taken.old_link_target.clone(),
        old_link_target: taken.link_target.clone(),
        text_patch: None,
        marks: Vec::new(),
        ..taken.clone()
    }
}

fn of(plans: &[Pulled], wanted: Plan) -> Vec<Vec<u8>> {
    plans.iter().filter(|it| it.plan == wanted).map(|it| it.name.clone()).collect()
}

fn open_root(directory: &Path) -> Result<OwnedFd, ClientError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, directory, flags, Mode::empty()).map_err(io::Error::from);
    opened.map_err(here_failed(directory, b""))
}

/// What is at a path of this host.
#[derive(PartialEq, Eq)]
enum Here {
    Nothing,
    File(String),
    Link(String),
    Directory,
    Other,
}

/// Opens a path below a directory; no link on the way is followed.
fn beneath(root: &OwnedFd, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let path = if path.is_empty() { b"." } else { path };
    Ok(openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

fn here(root: &OwnedFd, path: &[u8]) -> io::Result<Here> {
    let found = match beneath(root, path, OFlags::PATH | OFlags::NOFOLLOW) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Here::Nothing),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Here::Nothing),
        // A link is in the way: whatever is behind it is not this path.
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) => {
            return Ok(Here::Other);
        }
        Err(error) => return Err(error),
    };
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode);
    Ok(match kind {
        FileType::RegularFile => {
            let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW;
            Here::File(digest(File::from(beneath(root, path, flags)?))?)
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(&found, c"", Vec::new())?.into_bytes();
            Here::Link(String::from_utf8_lossy(&target).into_owned())
        }
        FileType::Directory => Here::Directory,
        _ => Here::Other,
    })
}

fn digest(mut file: File) -> io::Result<String> {
    use std::fmt::Write as _;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 256 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            length => hash.update(&buffer[..length]),
        }
    }
    let mut text = String::new();
    for byte in hash.finalize() {
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Whether both say the same of what is there.
fn is_same(entry: &DiffEntry, taken: &DiffEntry) -> bool {
    let of = |it: &DiffEntry| {
        let is_gone = it.status == "deleted";
        let known = (it.sha256.clone(), it.link_target.clone(), it.mode.clone());
        (is_gone, (!is_gone).then(|| (it.artifact_type.clone(), known)))
    };
    of(entry) == of(taken)
}

fn plan(
    root: &OwnedFd,
    name: &[u8],
    entry: &DiffEntry,
    taken: Option<&DiffEntry>,
) -> io::Result<Plan> {
    if SafeName::parse(name).is_err() || entry.artifact_type == "other" {
        return Ok(Plan::Skip);
    }
    if taken.is_some_and(|taken| is_same(entry, taken)) {
        return Ok(Plan::Already);
    }
    let here = here(root, name)?;
    let is_gone = entry.status == "deleted";
    let is_now = |wanted_file: Option<&String>, wanted_link: Option<&String>| match &here {
        Here::File(digest) => wanted_file == Some(digest),
        Here::Link(target) => wanted_link == Some(target),
        _ => false,
    };
    let has = is_now(entry.sha256.as_ref(), entry.link_target.as_ref());
    let was_taken = taken.is_some_and(|taken| match (taken.status.as_str(), &here) {
        ("deleted", Here::Nothing) => true,
        (_, Here::Directory) => taken.artifact_type == "directory",
        _ => is_now(taken.sha256.as_ref(), taken.link_target.as_ref()),
    });
    let had = was_taken || is_now(entry.old_sha256.as_ref(), entry.old_link_target.as_ref());
    let directory = entry.artifact_type == "directory";
    Ok(match (&here, is_gone) {
        (Here::Nothing, true) => Plan::Already,
        (Here::Directory, true) if directory => Plan::Remove,
        (_, true) if had => Plan::Remove,
        (Here::Nothing, false) if entry.old_mode.is_none() => Plan::Write,
        (Here::Directory, false) if directory => Plan::Already,
        // What only has another mode is written too, and what was removed here as it was there.
        (_, false) if had => Plan::Write,
        (_, false) if has => Plan::Already,
        _ => Plan::Conflict,
    })
}

/// Whether what was sent is what the plan was made for: a guest may have changed it meanwhile, or lie.
fn is_as_planned(drafts: &OwnedFd, Pulled { name, entry, .. }: &Pulled) -> io::Result<bool> {
    let wanted = match (entry.artifact_type.as_str(), &entry.sha256, &entry.link_target) {
        ("directory", ..) => Here::Directory,
        ("file", Some(digest), _) => Here::File(digest.clone()),
        ("symlink", _, Some(target)) => Here::Link(target.clone()),
        _ => return Ok(false),
    };
    Ok(here(drafts, name)? == wanted)
}

fn carry_out(plans: &[Pulled], draft: &Path, directory: &Path) -> Result<(), ClientError> {
    let root = open_root(directory)?;
    let drafts = open_root(draft)?;
    let written: Vec<&Pulled> = plans.iter().filter(|it| it.plan == Plan::Write).collect();
    for pulled in &written {
        let planned = is_as_planned(&drafts, pulled);
        if !planned.map_err(here_failed(draft, &pulled.name))? {
            let text = format!("{} changed in the workspace while it was taken", pulled.path);
            return Err(ClientError::Refused {
                problem: Problem::conflict("pull_changed", text).hint("pull again"),
            });
        }
    }
    // What is in a directory before the directory.
    for path in of(plans, Plan::Remove).iter().rev() {
        remove(&root, path).map_err(here_failed(directory, path))?;
    }
    let (folders, leaves): (Vec<&Pulled>, Vec<&Pulled>) =
        written.into_iter().partition(|it| it.entry.artifact_type == "directory");
    for folder in folders {
        make_folder(&root, folder).map_err(here_failed(directory, &folder.name))?;
    }
    if leaves.is_empty() {
        return Ok(());
    }
    let name = |it: &&Pulled| SafeName::parse(&it.name);
    let paths = leaves.iter().map(name).collect::<Result<Vec<_>, _>>()?;
    let (mut read, mut write) = io::pipe().map_err(here_failed(directory, b""))?;
    std::thread::scope(|scope| {
        let packing = scope.spawn(move || {
            let options = PackOptions { paths, ..PackOptions::default() };
            pyro_archive::pack(drafts.as_fd(), options, &mut write)
        });
        let options = UnpackOptions { overwrite: Overwrite::Replace, ..UnpackOptions::default() };
        let unpacked = pyro_archive::unpack(&mut read, root.as_fd(), options);
        drop(read);
        let packed = packing.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        unpacked?;
        packed?;
        Ok(())
    })
}

/// Makes a directory, with those it lies in; a file that was there and gave way goes.
fn make_folder(root: &OwnedFd, folder: &Pulled) -> io::Result<()> {
    let path = &folder.name;
    if matches!(here(root, path)?, Here::File(_) | Here::Link(_)) {
        remove(root, path)?;
    }
    let mode = u32::from_str_radix(folder.entry.mode.as_deref().unwrap_or("755"), 8);
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
    for end in ends.chain([path.len()]) {
        let (above, name) = split_last(&path[..end]);
        let above = beneath(root, above, OFlags::PATH | OFlags::DIRECTORY)?;
        let mode = if end == path.len() { *mode.as_ref().unwrap_or(&0o755) } else { 0o755 };
        match mkdirat(&above, name, Mode::from_raw_mode(mode & 0o777)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// A path's directory, and its last name.
fn split_last(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Removes one name, and the directories that are empty then.
fn remove(root: &OwnedFd, path: &[u8]) -> io::Result<()> {
    let (parent, name) = split_last(path);
    let directory = beneath(root, parent, OFlags::PATH | OFlags::DIRECTORY)?;
    match unlinkat(&directory, name, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(rustix::io::Errno::ISDIR) => {
            match unlinkat(&directory, name, AtFlags::REMOVEDIR) {
                // Something else is in it, which stays.
                Ok(()) | Err(rustix::io::Errno::NOTEMPTY) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(error) => return Err(error.into()),
    }
    let mut parent = parent;
    while !parent.is_empty() {
        let (above, name) = split_last(parent);
        let directory = beneath(root, above, OFlags::PATH | OFlags::DIRECTORY)?;
        if unlinkat(&directory, name, AtFlags::REMOVEDIR).is_err() {
            break;
        }
        parent = above;
    }
    Ok(())
}
