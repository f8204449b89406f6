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
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, openat, openat2, unlinkat};
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

fn failed(code: &str, text: String, error: io::Error) -> ClientError {
    ClientError::Refused { problem: Problem::failed(code, text).cause(error) }
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
            if entry.path_base64.is_some() {
                // Its name cannot be said in a list of names: `pyro export` takes it.
                plans.push(Pulled { path: entry.path.clone(), entry, plan: Plan::Skip });
                continue;
            }
            let plan = plan(&root, &entry).map_err(|error| {
                failed("output_unreadable", format!("cannot look at {}", entry.path), error)
            })?;
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
        let draft = tempfile::Builder::new().prefix(".pyro-pull-").tempdir_in(directory).map_err(
            |error| {
                failed("output_unwritable", format!("cannot write {}", directory.display()), error)
            },
        )?;
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
    openat(CWD, directory, flags, Mode::empty()).map_err(|error| {
        failed("output_unreadable", format!("cannot open {}", directory.display()), error.into())
    })
}

/// What is at a path of this host.
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

fn carry_out(plans: &[Pulled], draft: &Path, directory: &Path) -> Result<(), ClientError> {
    let root = open_root(directory)?;
    let unwritable = |path: &str, error: io::Error| {
        failed(
            "output_unwritable",
            format!("cannot change {path} in {}", directory.display()),
            error,
        )
    };
    // What is in a directory before the directory.
    let removed: Vec<String> = of(plans, Plan::Remove);
    for path in removed.iter().rev() {
        remove(&root, path).map_err(|error| unwritable(path, error))?;
    }
    let written = of(plans, Plan::Write);
    if written.is_empty() {
        return Ok(());
    }
    let drafts = open_root(draft)?;
    let name = |path: &String| SafeName::parse(path.as_bytes());
    let paths = written.iter().map(name).collect::<Result<Vec<_>, _>>()?;
    let (mut read, mut write) =
        io::pipe().map_err(|error| failed("internal_error", "cannot make a pipe".into(), error))?;
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
