//! Much at once: a tar from the host into a directory, a directory as a tar to the host.

use std::{
    io::{self, BufReader, BufWriter, Write},
    os::fd::AsFd,
};

use bytes::Bytes;
use pyro_archive::{Overwrite, PackOptions, SafeName, UnpackOptions};
use pyro_wire::{
    FileKind, FileTally, PackFiles, Problem, UnpackFiles, file_outcome, reply::Result as Answer,
};
use rustix::{
    fs::{Mode, OFlags, openat},
    io::Errno,
};

use super::{
    changes,
    conversation::{Ending, Input, Output},
    drafts::Drafting,
    list::entry_at,
    root::{Root, refused},
};
use crate::{
    refusal::{FileProblem, Refusal, shown},
    workload,
};

/// What is read, and sent, at once, bytes.
const PIECE: usize = 32 << 10;
const READ: usize = 256 << 10;

fn told(error: &pyro_archive::Error) -> Refusal {
    let mut causes = Vec::new();
    let mut code = error.code();
    let mut next = std::error::Error::source(error);
    while let (Some(cause), true) = (next, causes.len() < 8) {
        let full = matches!(cause.downcast_ref(), Some(&(Errno::NOSPC | Errno::DQUOT)))
            || cause.downcast_ref().is_some_and(|error: &io::Error| {
                matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
            });
        if full {
            code = "workspace_disk_full";
        }
        causes.push(cause.to_string());
        next = cause.source();
    }
    Refusal::Told(Problem { code: code.to_owned(), message: error.to_string(), causes })
}

/// Takes a tar into a directory. What comes is root's, whoever's it was.
pub(super) fn unpack(
    root: &Root,
    call: &UnpackFiles,
    output: &Output,
    input: &mut Input,
) -> Result<Ending, Refusal> {
    let refused = refused(&call.path);
    root.make_directories(&call.path, Mode::from_raw_mode(0o755)).map_err(|error| {
        match error.kind() {
            io::ErrorKind::NotADirectory => {
                Refusal::File { path: shown(&call.path), problem: FileProblem::NotDirectory }
            }
            _ => refused(error),
        }
    })?;
    let directory = root.open(&call.path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(&refused)?;
    output.go_on()?;
    let options = UnpackOptions {
        overwrite: Overwrite::Replace,
        delete: call.delete,
        owner: Some((0, 0)),
        ..UnpackOptions::default()
    };
    let _drafting = Drafting::begin();
    let mut source = BufReader::with_capacity(READ, input);
    let tally = pyro_archive::unpack(&mut source, directory.as_fd(), options)
        .map_err(|error| told(&error))?;
    Ok(Ending::outcome(file_outcome::Result::Unpacked(FileTally {
        entries: tally.entries,
        bytes: tally.bytes,
        removed: tally.removed,
        truncated: false,
    })))
}

/// Gives a file, or a directory, as a tar.
pub(super) fn pack(root: &Root, call: &PackFiles, output: &Output) -> Result<Ending, Refusal> {
    let refused = refused(&call.path);
    let entry = entry_at(root, &call.path, false).map_err(&refused)?;
    let is_directory = entry.kind() == FileKind::FileDirectory;
    let mut paths = call.paths.iter().map(|path| safe(path)).collect::<Result<Vec<_>, _>>()?;
    if call.changed {
        paths = changed(&call.path, &call.paths)?;
        if paths.is_empty() {
            // Nothing is packed: not even what a list without names would mean.
            output.reply(Answer::FileEntry(entry))?;
            output.data(Bytes::from(vec![0; 1024]))?;
            return Ok(Ending::outcome(file_outcome::Result::Packed(FileTally::default())));
        }
    }
    let directory = if is_directory {
        root.open(&call.path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(&refused)?
    } else {
        if entry.kind() == FileKind::FileOther {
            let path = shown(&call.path);
            return Err(Refusal::File { path, problem: FileProblem::NotRegular });
        }
        let spot = root.spot(&call.path).map_err(&refused)?;
        paths = vec![safe(spot.name.as_bytes())?];
        openat(
            &spot.directory,
            ".",
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|error| refused(error.into()))?
    };
    output.reply(Answer::FileEntry(entry))?;
    let mut sink = BufWriter::with_capacity(PIECE, Sink(output));
    let options = PackOptions { paths, ..PackOptions::default() };
    let tally =
        pyro_archive::pack(directory.as_fd(), options, &mut sink).map_err(|error| told(&error))?;
    sink.flush().map_err(|_| Refusal::Interrupted)?;
    Ok(Ending::outcome(file_outcome::Result::Packed(FileTally {
        entries: tally.entries,
        bytes: tally.bytes,
        ..FileTally::default()
    })))
}

fn safe(path: &[u8]) -> Result<SafeName, Refusal> {
    SafeName::parse(path).map_err(|error| told(&error))
}

/// What is different below a directory of `/workspace`, relative to it, as far as it is there.
fn changed(path: &[u8], wanted: &[Bytes]) -> Result<Vec<SafeName>, Refusal> {
    let outside = || Refusal::File { path: shown(path), problem: FileProblem::Invalid };
    let base = path.strip_prefix(workload::WORKSPACE.as_bytes()).ok_or_else(outside)?;
    let base = match base {
        [] => b"",
        [b'/', rest @ ..] => rest.strip_suffix(b"/").unwrap_or(rest),
        _ => return Err(outside()),
    };
    let below = |name: &[u8]| {
        if base.is_empty() { name.to_vec() } else { [base, b"/", name].concat() }
    };
    let paths = if wanted.is_empty() {
        vec![base.to_vec()]
    } else {
        wanted.iter().map(|name| below(name)).collect()
    };
    let mut names = Vec::new();
    for path in changes::paths(paths.into_iter().filter(|path| !path.is_empty()).collect())? {
        // The path itself has no name here: it is a directory, or nothing was wanted of it.
        if let Some(rest) = path.strip_prefix(base).filter(|rest| !rest.is_empty()) {
            names.push(safe(rest.strip_prefix(b"/").unwrap_or(rest))?);
        }
    }
    Ok(names)
}

/// Sends what is written.
struct Sink<'a>(&'a Output);

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = &bytes[..bytes.len().min(PIECE)];
        let sent = self.0.data(Bytes::copy_from_slice(piece));
        sent.map_err(|_| io::ErrorKind::ConnectionReset)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
