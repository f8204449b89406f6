//! Copies of finished execs' output, so that a stopped workspace answers.
//!
//! A copy is a file of pieces, `[kind u8][length u32 little endian][bytes]`: 3 stdout, 4 stderr, 6 a
//! gap (two u64, little endian: the combined offsets between which output was dropped). Written
//! whole or not at all.

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use pyro_link::{LinkError, Output, OutputReader};
use tempfile::NamedTempFile;

use crate::{error::WorkspaceError, layout::OUTPUT};

/// The most a copy may take. The guest keeps at most 64 MiB of output; a guest that sends more is
/// not believed.
const MAX_COPY: u64 = 80 << 20;

const STDOUT: u8 = 3;
const STDERR: u8 = 4;
const GAP: u8 = 6;

/// A piece of kept output.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OutputPiece {
    /// Bytes of stdout.
    Stdout(Bytes),
    /// Bytes of stderr.
    Stderr(Bytes),
    /// Output between these combined offsets was dropped.
    Gap {
        /// The first dropped offset.
        from: u64,
        /// The first kept offset after it.
        to: u64,
    },
}

/// Copies what an attached stream sends into `path`, up to the record of its end.
pub(crate) async fn copy_output(
    output: &mut OutputReader,
    path: PathBuf,
) -> Result<Option<Box<pyro_wire::ExecRecord>>, WorkspaceError> {
    let mut copy = PartialCopy::begin(&path).map_err(WorkspaceError::file(&path))?;
    let mut record = None;
    loop {
        let piece = match output.next().await.map_err(WorkspaceError::guest("copy an output"))? {
            Some(Output::Stdout(bytes)) => OutputPiece::Stdout(bytes),
            Some(Output::Stderr(bytes)) => OutputPiece::Stderr(bytes),
            Some(Output::Gap { from, to }) => OutputPiece::Gap { from, to },
            Some(Output::Ended(ended)) => {
                record = Some(ended);
                continue;
            }
            None => break,
        };
        if copy.add(&piece).map_err(WorkspaceError::file(&path))? > MAX_COPY {
            return Err(WorkspaceError::guest("copy an output")(LinkError::Mismatch(
                "attach with a bounded output",
            )));
        }
    }
    let place = path.clone();
    tokio::task::spawn_blocking(move || copy.keep(&place))
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        .map_err(WorkspaceError::file(path))?;
    Ok(record)
}

/// A copy that is being made: gone without a trace where it is dropped before it is whole.
struct PartialCopy {
    // Two copies of one output may be under way; the last one stays, and both are whole.
    writer: BufWriter<NamedTempFile>,
    written: u64,
}

impl PartialCopy {
    /// Begins a copy that is to stand at `path`.
    fn begin(path: &Path) -> io::Result<Self> {
        let directory = path.parent().unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix(".partial-").tempfile_in(directory)?;
        Ok(Self { writer: BufWriter::with_capacity(128 * 1024, file), written: 0 })
    }

    /// Adds a piece; tells how many bytes the copy has now.
    fn add(&mut self, piece: &OutputPiece) -> io::Result<u64> {
        self.written += write_piece(&mut self.writer, piece)?;
        Ok(self.written)
    }

    /// Puts the whole copy at `path`, on disk once this returns. Blocking.
    fn keep(self, path: &Path) -> io::Result<()> {
        let file = self.writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|failed| failed.error)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    }
}

/// Removes what copies left that a dead node was making. Nobody may be making one. Blocking.
pub(crate) fn remove_partial_copies(execs: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(execs)? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != OUTPUT) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn write_piece(writer: &mut impl Write, piece: &OutputPiece) -> io::Result<u64> {
    let gap;
    let (kind, bytes): (u8, &[u8]) = match piece {
        OutputPiece::Stdout(bytes) => (STDOUT, bytes),
        OutputPiece::Stderr(bytes) => (STDERR, bytes),
        OutputPiece::Gap { from, to } => {
            gap = [from.to_le_bytes(), to.to_le_bytes()].concat();
            (GAP, &gap)
        }
    };
    writer.write_all(&[kind])?;
    writer.write_all(&(bytes.len() as u32).to_le_bytes())?;
    writer.write_all(bytes)?;
    Ok(5 + bytes.len() as u64)
}

/// The pieces of a copy from a combined offset on. Blocking.
#[derive(Debug)]
pub struct KeptOutput {
    reader: BufReader<File>,
    /// The combined offset of the next piece in the file.
    position: u64,
    from: u64,
    end: u64,
}

/// Opens a copy for reading from the combined offset `from`, at most `length` bytes. Blocking.
pub fn read_kept(path: &Path, from: u64, length: Option<u64>) -> io::Result<KeptOutput> {
    let reader = BufReader::with_capacity(128 * 1024, File::open(path)?);
    let end = length.map_or(u64::MAX, |length| from.saturating_add(length));
    Ok(KeptOutput { reader, position: 0, from, end })
}

impl KeptOutput {
    fn read_piece(&mut self) -> io::Result<Option<OutputPiece>> {
        loop {
            let mut header = [0u8; 5];
            match self.reader.read_exact(&mut header) {
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                other => other?,
            }
            let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]);
            if header[0] == GAP && length == 16 {
                let (mut from, mut to) = ([0; 8], [0; 8]);
                self.reader.read_exact(&mut from)?;
                self.reader.read_exact(&mut to)?;
                let (from, to) = (u64::from_le_bytes(from), u64::from_le_bytes(to));
                self.position = to;
                if to > self.from {
                    return Ok(Some(OutputPiece::Gap { from, to }));
                }
                continue;
            }
            if length as usize > pyro_wire::MAX_DATA {
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            }
            let start = self.position;
            let after = start + u64::from(length);
            self.position = after;
            if start >= self.end {
                return Ok(None);
            }
            if after <= self.from {
                self.reader.seek_relative(length.into())?;
                continue;
            }
            let mut bytes = vec![0; length as usize];
            self.reader.read_exact(&mut bytes)?;
            let mut bytes = Bytes::from(bytes);
            if after > self.end {
                bytes.truncate((self.end - start) as usize);
            }
            if start < self.from {
                let _ = bytes.split_to((self.from - start) as usize);
            }
            return Ok(Some(match header[0] {
                STDERR => OutputPiece::Stderr(bytes),
                _ => OutputPiece::Stdout(bytes),
            }));
        }
    }
}

impl Iterator for KeptOutput {
    type Item = io::Result<OutputPiece>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read_piece().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(pieces: &[OutputPiece]) -> NamedTempFile {
        let mut file = NamedTempFile::new().unwrap();
        for piece in pieces {
            write_piece(&mut file, piece).unwrap();
        }
        file
    }

    fn stdout(text: &'static str) -> OutputPiece {
        OutputPiece::Stdout(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_range_is_cut_out_of_the_pieces() {
        let file = copy(&[stdout("abc"), OutputPiece::Stderr(Bytes::from_static(b"de"))]);
        let read = |from, length| {
            read_kept(file.path(), from, length).unwrap().collect::<Result<Vec<_>, _>>().unwrap()
        };
        assert_eq!(read(0, None).len(), 2);
        assert_eq!(read(1, Some(1)), [stdout("b")]);
        assert_eq!(read(4, None), [OutputPiece::Stderr(Bytes::from_static(b"e"))]);
        assert_eq!(read(9, None), []);
    }

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn a_copy_appears_when_it_is_whole_and_leaves_nothing_when_it_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0123456789ab.output");
        let mut given_up = PartialCopy::begin(&path).unwrap();
        given_up.add(&stdout("torn")).unwrap();
        assert!(!path.exists());
        drop(given_up);
        assert_eq!(names(directory.path()), [""; 0]);

        let mut whole = PartialCopy::begin(&path).unwrap();
        whole.add(&stdout("whole")).unwrap();
        whole.keep(&path).unwrap();
        assert_eq!(names(directory.path()), ["0123456789ab.output"]);
        let all: Vec<_> = read_kept(&path, 0, None).unwrap().map(Result::unwrap).collect();
        assert_eq!(all, [stdout("whole")]);
    }

    #[test]
    fn what_a_killed_node_was_copying_is_removed_and_copies_stay() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["0123456789ab.output", ".partial-x7", "0123456789ab.partial-9"] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        remove_partial_copies(directory.path()).unwrap();
        assert_eq!(names(directory.path()), ["0123456789ab.output"]);
    }

    #[test]
    fn offsets_go_on_behind_a_gap() {
        let file = copy(&[stdout("ab"), OutputPiece::Gap { from: 2, to: 10 }, stdout("yz")]);
        let all: Vec<_> = read_kept(file.path(), 11, None).unwrap().map(Result::unwrap).collect();
        assert_eq!(all, [stdout("z")]);
    }
}
