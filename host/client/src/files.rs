//! The routes of files.

use bytes::Bytes;
use http::Method;
use pyro_api::{
    ApplyPatch, DiffResult, EditFile, EditedFile, FileContent, FileList, FileStatus, MakeDirectory,
    MoveFile, PatchResult, RemoveFile, RemovedFile, SearchFiles, SearchResult, WriteFile,
    WrittenFile,
};

use crate::{
    ClientError, Node,
    connection::{Call, collect, segment, with_query},
};

/// A path in a workspace, as it is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FilePath {
    /// Absolute, or relative to `/workspace`.
    pub path: String,
    /// Its bytes in base64, where they are no UTF-8.
    pub path_base64: Option<String>,
}

impl From<&str> for FilePath {
    fn from(path: &str) -> Self {
        Self { path: path.to_owned(), path_base64: None }
    }
}

impl FilePath {
    pub(crate) fn parameters(&self) -> [(&'static str, Option<String>); 2] {
        let text = self.path_base64.is_none().then(|| self.path.clone());
        [("path", text), ("path_base64", self.path_base64.clone())]
    }
}

/// Which part of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadQuery {
    /// The most bytes; none: the node's default.
    pub max_bytes: Option<u64>,
    /// The first byte.
    pub offset: Option<u64>,
    /// The first line, 1 for the first.
    pub first_line: Option<u64>,
    /// How many lines.
    pub line_count: Option<u64>,
}

/// What to compare.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct DiffQuery {
    /// Only these and what is in them; none: all.
    pub paths: Vec<String>,
    /// Tell files that only have another name as renamed.
    pub renames: bool,
    /// Leave out patches.
    pub summary_only: bool,
    /// SHA-256 of every regular file.
    pub digests: bool,
    /// A longer patch of one file is left out.
    pub max_patch_bytes: Option<u64>,
    /// When the patches are longer together, the rest is left out.
    pub max_total_bytes: Option<u64>,
    /// What it was; none: the baseline.
    pub from: Option<String>,
    /// What became of it; none: what it is.
    pub to: Option<String>,
    /// Fail rather than start a stopped workspace.
    pub no_start: bool,
}

impl DiffQuery {
    fn target(&self, route: String) -> String {
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let paths = (!self.paths.is_empty()).then(|| self.paths.join("\n"));
        let query = [
            ("paths", paths),
            ("renames", flag(self.renames)),
            ("summary_only", flag(self.summary_only)),
            ("digests", flag(self.digests)),
            ("max_patch_bytes", number(self.max_patch_bytes)),
            ("max_total_bytes", number(self.max_total_bytes)),
            ("from", self.from.clone()),
            ("to", self.to.clone()),
            ("no_start", flag(self.no_start)),
        ];
        with_query(route, &query)
    }
}

pub(crate) fn flag(set: bool) -> Option<String> {
    set.then(|| "true".to_owned())
}

pub(crate) fn route(workspace: &str, rest: &str) -> String {
    format!("/v1/workspaces/{}/{rest}", segment(workspace))
}

impl Node {
    /// `GET /v1/workspaces/{w}/files`.
    pub async fn files(
        &self,
        workspace: &str,
        path: &FilePath,
        recursive: bool,
        no_start: bool,
    ) -> Result<FileList, ClientError> {
        let [text, bytes] = path.parameters();
        let query = [text, bytes, ("recursive", flag(recursive)), ("no_start", flag(no_start))];
        self.get(with_query(route(workspace, "files"), &query)).await
    }

    /// `GET /v1/workspaces/{w}/files/status`.
    pub async fn file_status(
        &self,
        workspace: &str,
        path: &FilePath,
        follow: bool,
        no_start: bool,
    ) -> Result<FileStatus, ClientError> {
        let [text, bytes] = path.parameters();
        let query = [text, bytes, ("follow", flag(follow)), ("no_start", flag(no_start))];
        self.get(with_query(route(workspace, "files/status"), &query)).await
    }

    /// `GET /v1/workspaces/{w}/files/content`.
    pub async fn read_file(
        &self,
        workspace: &str,
        path: &FilePath,
        part: &ReadQuery,
        no_start: bool,
    ) -> Result<FileContent, ClientError> {
        let [text, bytes] = path.parameters();
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let query = [
            text,
            bytes,
            ("max_bytes", number(part.max_bytes)),
            ("offset", number(part.offset)),
            ("first_line", number(part.first_line)),
            ("line_count", number(part.line_count)),
            ("no_start", flag(no_start)),
        ];
        self.get(with_query(route(workspace, "files/content"), &query)).await
    }

    /// `PUT /v1/workspaces/{w}/files/content`.
    pub async fn write_file(
        &self,
        workspace: &str,
        request: &WriteFile,
    ) -> Result<WrittenFile, ClientError> {
        let call = Call::new(Method::PUT, route(workspace, "files/content"));
        self.json(call.json(request)).await
    }

    /// `POST /v1/workspaces/{w}/files/edit`.
    pub async fn edit_file(
        &self,
        workspace: &str,
        request: &EditFile,
    ) -> Result<EditedFile, ClientError> {
        self.json(Call::new(Method::POST, route(workspace, "files/edit")).json(request)).await
    }

    /// `POST /v1/workspaces/{w}/files/move`.
    pub async fn move_file(
        &self,
        workspace: &str,
        request: &MoveFile,
    ) -> Result<FileStatus, ClientError> {
        self.json(Call::new(Method::POST, route(workspace, "files/move")).json(request)).await
    }

    /// `POST /v1/workspaces/{w}/files/remove`.
    pub async fn remove_file(
        &self,
        workspace: &str,
        request: &RemoveFile,
    ) -> Result<RemovedFile, ClientError> {
        self.json(Call::new(Method::POST, route(workspace, "files/remove")).json(request)).await
    }

    /// `POST /v1/workspaces/{w}/files/directory`.
    pub async fn make_directory(
        &self,
        workspace: &str,
        request: &MakeDirectory,
    ) -> Result<FileStatus, ClientError> {
        self.json(Call::new(Method::POST, route(workspace, "files/directory")).json(request)).await
    }

    /// `POST /v1/workspaces/{w}/files/search`.
    pub async fn search_files(
        &self,
        workspace: &str,
        request: &SearchFiles,
    ) -> Result<SearchResult, ClientError> {
        self.json(Call::new(Method::POST, route(workspace, "files/search")).json(request)).await
    }

    /// `POST /v1/workspaces/{w}/patch`.
    pub async fn apply_patch(
        &self,
        workspace: &str,
        request: &ApplyPatch,
    ) -> Result<PatchResult, ClientError> {
        self.json(Call::new(Method::POST, route(workspace, "patch")).json(request)).await
    }

    /// `GET /v1/workspaces/{w}/diff`.
    pub async fn diff(
        &self,
        workspace: &str,
        query: &DiffQuery,
    ) -> Result<DiffResult, ClientError> {
        self.get(query.target(route(workspace, "diff"))).await
    }

    /// `GET /v1/workspaces/{w}/diff/patch`: what `git apply` takes.
    pub async fn diff_patch(
        &self,
        workspace: &str,
        query: &DiffQuery,
    ) -> Result<Bytes, ClientError> {
        let call = Call::new(Method::GET, query.target(route(workspace, "diff/patch")));
        let name = call.name();
        collect(&name, self.send(call).await?).await
    }
}
