//! What was changed in a workspace, brought home: onto the directory of this host that it began with.
//!
//! Only what is different is taken, and only where this host's file is still what the workspace began
//! with. All of it is decided before anything is changed.

use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use pyro_api::{DiffEntry, Problem};
use pyro_archive::{Overwrite, PackOptions, SafeName, UnpackOptions};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, unlinkat,
};
use sha2::{Digest, Sha256};

use crate::{ClientError, DiffQuery, ExportQuery, FilePath, Node};

/// What becomes of a path of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plan {
    /// It is written as it is in the workspace.
    Write,
    /// It is removed.
    Remove,
    /// It is as in the workspace already.
    Already,
    /// It is not what the workspace began with: left alone.
    Conflict,
    /// It is nothing that is taken home: a pipe, a socket, a device.
    Skip,
}

/// A path and what becomes of it.
#[derive(Clone, PartialEq, Debug)]
pub struct Pulled {
    /// Relative to the directory.
    pub path: String,
    /// What was changed in the workspace.
    pub entry: DiffEntry,
    /// What becomes of it here.
    pub plan: Plan,
}

/// What an error means for a path of this host.
fn here_failed(directory: &Path, path: &str) -> impl FnOnce(io::Error) -> ClientError {
    let path = directory.join(path);
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
    ) -> Result<Vec<Pulled>, ClientError> {
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
        let mut plans = Vec::new();
        for entry in diff.entries {
            if entry.path_base64.is_some() || entry.path.contains('\n') {
                // Its name cannot be said in a list of names: `pyro export` takes it.
                plans.push(Pulled { path: entry.path.clone(), entry, plan: Plan::Skip });
                continue;
            }
            let plan = plan(&root, &entry).map_err(here_failed(directory, &entry.path))?;
            plans.push(Pulled { path: entry.path.clone(), entry, plan });
        }
        Ok(plans)
    }

    /// Carries a plan out, all but its conflicts.
    pub async fn pull(
        &self,
        workspace: &str,
        plans: &[Pulled],
        directory: &Path,
        no_start: bool,
    ) -> Result<(), ClientError> {
        let written: Vec<String> = of(plans, Plan::Write);
        let draft = tempfile::Builder::new()
            .prefix(".pyro-pull-")
            .tempdir_in(directory)
            .map_err(here_failed(directory, ""))?;
        if !written.is_empty() {
            let query = ExportQuery {
                path: FilePath::from("/workspace"),
                changed: false,
                paths: written.clone(),
                no_start,
            };
            self.unpack_into(workspace, &query, draft.path().to_owned()).await?;
        }
        let (plans, directory) = (plans.to_vec(), directory.to_owned());
        let carried =
            tokio::task::spawn_blocking(move || carry_out(&plans, draft.path(), &directory));
        carried.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

fn of(plans: &[Pulled], wanted: Plan) -> Vec<String> {
    plans.iter().filter(|it| it.plan == wanted).map(|it| it.path.clone()).collect()
}

fn open_root(directory: &Path) -> Result<OwnedFd, ClientError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = openat(CWD, directory, flags, Mode::empty()).map_err(io::Error::from);
    opened.map_err(here_failed(directory, ""))
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
fn beneath(root: &OwnedFd, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let path = if path.is_empty() { "." } else { path };
    Ok(openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
}

fn here(root: &OwnedFd, path: &str) -> io::Result<Here> {
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

fn plan(root: &OwnedFd, entry: &DiffEntry) -> io::Result<Plan> {
    if SafeName::parse(entry.path.as_bytes()).is_err() || entry.artifact_type == "other" {
        return Ok(Plan::Skip);
    }
    let here = here(root, &entry.path)?;
    let is_gone = entry.status == "deleted";
    let is_now = |wanted_file: Option<&String>, wanted_link: Option<&String>| match &here {
        Here::File(digest) => wanted_file == Some(digest),
        Here::Link(target) => wanted_link == Some(target),
        _ => false,
    };
    let has = is_now(entry.sha256.as_ref(), entry.link_target.as_ref());
    let had = is_now(entry.old_sha256.as_ref(), entry.old_link_target.as_ref());
    let directory = entry.artifact_type == "directory";
    Ok(match (&here, is_gone) {
        (Here::Nothing, true) => Plan::Already,
        (Here::Directory, true) if directory => Plan::Remove,
        (_, true) if had => Plan::Remove,
        (Here::Nothing, false) if entry.old_mode.is_none() => Plan::Write,
        (Here::Directory, false) if directory => Plan::Already,
        // What only has another mode is written too.
        (_, false) if had => Plan::Write,
        (_, false) if has => Plan::Already,
        _ => Plan::Conflict,
    })
}

/// Whether what was sent is what the plan was made for: a guest may have changed it meanwhile, or lie.
fn is_as_planned(drafts: &OwnedFd, entry: &DiffEntry) -> io::Result<bool> {
    let wanted = match (entry.artifact_type.as_str(), &entry.sha256, &entry.link_target) {
        ("directory", ..) => Here::Directory,
        ("file", Some(digest), _) => Here::File(digest.clone()),
        ("symlink", _, Some(target)) => Here::Link(target.clone()),
        _ => return Ok(false),
    };
    Ok(here(drafts, &entry.path)? == wanted)
}

fn carry_out(plans: &[Pulled], draft: &Path, directory: &Path) -> Result<(), ClientError> {
    let root = open_root(directory)?;
    let drafts = open_root(draft)?;
    let written: Vec<&Pulled> = plans.iter().filter(|it| it.plan == Plan::Write).collect();
    for pulled in &written {
        let planned = is_as_planned(&drafts, &pulled.entry);
        if !planned.map_err(here_failed(draft, &pulled.path))? {
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
        make_folder(&root, folder).map_err(here_failed(directory, &folder.path))?;
    }
    if leaves.is_empty() {
        return Ok(());
    }
    let name = |it: &&Pulled| SafeName::parse(it.path.as_bytes());
    let paths = leaves.iter().map(name).collect::<Result<Vec<_>, _>>()?;
    let (mut read, mut write) = io::pipe().map_err(here_failed(directory, ""))?;
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
    if matches!(here(root, &folder.path)?, Here::File(_) | Here::Link(_)) {
        remove(root, &folder.path)?;
    }
    let mode = u32::from_str_radix(folder.entry.mode.as_deref().unwrap_or("755"), 8);
    let ends = folder.path.match_indices('/').map(|(end, _)| end);
    for end in ends.chain([folder.path.len()]) {
        let (above, name) =
            folder.path[..end].rsplit_once('/').unwrap_or(("", &folder.path[..end]));
        let above = beneath(root, above, OFlags::PATH | OFlags::DIRECTORY)?;
        let mode = if end == folder.path.len() { *mode.as_ref().unwrap_or(&0o755) } else { 0o755 };
        match mkdirat(&above, name, Mode::from_raw_mode(mode & 0o777)) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Removes one name, and the directories that are empty then.
fn remove(root: &OwnedFd, path: &str) -> io::Result<()> {
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
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
        let (above, name) = parent.rsplit_once('/').unwrap_or(("", parent));
        let directory = beneath(root, above, OFlags::PATH | OFlags::DIRECTORY)?;
        if unlinkat(&directory, name, AtFlags::REMOVEDIR).is_err() {
            break;
        }
        parent = above;
    }
    Ok(())
}
