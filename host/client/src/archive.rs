//! Files of this host into a workspace, and a workspace's onto this host: as tars, streamed.
//!
//! What comes out of a workspace is a stranger's: it is unpacked where nothing in it can leave its place,
//! beside where it will be, and gets its name when it is whole.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use pyro_api::{ARTIFACT_HEADER, ErrorBody, PROBLEM_TRAILER, Problem, UnpackedFiles};
use pyro_archive::{
    Limits, PackOptions, SafeName, UnpackOptions,
    host::{Source, StreamOptions},
};
pub use pyro_archive::{
    Tally,
    host::{Rules, Survey},
};
use tokio::sync::mpsc;

use crate::{
    ClientError, FilePath, Node,
    connection::{Call, with_query},
    draft::Draft,
    files::{flag, route},
};

/// Of one piece of a tar, bytes.
const PIECE: usize = 256 << 10;
/// Of names in one tar, bytes.
const MOST_NAME_BYTES: u64 = 256 << 20;
/// What is left free of a file system that is larger than a hundred times that, bytes.
const LEFT_FREE: u64 = 256 << 20;
/// Pieces that wait.
const QUEUE: usize = 4;

/// How much went so far of what is carried.
#[derive(Clone, Debug, Default)]
pub struct Carried(Arc<AtomicU64>);

impl Carried {
    /// Bytes of the tar.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// What is taken out of a workspace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ExportQuery {
    /// A file or a directory.
    pub path: FilePath,
    /// Only what is different from what `/workspace` began with.
    pub changed: bool,
    /// Only these names in it; none: all.
    pub paths: Vec<Vec<u8>>,
    /// Fail rather than start a stopped workspace.
    pub no_start: bool,
}

/// How a directory or an archive is brought into a workspace.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Push {
    /// What is there and does not come is removed.
    pub delete: bool,
    /// What is left out of a directory.
    pub rules: Rules,
    /// Fail rather than start a stopped workspace.
    pub no_start: bool,
}

/// What was taken out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exported {
    /// `file`, `directory` or `symlink`.
    pub artifact_type: String,
    /// Names.
    pub entry_count: u64,
    /// Bytes of content.
    pub bytes_written: u64,
}

/// How it is kept on this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// As it is: a file, a directory, a link.
    #[default]
    Plain,
    /// As a tar.
    Tar,
    /// As a tar, compressed by Zstandard.
    TarZstd,
}

/// A tar on its way out.
pub struct ArchiveStream {
    /// What it is of.
    pub artifact_type: String,
    call: String,
    body: Incoming,
}

impl std::fmt::Debug for ArchiveStream {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ArchiveStream").field("call", &self.call).finish_non_exhaustive()
    }
}

impl ArchiveStream {
    /// The next bytes; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let lost = |source| ClientError::Lost { call: self.call.clone(), source };
        loop {
            let Some(frame) = self.body.frame().await else { return Ok(None) };
            let frame = frame.map_err(lost)?;
            let frame = match frame.into_data() {
                Ok(bytes) if bytes.is_empty() => continue,
                Ok(bytes) => return Ok(Some(bytes)),
                Err(frame) => frame,
            };
            if let Ok(trailers) = frame.into_trailers()
                && let Some(problem) = trailers.get(PROBLEM_TRAILER)
                && let Ok(body) = serde_json::from_slice::<ErrorBody>(problem.as_bytes())
            {
                return Err(ClientError::Refused { problem: body.into() });
            }
        }
    }

    /// Gives all of it to something that blocks, and that one's result, or why the stream broke off.
    async fn into_blocking<T: Send + 'static>(
        mut self,
        carried: &Carried,
        work: impl FnOnce(&mut dyn Read) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let (feed, pieces) = mpsc::channel(QUEUE);
        let carried = carried.clone();
        let working = tokio::task::spawn_blocking(move || {
            work(&mut Received { pieces, piece: Bytes::new(), ended: false, carried })
        });
        let feeding = async move {
            loop {
                match self.next().await {
                    Ok(Some(bytes)) => {
                        if feed.send(Some(bytes)).await.is_err() {
                            return Ok(());
                        }
                    }
                    Ok(None) => {
                        let _ = feed.send(None).await;
                        return Ok(());
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let (fed, done) = tokio::join!(feeding, working);
        let done = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        fed.and(done)
    }
}

/// A body, read from a blocking thread. One that broke off is an error, not an end.
struct Received {
    pieces: mpsc::Receiver<Option<Bytes>>,
    piece: Bytes,
    ended: bool,
    carried: Carried,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() && !self.ended {
            match self.pieces.blocking_recv() {
                Some(Some(piece)) => self.piece = piece,
                Some(None) => self.ended = true,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        let length = self.piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        self.carried.add(length);
        Ok(length)
    }
}

/// Where a tar goes that is sent.
struct Sending {
    pieces: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
    carried: Carried,
}

impl Write for Sending {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = std::mem::take(&mut self.piece);
        if piece.is_empty() {
            return Ok(());
        }
        self.carried.add(piece.len());
        self.pieces.blocking_send(piece.into()).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl From<pyro_archive::Error> for ClientError {
    fn from(source: pyro_archive::Error) -> Self {
        Self::Files { source }
    }
}

fn failed(code: &str, text: String, error: io::Error) -> ClientError {
    ClientError::Refused { problem: Problem::failed(code, text).cause(error) }
}

impl Node {
    /// `PUT /v1/workspaces/{w}/archive`: a directory or an archive of this host (.tar, .tar.gz, .tar.zst),
    /// streamed into a directory of the workspace.
    pub async fn push_files(
        &self,
        workspace: &str,
        source: &Path,
        destination: &FilePath,
        push: Push,
        carried: &Carried,
    ) -> Result<UnpackedFiles, ClientError> {
        let source = Source::open(source)?;
        let Push { delete, rules, no_start } = push;
        let pack = move |sink: &mut dyn Write| {
            source.stream(StreamOptions { rules, ..StreamOptions::default() }, sink)
        };
        self.send_tar(workspace, destination, (delete, no_start), carried, pack).await
    }

    /// The same for one file or symlink of this host, under a name.
    pub async fn push_file(
        &self,
        workspace: &str,
        source: &Path,
        destination: &FilePath,
        name: &[u8],
        carried: &Carried,
    ) -> Result<UnpackedFiles, ClientError> {
        let unreadable = |error| {
            let text = format!("cannot read {}", source.display());
            ClientError::Refused { problem: Problem::invalid("file_unreadable", text).cause(error) }
        };
        let whole = std::path::absolute(source).map_err(unreadable)?;
        let is_file = whole.symlink_metadata().map_err(unreadable)?;
        let (Some(parent), Some(own), false) =
            (whole.parent(), whole.file_name(), is_file.is_dir())
        else {
            return Err(unreadable(io::ErrorKind::IsADirectory.into()));
        };
        let parent = File::open(parent).map_err(unreadable)?;
        let own = SafeName::parse(own.as_bytes())?;
        let rename = Some((own.clone(), SafeName::parse(name)?));
        let pack = move |sink: &mut dyn Write| {
            let options = PackOptions {
                paths: vec![own],
                rename,
                root_owned: true,
                ..PackOptions::default()
            };
            pyro_archive::pack(parent.as_fd(), options, sink)
        };
        self.send_tar(workspace, destination, (false, false), carried, pack).await
    }

    async fn send_tar(
        &self,
        workspace: &str,
        destination: &FilePath,
        (delete, no_start): (bool, bool),
        carried: &Carried,
        pack: impl FnOnce(&mut dyn Write) -> Result<Tally, pyro_archive::Error> + Send + 'static,
    ) -> Result<UnpackedFiles, ClientError> {
        let (pieces, sent) = mpsc::channel::<Bytes>(QUEUE);
        let carried = carried.clone();
        let packing = tokio::task::spawn_blocking(move || {
            let mut sink = Sending { pieces, piece: Vec::new(), carried };
            pack(&mut sink)?;
            let lost = |error| failed("connection_lost", "the node takes no more".into(), error);
            sink.flush().map_err(lost)?;
            Ok::<_, ClientError>(())
        });
        let (tell, packed) = tokio::sync::oneshot::channel();
        let body = futures::stream::unfold((sent, Some(packing), Some(tell)), async |state| {
            let (mut sent, packing, tell) = state;
            if let Some(bytes) = sent.recv().await {
                return Some((Ok(Frame::data(bytes)), (sent, packing, tell)));
            }
            let error = match packing?.await {
                Ok(Ok(())) => return None,
                Ok(Err(error)) => error,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            };
            let _ = tell?.send(error);
            // A body that broke off must not look like one that ended.
            Some((Err(io::Error::from(io::ErrorKind::UnexpectedEof)), (sent, None, None)))
        });
        let [text, bytes] = destination.parameters();
        let query = [text, bytes, ("delete", flag(delete)), ("no_start", flag(no_start))];
        let mut call = Call::new(Method::PUT, with_query(route(workspace, "archive"), &query));
        call.content_type = Some("application/x-tar");
        call.body = BodyExt::boxed_unsync(StreamBody::new(body));
        let answer = self.json(call).await;
        // What could not be read here is the reason, whatever the node made of that.
        match (answer, packed.await) {
            (Err(ClientError::Refused { problem }), _) => Err(ClientError::Refused { problem }),
            (Err(_), Ok(error)) => Err(error),
            (answer, _) => answer,
        }
    }

    /// `GET /v1/workspaces/{w}/archive`.
    pub async fn archive(
        &self,
        workspace: &str,
        query: &ExportQuery,
    ) -> Result<ArchiveStream, ClientError> {
        let [text, bytes] = query.path.parameters();
        let (mut lines, mut coded) = (Vec::new(), Vec::new());
        for path in &query.paths {
            match str::from_utf8(path) {
                Ok(text) if !text.contains(['\n', '\r']) => lines.push(text.to_owned()),
                _ => coded.push(STANDARD.encode(path)),
            }
        }
        let joined = |names: Vec<String>| (!names.is_empty()).then(|| names.join("\n"));
        let parameters = [
            text,
            bytes,
            ("changed", flag(query.changed)),
            ("paths", joined(lines)),
            ("paths_base64", joined(coded)),
            ("no_start", flag(query.no_start)),
        ];
        let target = with_query(route(workspace, "archive"), &parameters);
        let mut call = Call::new(Method::GET, target);
        call.takes_trailers = true;
        let name = call.name();
        let response = self.send(call).await?;
        let kind = response.headers().get(ARTIFACT_HEADER).and_then(|kind| kind.to_str().ok());
        let artifact_type = kind.unwrap_or("directory").to_owned();
        Ok(ArchiveStream { artifact_type, call: name, body: response.into_body() })
    }

    /// Takes a file or a directory out of a workspace. What is at `output` already is an error, unless it
    /// is to be replaced. It is there whole or not at all.
    pub async fn export_files(
        &self,
        workspace: &str,
        query: &ExportQuery,
        output: &Path,
        format: Format,
        replace: bool,
        carried: &Carried,
    ) -> Result<Exported, ClientError> {
        let place = Place::new(output, replace)?;
        let stream = self.archive(workspace, query).await?;
        let artifact_type = stream.artifact_type.clone();
        let is_directory = artifact_type == "directory";
        let tally = stream
            .into_blocking(carried, move |source| match format {
                Format::Plain => place.unpack(source, is_directory),
                Format::Tar => place.keep(source, |file| Ok(Box::new(file))),
                Format::TarZstd => place
                    .keep(source, |file| Ok(Box::new(zstd::Encoder::new(file, 3)?.auto_finish()))),
            })
            .await?;
        Ok(Exported { artifact_type, entry_count: tally.entries, bytes_written: tally.bytes })
    }

    /// Takes a tar out of a workspace into a directory of this host, which is there already.
    pub async fn unpack_into(
        &self,
        workspace: &str,
        query: &ExportQuery,
        directory: PathBuf,
        carried: &Carried,
    ) -> Result<Tally, ClientError> {
        let stream = self.archive(workspace, query).await?;
        stream
            .into_blocking(carried, move |source| {
                let failed = |source| ClientError::Output { path: directory.clone(), source };
                let root = File::open(&directory).map_err(&failed)?;
                let limits = limits(root.as_fd()).map_err(failed)?;
                let options = UnpackOptions { limits, ..UnpackOptions::default() };
                Ok(pyro_archive::unpack(source, root.as_fd(), options)?)
            })
            .await
    }
}

/// What a guest may send: no more than its place has room for, and leaves some. Names are remembered while
/// they come.
fn limits(place: BorrowedFd<'_>) -> io::Result<Limits> {
    let there = rustix::fs::fstatvfs(place)?;
    let size = |blocks: u64| blocks.saturating_mul(there.f_frsize);
    let left = size(there.f_bavail).saturating_sub((size(there.f_blocks) / 100).min(LEFT_FREE));
    let usual = Limits::default();
    // Some file systems do not count; where one is full, writing says so.
    let counted = |left: u64, usual: u64| if left == 0 { usual } else { left.min(usual) };
    Ok(Limits {
        entries: counted(there.f_favail, usual.entries),
        name_bytes: MOST_NAME_BYTES,
        bytes: left.min(usual.bytes),
        ..usual
    })
}

/// Where something of a workspace will be on this host.
struct Place {
    output: PathBuf,
    replace: bool,
}

impl Place {
    fn new(output: &Path, replace: bool) -> Result<Self, ClientError> {
        if output.file_name().is_none() {
            let text = format!("{} names nothing that can be made", output.display());
            return Err(ClientError::Refused { problem: Problem::invalid("invalid_output", text) });
        }
        if !replace && output.symlink_metadata().is_ok() {
            let source = io::ErrorKind::AlreadyExists.into();
            return Err(ClientError::Output { path: output.to_owned(), source });
        }
        Ok(Self { output: output.to_owned(), replace })
    }

    fn unwritable(&self, error: io::Error) -> ClientError {
        ClientError::Output { path: self.output.clone(), source: error }
    }

    /// A directory beside it, for as long as it is not whole.
    fn draft(&self) -> Result<Draft, ClientError> {
        let parent = self.output.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::create_dir_all(parent)
            .and_then(|()| Draft::new(parent))
            .map_err(|error| self.unwritable(error))
    }

    fn unpack(&self, source: &mut dyn Read, is_directory: bool) -> Result<Tally, ClientError> {
        let draft = self.draft()?;
        let inner = draft.path().join("it");
        fs::create_dir(&inner).map_err(|error| self.unwritable(error))?;
        let root = File::open(&inner).map_err(|error| self.unwritable(error))?;
        let limits = limits(root.as_fd()).map_err(|error| self.unwritable(error))?;
        let options = UnpackOptions { limits, ..UnpackOptions::default() };
        let tally = pyro_archive::unpack(source, root.as_fd(), options)?;
        if is_directory {
            self.publish(&inner)?;
            return Ok(tally);
        }
        // One name, whatever the guest calls it.
        let mut names = fs::read_dir(&inner).map_err(|error| self.unwritable(error))?;
        let only = names.next().and_then(Result::ok).filter(|_| names.next().is_none());
        let Some(only) = only.filter(|only| only.file_type().is_ok_and(|kind| !kind.is_dir()))
        else {
            let text = "the workspace sent something else than the file that was asked for";
            return Err(ClientError::Refused {
                problem: Problem::failed("guest_unreachable", text),
            });
        };
        self.publish(&only.path())?;
        Ok(tally)
    }

    /// Keeps the tar itself. Counts what is in it, and refuses what is not one.
    fn keep(
        &self,
        source: &mut dyn Read,
        coder: impl FnOnce(File) -> io::Result<Box<dyn Write>>,
    ) -> Result<Tally, ClientError> {
        let draft = self.draft()?;
        let path = draft.path().join("tar");
        let file = File::create_new(&path).map_err(|error| self.unwritable(error))?;
        let limits = limits(file.as_fd()).map_err(|error| self.unwritable(error))?;
        let mut sink = coder(file).map_err(|error| self.unwritable(error))?;
        let tally = pyro_archive::rewrite(source, &mut sink, &limits)?;
        sink.flush().map_err(|error| self.unwritable(error))?;
        drop(sink);
        self.publish(&path)?;
        Ok(tally)
    }

    fn publish(&self, made: &Path) -> Result<(), ClientError> {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        let is_directory = |path: &Path| path.symlink_metadata().is_ok_and(|it| it.is_dir());
        if !self.replace {
            let done = renameat_with(CWD, made, CWD, &self.output, RenameFlags::NOREPLACE);
            return done.map_err(|error| self.unwritable(error.into()));
        }
        if is_directory(made) || is_directory(&self.output) {
            // A directory only gives way by being exchanged; what was there goes with the draft.
            match renameat_with(CWD, made, CWD, &self.output, RenameFlags::EXCHANGE) {
                Err(rustix::io::Errno::NOENT) => {}
                done => return done.map_err(|error| self.unwritable(error.into())),
            }
        }
        fs::rename(made, &self.output).map_err(|error| self.unwritable(error))
    }
}

#[cfg(test)]
#[path = "../../../archive/tests/corpus/mod.rs"]
mod corpus;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    /// All that is in a directory, with what it holds; links are not followed.
    fn look(directory: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            let (mode, links, at) = (metadata.mode(), metadata.nlink(), metadata.mtime_nsec());
            found.push(format!("{} {mode:o} {links} {at}", path.display()));
            if metadata.is_dir() {
                found.extend(look(&path));
            } else if metadata.is_file() {
                found.push(format!("{:?}", fs::read(&path).unwrap()));
            }
        }
        found.sort();
        found
    }

    /// A guest that lies in what it sends, in every way in which it is taken out.
    #[test]
    fn no_export_gets_out_of_its_place() {
        let cases = corpus::cases();
        assert!(cases.len() >= 100);
        let mut taken = 0;
        for (what, bytes, ..) in cases {
            for (way, replace) in
                [("directory", false), ("file", false), ("tar", false), ("directory", true)]
            {
                let home = tempfile::tempdir().unwrap();
                let (outside, inside) = (home.path().join("outside"), home.path().join("in"));
                fs::create_dir_all(outside.join("inner")).unwrap();
                fs::write(outside.join("canary"), "alive").unwrap();
                fs::create_dir(&inside).unwrap();
                let output = inside.join("out");
                if replace {
                    fs::create_dir(&output).unwrap();
                    symlink(&outside, output.join("planted")).unwrap();
                }
                let before = look(&outside);
                let place = Place::new(&output, replace).unwrap();
                let mut source = &bytes[..];
                let done = match way {
                    "tar" => place.keep(&mut source, |file| Ok(Box::new(file))),
                    way => place.unpack(&mut source, way == "directory"),
                };
                assert_eq!(before, look(&outside), "{what}, {way}");
                let names: Vec<_> =
                    fs::read_dir(&inside).unwrap().map(|it| it.unwrap().file_name()).collect();
                match done {
                    Ok(_) => {
                        taken += 1;
                        assert_eq!(names, ["out"], "{what}, {way}");
                    }
                    Err(_) if replace => {
                        assert_eq!(names, ["out"], "{what}, {way}");
                        assert!(
                            output.join("planted").is_symlink(),
                            "{what}: what was there stays"
                        );
                    }
                    Err(_) => assert_eq!(names, [""; 0], "{what}, {way}"),
                }
            }
        }
        assert!(taken > 20, "some of them are harmless: {taken}");
    }

    /// Sends members without end, and counts what was asked of it.
    struct Endless {
        left: Vec<u8>,
        number: u64,
        content: usize,
    }

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            if self.left.is_empty() {
                self.number += 1;
                let name = format!("{:0>80}", self.number);
                let tar = corpus::Tar::default();
                let tar = tar.raw(b'0', name.as_bytes(), b"", self.content as u64, |_| {});
                self.left = tar.bytes(&vec![b'x'; self.content]).0;
            }
            let length = self.left.len().min(buffer.len());
            buffer[..length].copy_from_slice(&self.left[..length]);
            self.left.drain(..length);
            Ok(length)
        }
    }

    #[test]
    fn a_guest_that_sends_without_end_is_cut_off() {
        let home = tempfile::tempdir().unwrap();
        let usual = limits(File::open(home.path()).unwrap().as_fd()).unwrap();
        assert!(usual.bytes > 0 && usual.entries > 0);
        for (content, cut) in [
            (1 << 20, Limits { bytes: 8 << 20, ..usual }),
            (0, Limits { name_bytes: 1 << 16, ..usual }),
        ] {
            let home = tempfile::tempdir().unwrap();
            let root = File::open(home.path()).unwrap();
            let mut source = Endless { left: Vec::new(), number: 0, content };
            let options = UnpackOptions { limits: cut, ..UnpackOptions::default() };
            let error = pyro_archive::unpack(&mut source, root.as_fd(), options).unwrap_err();
            assert_eq!(error.code(), "archive_too_large");
            assert!(source.number < 2000, "{}", source.number);
            let mut source = Endless { left: Vec::new(), number: 0, content };
            let error = pyro_archive::rewrite(&mut source, &mut io::sink(), &cut).unwrap_err();
            assert_eq!(error.code(), "archive_too_large");
        }
    }
}
