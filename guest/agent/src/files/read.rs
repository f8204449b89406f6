//! The content of a regular file, or a part of it.

use std::{
    io::{self, Read, Seek, SeekFrom},
    os::fd::AsFd,
};

use bytes::Bytes;
use pyro_wire::{FileContent, ReadFile, reply::Result as Answer};
use rustix::fs::fstat;

use super::{
    conversation::{Ending, Output},
    entry,
    root::Root,
};
use crate::refusal::{FileProblem, Refusal, shown};

/// The most that is read at once, bytes.
const MOST: u64 = 4 << 20;
/// Of one piece, bytes.
const PIECE: usize = 32 << 10;

/// Answers with a file's content.
pub(super) fn read(root: &Root, call: &ReadFile, output: &Output) -> Result<Ending, Refusal> {
    let (content, found) = content(root, call)
        .map_err(|problem| Refusal::File { path: shown(&call.path), problem })?;
    let bytes = content.len() as u64;
    let entry = Some(entry::of_stat(&call.path, &found));
    output.reply(Answer::FileContent(FileContent { bytes, entry }))?;
    let mut content = Bytes::from(content);
    while !content.is_empty() {
        output.data(content.split_to(content.len().min(PIECE)))?;
    }
    Ok(Ending::Silence)
}

fn content(root: &Root, call: &ReadFile) -> Result<(Vec<u8>, rustix::fs::Stat), FileProblem> {
    let most = call.max_bytes.min(MOST);
    let mut file = root.open_regular(&call.path)?;
    let found = fstat(file.as_fd()).map_err(|error| FileProblem::of(error.into()))?;
    if call.offset > 0 {
        file.seek(SeekFrom::Start(call.offset)).map_err(FileProblem::of)?;
    }
    let mut content = Vec::new();
    let whole = u64::from(!call.part);
    let read = file.take(most + whole).read_to_end(&mut content);
    read.map_err(|error| match error.kind() {
        // A file that has nothing to say yet, as some of /proc do.
        io::ErrorKind::WouldBlock => FileProblem::NotRegular,
        _ => FileProblem::of(error),
    })?;
    if content.len() as u64 > most {
        return Err(FileProblem::TooLarge(most));
    }
    Ok((content, found))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::unix::fs::symlink};

    use rustix::fs::{CWD, FileType, Mode};

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
        let root = Root::new(File::open(directory.path()).unwrap().into());
        let part = |path: &str, offset, max_bytes, part| {
            let path = path.as_bytes().to_vec().into();
            content(&root, &ReadFile { path, max_bytes, offset, part }).map(|(content, _)| content)
        };
        let read = |path: &str, most| part(path, 0, most, false);
        assert_eq!(read("/a/file", 4).unwrap(), b"text");
        assert_eq!(read("/absolute", 4).unwrap(), b"text");
        assert_eq!(part("/a/file", 1, 2, true).unwrap(), b"ex");
        assert_eq!(part("/a/file", 9, 2, true).unwrap(), b"");
        assert!(matches!(read("/a/file", 3), Err(FileProblem::TooLarge(3))));
        for missing in ["/b", "/a/file/x", "/out"] {
            assert!(matches!(read(missing, 4), Err(FileProblem::NotFound)), "{missing:?}");
        }
        assert!(matches!(read("/a\0", 4), Err(FileProblem::Invalid)));
        for other in ["/a", "/pipe", "/"] {
            assert!(matches!(read(other, 4), Err(FileProblem::NotRegular)), "{other}");
        }
    }
}
