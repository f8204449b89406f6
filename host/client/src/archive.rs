//! Files of this host into a workspace, and a workspace's onto this host: as tars, streamed.
//!
//! What comes out of a workspace is a stranger's: it is unpacked where nothing in it can leave its place,
//! beside where it will be, and gets its name when it is whole.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{fd::AsFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use pyro_api::{ARTIFACT_HEADER, ErrorBody, PROBLEM_TRAILER, Problem, UnpackedFiles};
use pyro_archive::{
    PackOptions, SafeName, UnpackOptions,
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
    files::{flag, route},
};

/// Of one piece of a tar, bytes.
const PIECE: usize = 256 << 10;
/// Pieces that wait.
const QUEUE: usize = 4;

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
        work: impl FnOnce(&mut dyn Read) -> Result<T, ClientError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let (feed, pieces) = mpsc::channel(QUEUE);
        let working = tokio::task::spawn_blocking(move || {
            work(&mut Received { pieces, piece: Bytes::new(), ended: false })
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
        Ok(length)
    }
}

/// Where a tar goes that is sent.
struct Sending {
    pieces: mpsc::Sender<Bytes>,
    piece: Vec<u8>,
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
    ) -> Result<UnpackedFiles, ClientError> {
        let source = Source::open(source)?;
        let Push { delete, rules, no_start } = push;
        let pack = move |sink: &mut dyn Write| {
            source.stream(StreamOptions { rules, ..StreamOptions::default() }, sink)
        };
        self.send_tar(workspace, destination, delete, no_start, pack).await
    }

    /// The same for one file or symlink of this host, under a name.
    pub async fn push_file(
        &self,
        workspace: &str,
        source: &Path,
        destination: &FilePath,
        name: &[u8],
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
        self.send_tar(workspace, destination, false, false, pack).await
    }

    async fn send_tar(
        &self,
        workspace: &str,
        destination: &FilePath,
        delete: bool,
        no_start: bool,
        pack: impl FnOnce(&mut dyn Write) -> Result<Tally, pyro_archive::Error> + Send + 'static,
    ) -> Result<UnpackedFiles, ClientError> {
        let (pieces, sent) = mpsc::channel::<Bytes>(QUEUE);
        let packing = tokio::task::spawn_blocking(move || {
            let mut sink = Sending { pieces, piece: Vec::new() };
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
    ) -> Result<Exported, ClientError> {
        let place = Place::new(output, replace)?;
        let stream = self.archive(workspace, query).await?;
        let artifact_type = stream.artifact_type.clone();
        let is_directory = artifact_type == "directory";
        let tally = stream
            .into_blocking(move |source| match format {
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
    ) -> Result<Tally, ClientError> {
        let stream = self.archive(workspace, query).await?;
        stream
            .into_blocking(move |source| {
                let failed = |source| ClientError::Output { path: directory.clone(), source };
                let root = File::open(&directory).map_err(failed)?;
                Ok(pyro_archive::unpack(source, root.as_fd(), UnpackOptions::default())?)
            })
            .await
    }
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
    fn draft(&self) -> Result<tempfile::TempDir, ClientError> {
        let parent = self.output.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::create_dir_all(parent)
            .and_then(|()| tempfile::Builder::new().prefix(".pyro-export-").tempdir_in(parent))
            .map_err(|error| self.unwritable(error))
    }

    fn unpack(&self, source: &mut dyn Read, is_directory: bool) -> Result<Tally, ClientError> {
        let draft = self.draft()?;
        let inner = draft.path().join("it");
        fs::create_dir(&inner).map_err(|error| self.unwritable(error))?;
        let root = File::open(&inner).map_err(|error| self.unwritable(error))?;
        let tally = pyro_archive::unpack(source, root.as_fd(), UnpackOptions::default())?;
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
        let mut sink = coder(file).map_err(|error| self.unwritable(error))?;
        let tally = pyro_archive::rewrite(source, &mut sink, &pyro_archive::Limits::default())?;
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
