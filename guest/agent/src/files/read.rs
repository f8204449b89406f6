//! The content of a regular file, or a part of it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use bytes::Bytes;
use pyro_wire::{FileContent, ReadFile, reply::Result as Answer};
use rustix::fs::{Stat, fstat};

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
    let part =
        part(root, call).map_err(|problem| Refusal::File { path: shown(&call.path), problem })?;
    let mut content = Bytes::from(part.content);
    let entry = Some(entry::of_stat(&call.path, &part.found));
    let about = FileContent { bytes: content.len() as u64, entry, offset: part.offset };
    output.reply(Answer::FileContent(about))?;
    while !content.is_empty() {
        output.data(content.split_to(content.len().min(PIECE)))?;
    }
    Ok(Ending::Silence)
}

/// A part of a file, or all of it.
struct Part {
    content: Vec<u8>,
    offset: u64,
    found: Stat,
}

fn part(root: &Root, call: &ReadFile) -> Result<Part, FileProblem> {
    let most = call.max_bytes.min(MOST);
    let mut file = root.open_regular(&call.path)?;
    let found = fstat(&file).map_err(|error| FileProblem::of(error.into()))?;
    let offset = match call.first_line {
        0 => call.offset,
        line => start_of_line(&mut file, line).map_err(unread)?,
    };
    file.seek(SeekFrom::Start(offset)).map_err(FileProblem::of)?;
    let mut content = Vec::new();
    let more = u64::from(!call.part);
    file.take(most + more).read_to_end(&mut content).map_err(unread)?;
    if content.len() as u64 > most {
        return Err(FileProblem::TooLarge(most));
    }
    if call.first_line > 0 && call.most_lines > 0 {
        let last = usize::try_from(call.most_lines).unwrap_or(usize::MAX) - 1;
        if let Some(end) = memchr::memchr_iter(b'\n', &content).nth(last) {
            content.truncate(end + 1);
        }
    }
    Ok(Part { content, offset, found })
}

fn unread(error: io::Error) -> FileProblem {
    match error.kind() {
        // A file that has nothing to say yet, as some of /proc do.
        io::ErrorKind::WouldBlock => FileProblem::NotRegular,
        _ => FileProblem::of(error),
    }
}

/// Where a line begins, 1 for the first; of one that there is not, the end of the file.
fn start_of_line(file: &mut File, line: u64) -> io::Result<u64> {
    let mut before = line - 1;
    let mut offset = 0;
    let mut buffer = vec![0; 64 << 10];
    while before > 0 {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            break;
        }
        let ends = memchr::memchr_iter(b'\n', &buffer[..read]);
        let wanted = usize::try_from(before).unwrap_or(usize::MAX) - 1;
        match ends.clone().nth(wanted) {
            Some(end) => return Ok(offset + end as u64 + 1),
            None => before -= ends.count() as u64,
        }
        offset += read as u64;
    }
    Ok(offset)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

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
            let call = ReadFile { path, max_bytes, offset, part, ..ReadFile::default() };
            super::part(&root, &call).map(|part| part.content)
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

    #[test]
    fn lines_are_found_in_a_file_of_any_size() {
        let directory = tempfile::tempdir().unwrap();
        let lines: Vec<_> = (1..=50_000).map(|line| format!("line {line}\n")).collect();
        let lines = lines.concat();
        std::fs::write(directory.path().join("file"), &lines).unwrap();
        let root = Root::new(File::open(directory.path()).unwrap().into());
        let lines = |first_line, most_lines| {
            let path = "/file".into();
            let call =
                ReadFile { path, max_bytes: 40, part: true, offset: 0, first_line, most_lines };
            let part = part(&root, &call).unwrap();
            (part.offset, String::from_utf8(part.content).unwrap())
        };
        assert_eq!(lines(1, 2), (0, "line 1\nline 2\n".to_owned()));
        assert_eq!(lines(40_000, 1).1, "line 40000\n");
        assert_eq!(lines(49_999, 9).1, "line 49999\nline 50000\n");
        assert_eq!(lines(60_000, 1).1, "");
        assert_eq!(lines(1, 0).1.len(), 40);
    }
}
