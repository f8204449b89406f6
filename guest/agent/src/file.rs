//! Files of the workload, read for the host.
//!
//! Refuses to follow anything out of the workload's root, to open what is no regular file, and to
//! wait for a file system that does not answer.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Read},
    os::fd::{AsRawFd, OwnedFd},
    sync::Arc,
};

use bytes::Bytes;
use pyro_wire::{FileContent, FrameKind, ReadFile, reply::Result as Answer};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use tokio::io::AsyncWrite;

use crate::{
    agent::Agent,
    call::{refuse, reply},
    frames::{FrameWriter, StreamError},
    refusal::{FileProblem, Refusal, shown},
    service::Place,
};

/// The most that is read at once, bytes.
const MOST: u64 = 4 << 20;
/// Of one frame, bytes.
const PIECE: usize = 32 << 10;

/// Answers with a file's content.
pub async fn read<W>(
    call: ReadFile,
    writer: &mut FrameWriter<W>,
    agent: &Arc<Agent>,
) -> Result<(), StreamError>
where
    W: AsyncWrite + Unpin,
{
    let mut content = match content(call, agent).await {
        Ok(content) => content,
        Err(refusal) => return refuse(writer, &refusal).await,
    };
    reply(writer, Answer::FileContent(FileContent { bytes: content.len() as u64 })).await?;
    while !content.is_empty() {
        let piece = content.split_to(content.len().min(PIECE));
        writer.bytes(FrameKind::Data, &piece).await?;
    }
    writer.end().await
}

async fn content(call: ReadFile, agent: &Arc<Agent>) -> Result<Bytes, Refusal> {
    let path = call.path.to_vec();
    let refused = |problem| Refusal::File { path: shown(&call.path), problem };
    let most = call.max_bytes.min(MOST);
    let place = Place::new(agent.clone(), agent.workload(None).await?);
    match place.with_files(move |root| Ok(read_within(&root, &path, most))).await {
        Ok(Ok(content)) => Ok(content.into()),
        Ok(Err(problem)) => Err(refused(problem)),
        Err(error) => Err(refused(FileProblem::Unreadable(error))),
    }
}

/// Reads a regular file below a root. Blocks.
fn read_within(root: &OwnedFd, path: &[u8], most: u64) -> Result<Vec<u8>, FileProblem> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => FileProblem::NotFound,
        _ => FileProblem::Unreadable(error),
    };
    let relative = path.strip_prefix(b"/").unwrap_or(path);
    let relative = CString::new(relative).map_err(|_| FileProblem::NotFound)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // Not opened for reading before it is known what it is: a device or a pipe may not like that.
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let found = openat2(root, &relative, flags, Mode::empty(), resolve)
        .map_err(|error| unreadable(error.into()))?;
    let about = fstat(&found).map_err(|error| unreadable(error.into()))?;
    if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
        return Err(FileProblem::NotRegular);
    }
    let itself = format!("/proc/self/fd/{}", found.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file =
        openat(CWD, itself, flags, Mode::empty()).map_err(|error| unreadable(error.into()))?;
    let mut content = Vec::new();
    File::from(file).take(most + 1).read_to_end(&mut content).map_err(unreadable)?;
    if content.len() as u64 > most {
        return Err(FileProblem::TooLarge(most));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_regular_files_below_the_root_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::create_dir(at("a")).unwrap();
        std::fs::write(at("a/file"), "text").unwrap();
        symlink("/a/file", at("absolute")).unwrap();
        symlink("../../../../etc/passwd", at("out")).unwrap();
        rustix::fs::mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        let root: OwnedFd = File::open(directory.path()).unwrap().into();
        let read = |path: &str, most| read_within(&root, path.as_bytes(), most);
        assert_eq!(read("/a/file", 4).unwrap(), b"text");
        assert_eq!(read("/absolute", 4).unwrap(), b"text");
        assert!(matches!(read("/a/file", 3), Err(FileProblem::TooLarge(3))));
        for missing in ["/b", "/a/file/x", "/out", "/a\0"] {
            assert!(matches!(read(missing, 4), Err(FileProblem::NotFound)), "{missing:?}");
        }
        for other in ["/a", "/pipe", "/"] {
            let refused = read(other, 4);
            assert!(
                matches!(refused, Err(FileProblem::NotRegular | FileProblem::NotFound)),
                "{other}: {refused:?}"
            );
        }
    }
}
