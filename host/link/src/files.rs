//! Calls about files.
//!
//! What a guest tells of its files is a stranger's: how much of it is kept is the caller's to bound, piece
//! by piece.

use std::time::Duration;

use bytes::Bytes;
use pyro_wire::{
    DiskThawed, EditFile, FileContent, FileEntry, FileOutcome, Frame, FrameError, FrameKind,
    FreezeDisk, MakeDirectory, MoveFile, PackFiles, ReadFile, RemoveFile, StatFile, call::Verb,
    file_outcome, reply,
};
use tokio::time::timeout;

use crate::{
    call::{ANSWER, Link},
    stream::{FrameReader, FrameWriter, LinkError},
};

/// How long a guest may work on files in silence: it may look through all of its disk for nothing.
const QUIET: Duration = Duration::from_mins(5);

/// How long a guest may take to write out what it holds, and freeze its disk.
const FREEZING: Duration = Duration::from_mins(2);

/// A call that goes on: what the guest tells.
#[derive(Debug)]
pub struct FileReader {
    reader: FrameReader,
    /// Kept open for as long as the call goes on.
    _writer: Option<FrameWriter>,
}

/// What a guest tells.
#[derive(Debug)]
pub enum FilePiece {
    /// Bytes.
    Data(Bytes),
    /// Something of what was asked for, or how the call ended.
    Told(Box<file_outcome::Result>),
}

impl FileReader {
    /// The next piece. The last is an ending; behind a problem nothing comes either.
    pub async fn next(&mut self) -> Result<FilePiece, LinkError> {
        let next = timeout(QUIET, self.reader.expect()).await;
        let frame = next.unwrap_or(Err(LinkError::Silent(QUIET)))?;
        match frame.kind {
            FrameKind::Data => Ok(FilePiece::Data(frame.payload)),
            FrameKind::Message => Ok(FilePiece::Told(Box::new(told(&frame)?))),
            kind => Err(LinkError::Frame(FrameError::Unexpected(kind))),
        }
    }

    /// The next piece, where that is no bytes.
    pub async fn told(&mut self) -> Result<file_outcome::Result, LinkError> {
        match self.next().await? {
            FilePiece::Told(told) => Ok(*told),
            FilePiece::Data(_) => Err(LinkError::Frame(FrameError::Unexpected(FrameKind::Data))),
        }
    }
}

/// What a guest is sent.
#[derive(Debug)]
pub struct FileWriter(FrameWriter);

impl FileWriter {
    /// Sends bytes. A guest that wants no more says why on the other half.
    pub async fn send(&mut self, bytes: Bytes) -> Result<(), LinkError> {
        self.0.bytes(FrameKind::Data, bytes).await
    }

    /// Says that this was all.
    pub async fn end(&mut self) -> Result<(), LinkError> {
        self.0.end().await?;
        self.0.flush().await
    }
}

/// A workspace disk to which nothing is written; dropping this thaws it.
#[derive(Debug)]
pub struct FrozenDisk {
    reader: FileReader,
    writer: FileWriter,
}

impl FrozenDisk {
    /// Thaws it: how long it was frozen, and whether it was to this moment.
    pub async fn thaw(mut self) -> Result<DiskThawed, LinkError> {
        // Where the guest has thawed it by itself, it says so all the same.
        let _ = self.writer.end().await;
        match timeout(ANSWER, self.reader.told()).await.unwrap_or(Err(LinkError::Silent(ANSWER)))? {
            file_outcome::Result::Thawed(thawed) => Ok(thawed),
            _ => Err(LinkError::Mismatch("freeze_disk")),
        }
    }
}

fn told(frame: &Frame) -> Result<file_outcome::Result, LinkError> {
    let outcome: FileOutcome = frame.message().map_err(LinkError::Frame)?;
    match outcome.result {
        Some(file_outcome::Result::Problem(problem)) => Err(LinkError::Guest {
            code: problem.code,
            message: problem.message,
            causes: problem.causes,
        }),
        Some(told) => Ok(told),
        None => Err(LinkError::Mismatch("a call about files")),
    }
}

impl Link {
    /// Begins a call whose answer goes on.
    pub async fn begin_files(&self, verb: Verb) -> Result<FileReader, LinkError> {
        let (reply, stream) = self.call(verb).await?;
        match reply {
            reply::Result::Done(_) => {
                Ok(FileReader { reader: stream.reader, _writer: Some(stream.writer) })
            }
            _ => Err(LinkError::Mismatch("a call about files")),
        }
    }

    /// Begins to take files as a tar; what is there comes first.
    pub async fn pack_files(&self, call: PackFiles) -> Result<(FileEntry, FileReader), LinkError> {
        let (reply, stream) = self.call_within(Verb::PackFiles(call), QUIET).await?;
        match reply {
            reply::Result::FileEntry(entry) => {
                Ok((entry, FileReader { reader: stream.reader, _writer: Some(stream.writer) }))
            }
            _ => Err(LinkError::Mismatch("pack_files")),
        }
    }

    /// Begins a call that takes bytes before it ends.
    pub async fn send_files(&self, verb: Verb) -> Result<(FileReader, FileWriter), LinkError> {
        let (reply, stream) = self.call(verb).await?;
        match reply {
            reply::Result::Done(_) => {
                let reader = FileReader { reader: stream.reader, _writer: None };
                Ok((reader, FileWriter(stream.writer)))
            }
            _ => Err(LinkError::Mismatch("a call about files")),
        }
    }

    /// Freezes the workspace disk, for no longer than this.
    pub async fn freeze_disk(&self, deadline: Duration) -> Result<FrozenDisk, LinkError> {
        let call = FreezeDisk { deadline_millis: deadline.as_millis() as u64 };
        match self.call_within(Verb::FreezeDisk(call), FREEZING).await? {
            (reply::Result::Done(_), stream) => {
                let reader = FileReader { reader: stream.reader, _writer: None };
                Ok(FrozenDisk { reader, writer: FileWriter(stream.writer) })
            }
            _ => Err(LinkError::Mismatch("freeze_disk")),
        }
    }

    /// Reads a regular file of the workload, or a part of it. What the guest sends beyond what was asked
    /// for is not believed.
    pub async fn read_part(&self, call: ReadFile) -> Result<(FileContent, Vec<u8>), LinkError> {
        let reading = async {
            let most = call.max_bytes;
            let (reply, mut stream) = self.call(Verb::ReadFile(call)).await?;
            let reply::Result::FileContent(about) = reply else {
                return Err(LinkError::Mismatch("read_file"));
            };
            let mut content = Vec::new();
            loop {
                let frame = stream.reader.expect().await?;
                match frame.kind {
                    FrameKind::End => return Ok((about, content)),
                    FrameKind::Data if (content.len() + frame.payload.len()) as u64 <= most => {
                        content.extend_from_slice(&frame.payload);
                    }
                    kind => return Err(LinkError::Frame(FrameError::Unexpected(kind))),
                }
            }
        };
        timeout(ANSWER, reading).await.unwrap_or(Err(LinkError::Silent(ANSWER)))
    }

    /// Reads a regular file of the workload, of at most so many bytes.
    pub async fn read_file(&self, path: Vec<u8>, max_bytes: u64) -> Result<Vec<u8>, LinkError> {
        let call = ReadFile { path: path.into(), max_bytes, ..ReadFile::default() };
        Ok(self.read_part(call).await?.1)
    }

    async fn entry(&self, verb: Verb) -> Result<FileEntry, LinkError> {
        match self.call(verb).await?.0 {
            reply::Result::FileEntry(entry) => Ok(entry),
            _ => Err(LinkError::Mismatch("a call about files")),
        }
    }

    /// What is known of a path.
    pub async fn stat_file(&self, call: StatFile) -> Result<FileEntry, LinkError> {
        self.entry(Verb::StatFile(call)).await
    }

    /// Replaces text in a file.
    pub async fn edit_file(&self, call: EditFile) -> Result<FileEntry, LinkError> {
        self.entry(Verb::EditFile(call)).await
    }

    /// Renames a file or a directory.
    pub async fn move_file(&self, call: MoveFile) -> Result<FileEntry, LinkError> {
        self.entry(Verb::MoveFile(call)).await
    }

    /// Makes a directory.
    pub async fn make_directory(&self, call: MakeDirectory) -> Result<FileEntry, LinkError> {
        self.entry(Verb::MakeDirectory(call)).await
    }

    /// Removes a file or a directory, with all that is in it where that is asked for.
    pub async fn remove_file(&self, call: RemoveFile) -> Result<(), LinkError> {
        self.done(Verb::RemoveFile(call), "remove_file", QUIET).await
    }
}
