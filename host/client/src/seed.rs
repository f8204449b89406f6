//! What a workspace begins with: files of this host, as a seed of the node.
//!
//! A walk that reads no file says whether the node has them already; only where it has not, they are
//! packed and sent, in one stream. The node is told no more than what is in them.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use pyro_api::{CreateWorkspace, Seed, SeedChoice, Workspace};
use pyro_archive::host::{Rules, Source, StreamOptions};
use tokio::sync::mpsc;

use crate::{
    ClientError, GitSeed, Node,
    connection::{Call, segment, with_query},
    git::Checkout,
};

/// Pieces that are packed and not sent yet.
const WAITING: usize = 4;

/// A directory, or an archive (.tar, .tar.gz, .tar.zst: told by its content).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SeedFiles {
    /// Where it is.
    pub path: PathBuf,
    /// What is left out of a directory: patterns as in a `.gitignore` at its root.
    pub excludes: Vec<String>,
    /// Whether its `.gitignore` and `.pyroignore` say what else is.
    pub respect_ignore: bool,
}

/// What a workspace is to begin with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SeedRequest {
    /// Files.
    Files(SeedFiles),
    /// What a git repository tracks.
    Git(GitSeed),
}

/// How far a seed is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeedProgress {
    /// The repository is fetched.
    Fetching,
    /// The files are looked at.
    Surveying,
    /// They are sent.
    Sending {
        /// Bytes of content so far.
        bytes: u64,
        /// Of so many, where that is known.
        total: Option<u64>,
    },
    /// The workspace is made.
    Creating,
}

/// What is worth knowing about a seed, beyond what its workspace says.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct SeedReport {
    /// Entries that ignore files match, whether they were taken or not.
    pub ignored_entries: u64,
    /// Bytes of their files.
    pub ignored_bytes: u64,
    /// Whether they were left out.
    pub respected_ignore: bool,
    /// Names of files that usually hold secrets, escaped; the first twenty.
    pub sensitive: Vec<String>,
    /// How many there are.
    pub sensitive_count: u64,
    /// Sockets and devices, which were left out.
    pub skipped: u64,
    /// Files that changed while they were sent.
    pub changed: u64,
    /// Whether the repository has changes that are not committed, and so were not taken.
    pub uncommitted: bool,
}

/// Something to send, and what is known of it.
struct Tree {
    source: Source,
    rules: Rules,
    fingerprint: String,
    mode: &'static str,
    path: Option<String>,
    total: Option<u64>,
}

impl Node {
    /// `GET /v1/seeds/{fingerprint}`: none where no seed was made of such files.
    pub async fn find_seed(&self, fingerprint: &str) -> Result<Option<Seed>, ClientError> {
        match self.get(format!("/v1/seeds/{}", segment(fingerprint))).await {
            Ok(seed) => Ok(Some(seed)),
            Err(ClientError::Refused { problem }) if problem.code == SEED_NOT_FOUND => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// `POST /v1/workspaces` with these files as its seed, which are sent where the node does not
    /// have them.
    pub async fn create_seeded_workspace(
        &self,
        request: &CreateWorkspace,
        seed: &SeedRequest,
        progress: impl Fn(SeedProgress) + Clone + Send + 'static,
    ) -> Result<(Workspace, SeedReport), ClientError> {
        let (files, git) = match seed {
            SeedRequest::Files(files) => (files.clone(), None),
            SeedRequest::Git(git) => {
                progress(SeedProgress::Fetching);
                let (git, state) = (git.clone(), self.location().state.clone());
                let checkout = blocking(move || Checkout::make(&state, &git)).await?;
                let path = checkout.path().to_owned();
                let files = SeedFiles { path, excludes: Vec::new(), respect_ignore: false };
                (files, Some(checkout))
            }
        };
        progress(SeedProgress::Surveying);
        let named = git.as_ref().map(|checkout| (checkout.fingerprint(), checkout.named()));
        let (tree, mut report) = blocking(move || survey(files, named)).await?;
        report.uncommitted = git.as_ref().is_some_and(Checkout::has_uncommitted);
        let mut request = request.clone();
        let mut tree = tree;
        let mut is_retry = false;
        loop {
            let seed = if let Some(seed) = self.find_seed(&tree.fingerprint).await? {
                seed
            } else {
                let (sent, changed);
                (tree, sent, changed) = self.send_seed(tree, progress.clone()).await?;
                report.changed = changed;
                sent
            };
            progress(SeedProgress::Creating);
            request.seed = Some(SeedChoice {
                digest: seed.seed,
                mode: tree.mode.to_owned(),
                seed_path: tree.path.clone(),
                reused: seed.reused,
            });
            match self.create_workspace(&request).await {
                // It was pruned in between.
                Err(ClientError::Refused { problem })
                    if problem.code == SEED_NOT_FOUND && !is_retry =>
                {
                    is_retry = true;
                }
                created => return Ok((created?, report)),
            }
        }
    }

    /// `POST /v1/seeds`: packs and sends. Gives the tree back, and how many files changed meanwhile.
    async fn send_seed(
        &self,
        tree: Tree,
        progress: impl Fn(SeedProgress) + Send + 'static,
    ) -> Result<(Tree, Seed, u64), ClientError> {
        let (send, pieces) = mpsc::channel::<io::Result<Bytes>>(WAITING);
        let query = [("fingerprint", Some(tree.fingerprint.clone()))];
        let mut call = Call::new(Method::POST, with_query("/v1/seeds".to_owned(), &query));
        let pieces = futures::stream::unfold(pieces, async |mut pieces| {
            let piece = pieces.recv().await?;
            Some((piece.map(Frame::data), pieces))
        });
        call.body = StreamBody::new(pieces).boxed_unsync();
        call.content_type = Some("application/x-tar");
        let packing = tokio::task::spawn_blocking(move || {
            let total = tree.total;
            let mut told = |tally: &pyro_archive::Tally| {
                progress(SeedProgress::Sending { bytes: tally.bytes, total });
            };
            let options = StreamOptions {
                rules: tree.rules.clone(),
                whole_seconds: true,
                progress: Some(&mut told),
                ..StreamOptions::default()
            };
            let packed = tree.source.stream(options, &mut Pieces(&send));
            if packed.is_err() {
                // So that the node does not take what came for all there is.
                let broken = io::Error::other("the files could not be read");
                let _ = send.blocking_send(Err(broken));
            }
            (tree, packed)
        });
        let sent = self.json::<Seed>(call).await;
        let (tree, packed) =
            packing.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        match (packed, sent) {
            // The node says more about it than that it does not listen any more.
            (Err(pyro_archive::Error::Sink { .. }) | Ok(_), Err(error)) => Err(error),
            (Err(source), _) => Err(ClientError::Files { source }),
            (Ok(tally), Ok(seed)) => Ok((tree, seed, tally.changed)),
        }
    }
}

const SEED_NOT_FOUND: &str = "seed_not_found";

/// Looks at the files. Of a checkout, what it is called by and known by is given.
fn survey(
    files: SeedFiles,
    checkout: Option<(String, String)>,
) -> Result<(Tree, SeedReport), ClientError> {
    let SeedFiles { path, excludes, respect_ignore } = files;
    let failed = |source| ClientError::Files { source };
    let rules = Rules { excludes, respect_ignore };
    let source = Source::open(&path).map_err(failed)?;
    let survey = source.survey(&rules, None).map_err(failed)?;
    let is_directory = source.is_directory();
    let (mode, fingerprint, path) = if let Some((fingerprint, named)) = checkout {
        ("git", fingerprint, Some(named))
    } else {
        let mode = if is_directory { "directory" } else { "tar_archive" };
        (mode, hexadecimal(&survey.fingerprint), Some(absolute(&path)))
    };
    let report = SeedReport {
        // What a repository tracks is wanted, whatever its ignore files say.
        ignored_entries: if mode == "git" { 0 } else { survey.ignored_entries },
        ignored_bytes: survey.ignored_bytes,
        respected_ignore: respect_ignore,
        sensitive: survey.sensitive,
        sensitive_count: survey.sensitive_count,
        skipped: survey.skipped,
        ..SeedReport::default()
    };
    let total = is_directory.then_some(survey.bytes);
    Ok((Tree { source, rules, fingerprint, mode, path, total }, report))
}

fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).to_string_lossy().into_owned()
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// Pieces of a body, written by a blocking thread.
struct Pieces<'a>(&'a mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(piece)));
        sent.map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
