//! Files of a workspace: looked at, changed, taken in and out.
//!
//! Paths are absolute or relative to `/workspace`. One that is no UTF-8 is told with replacement characters
//! and, whole, as `path_base64`; it is asked for by that.

use pyro_core::WorkspaceId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The header that says what an export is of: `file`, `directory` or `symlink`.
pub const ARTIFACT_HEADER: &str = "x-pyro-artifact-type";

/// The trailer that says why an export broke off: an `ErrorBody`.
pub const PROBLEM_TRAILER: &str = "x-pyro-problem";

/// A name in a workspace.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct FileEntry {
    /// Absolute.
    pub path: String,
    /// The path's bytes, where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// `file`, `directory`, `symlink`, or `other`: a pipe, a socket, a device.
    pub artifact_type: String,
    /// Of its content; 0 of a directory.
    pub size_bytes: u64,
    /// Of a symlink, as it stands there.
    pub link_target: Option<String>,
    /// Its permissions in octal, as `0644`.
    pub mode: String,
    /// When it was last modified.
    pub modified_at: f64,
    /// Its owner's number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
}

/// What one path stands for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct FileStatus {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// What is there.
    #[serde(flatten)]
    pub entry: FileEntry,
    /// How the guest was reached.
    pub execution_mode: String,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// What is in a directory.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct FileList {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Absolute.
    pub path: String,
    /// Whether directories in it were gone into.
    pub recursive: bool,
    /// Depth first, siblings sorted by their bytes.
    pub entries: Vec<FileEntry>,
    /// There is more than was told.
    pub truncated: bool,
    /// How the guest was reached.
    pub execution_mode: String,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// A file's content, or a part of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct FileContent {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Absolute.
    pub path: String,
    /// Of the whole file.
    pub size_bytes: u64,
    /// The most that was to be read.
    pub max_bytes: u64,
    /// UTF-8, with replacement characters where it is none.
    pub content: String,
    /// The content's bytes, where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
    /// Of its first byte.
    pub offset: u64,
    /// How many bytes were read.
    pub bytes_read: u64,
    /// There is more behind it.
    pub truncated: bool,
    /// Permissions in octal.
    pub mode: String,
    /// How the guest was reached.
    pub execution_mode: String,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// Writes a file, whole or not at all; its directories are made. Exactly one of `text` and
/// `content_base64`, at most 1 MiB.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteFile {
    /// Where. A symlink there is followed.
    #[serde(default)]
    pub path: String,
    /// The path's bytes, instead.
    #[serde(default)]
    pub path_base64: Option<String>,
    /// What is written.
    #[serde(default)]
    pub text: Option<String>,
    /// What is written, as bytes.
    #[serde(default)]
    pub content_base64: Option<String>,
    /// Permissions in octal; null: as they were, of a new file 0644.
    #[serde(default)]
    pub mode: Option<String>,
    /// A file that is there is an error.
    #[serde(default)]
    pub create_only: bool,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    pub no_start: bool,
}

/// A file that was written.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct WrittenFile {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Absolute.
    pub path: String,
    /// Of the file.
    pub size_bytes: u64,
    /// Of what was sent.
    pub bytes_written: u64,
    /// Permissions in octal.
    pub mode: String,
    /// How the guest was reached.
    pub execution_mode: String,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// Replaces text in a file, whole or not at all.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditFile {
    /// Which. A symlink there is followed.
    #[serde(default)]
    pub path: String,
    /// The path's bytes, instead.
    #[serde(default)]
    pub path_base64: Option<String>,
    /// What is replaced; it must be there exactly once, unless `replace_all`.
    pub old: String,
    /// What takes its place.
    pub new: String,
    /// Replace it wherever it is.
    #[serde(default)]
    pub replace_all: bool,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    pub no_start: bool,
}

/// A file in which text was replaced.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct EditedFile {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Absolute.
    pub path: String,
    /// How many places were changed.
    pub replacements: u64,
    /// Of the file as it is now.
    pub size_bytes: u64,
    /// How the guest was reached.
    pub execution_mode: String,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// Renames a file or a directory; directories of the target are made.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveFile {
    /// What. Not followed.
    #[serde(default)]
    pub path: String,
    /// The path's bytes, instead.
    #[serde(default)]
    pub path_base64: Option<String>,
    /// Its new path.
    #[serde(default)]
    pub to: String,
    /// The new path's bytes, instead.
    #[serde(default)]
    pub to_base64: Option<String>,
    /// A file that is there is replaced.
    #[serde(default)]
    pub replace: bool,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    pub no_start: bool,
}

/// Removes a file or a directory.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RemoveFile {
    /// What. Not followed.
    #[serde(default)]
    pub path: String,
    /// The path's bytes, instead.
    #[serde(default)]
    pub path_base64: Option<String>,
    /// A directory with all that is in it.
    #[serde(default)]
    pub recursive: bool,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    pub no_start: bool,
}

/// A file or a directory that is gone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct RemovedFile {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Absolute.
    pub path: String,
    /// Always true.
    pub removed: bool,
    /// How the guest was reached.
    pub execution_mode: String,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// Makes a directory with those it lies in; one that is there is left as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MakeDirectory {
    /// Where.
    #[serde(default)]
    pub path: String,
    /// The path's bytes, instead.
    #[serde(default)]
    pub path_base64: Option<String>,
    /// Permissions in octal; null: 0755.
    #[serde(default)]
    pub mode: Option<String>,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    pub no_start: bool,
}

/// Looks for lines.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SearchFiles {
    /// A regular expression, of lines.
    pub pattern: String,
    /// Where: a file or a directory; default `/workspace`.
    #[serde(default)]
    pub path: Option<String>,
    /// The pattern is a text.
    #[serde(default)]
    pub literal: bool,
    /// Upper and lower case are alike.
    #[serde(default)]
    pub ignore_case: bool,
    /// Only files with such names, as in a .gitignore; with ! in front: not those.
    #[serde(default)]
    pub globs: Vec<String>,
    /// Lines before and after; 0 to 20, default 0.
    #[serde(default)]
    pub context: u32,
    /// The most lines that are told; 1 to 10,000, default 200.
    #[serde(default)]
    pub max_matches: Option<u64>,
    /// Also what .gitignore names, and what is hidden.
    #[serde(default)]
    pub all: bool,
    /// Names of files only, each once.
    #[serde(default)]
    pub names_only: bool,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    pub no_start: bool,
}

/// Lines that were found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SearchResult {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Where was looked.
    pub path: String,
    /// What for.
    pub pattern: String,
    /// How many lines, or names, were found.
    pub count: u64,
    /// How many files were looked into.
    pub files_searched: u64,
    /// There may be more than was told.
    pub truncated: bool,
    /// By path and line.
    pub matches: Vec<SearchMatch>,
    /// How the guest was reached.
    pub execution_mode: String,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// A line that was found, or one beside it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct SearchMatch {
    /// Absolute.
    pub path: String,
    /// The path's bytes, where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// 1 for the first; null where only names were asked for.
    pub line_number: Option<u64>,
    /// Without its end; of a very long one a part.
    pub line: String,
    /// It only stands beside one that was found.
    pub context: bool,
}

/// Changes files as a patch says, all or nothing. Exactly one of `patch` and `patch_base64`, at most
/// 1 MiB.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyPatch {
    /// What `git diff` and `diff -u` write, or a model.
    #[serde(default)]
    pub patch: Option<String>,
    /// The same as bytes.
    #[serde(default)]
    pub patch_base64: Option<String>,
    /// What its names are relative to; default `/workspace`.
    #[serde(default)]
    pub base: Option<String>,
    /// Say what would be, and change nothing.
    #[serde(default)]
    pub check: bool,
    /// Do not start a stopped workspace for this; fail instead.
    #[serde(default)]
    pub no_start: bool,
}

/// What a patch changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PatchResult {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Whether anything is different now.
    pub changed: bool,
    /// It was only looked at what would be.
    pub checked: bool,
    /// Counts.
    pub summary: PatchSummary,
    /// File by file.
    pub entries: Vec<PatchedFile>,
    /// The patch, as it came.
    pub patch: String,
    /// How the guest was reached.
    pub execution_mode: String,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// Counts of what a patch changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct PatchSummary {
    /// Files.
    pub total: u64,
    /// New ones.
    pub added: u64,
    /// Changed ones, renamed ones with them.
    pub modified: u64,
    /// Those that are gone.
    pub deleted: u64,
}

/// A file that a patch changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct PatchedFile {
    /// Absolute.
    pub path: String,
    /// `added`, `modified`, `deleted` or `renamed`.
    pub status: String,
    /// Of a renamed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_path: Option<String>,
    /// Hunks that were found elsewhere than they said, or needed mending.
    pub mended_hunks: u64,
}

/// What is different.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DiffResult {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Whether anything is.
    pub changed: bool,
    /// What it was: `baseline`, or a snapshot's name.
    pub from: String,
    /// What it is: `now`, or a snapshot's name.
    pub to: String,
    /// Counts.
    pub summary: DiffSummary,
    /// By path.
    pub entries: Vec<DiffEntry>,
    /// The patches of all entries, as `git apply` takes them.
    pub patch: String,
    /// There is more than was told, or patches were left out for their length.
    pub truncated: bool,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}

/// Counts of what is different.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct DiffSummary {
    /// All.
    pub total: u64,
    /// New.
    pub added: u64,
    /// Changed in content, mode or link.
    pub modified: u64,
    /// Gone.
    pub deleted: u64,
    /// Something else than it was: a directory that was a file.
    pub type_changed: u64,
    /// Under another name; only where renames were asked for.
    pub renamed: u64,
    /// Those with a patch.
    pub text_patched: u64,
    /// Those without.
    pub non_text: u64,
}

/// A path that is different.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DiffEntry {
    /// Relative to `/workspace`.
    pub path: String,
    /// The path's bytes, where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
    /// `added`, `modified`, `deleted`, `type_changed`, or `renamed`.
    pub status: String,
    /// `file`, `directory`, `symlink` or `other`: what it is, or was where it is gone.
    pub artifact_type: String,
    /// Its patch, where it is text.
    pub text_patch: Option<String>,
    /// There would be a patch, but it is too long.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub text_patch_left_out: bool,
    /// Its content is no text.
    pub binary: bool,
    /// Of a renamed one: the path it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_path: Option<String>,
    /// Permissions in octal; null where it is gone.
    pub mode: Option<String>,
    /// Permissions it had; null where it is new.
    pub old_mode: Option<String>,
    /// Bytes; null where it is gone.
    pub size_bytes: Option<u64>,
    /// Bytes it had; null where it is new.
    pub old_size_bytes: Option<u64>,
    /// SHA-256 of its content, in hexadecimal, where it is binary or that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The same of what it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_sha256: Option<String>,
    /// Of a symlink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link_target: Option<String>,
    /// Of what was a symlink.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_link_target: Option<String>,
    /// Why it is worth a second look.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub marks: Vec<DiffMark>,
}

/// Why a change is worth a second look.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DiffMark {
    /// Stable: `new_executable`, `link_leaves_tree`, `git_hook`, ...
    pub code: String,
    /// The same in words.
    pub reason: String,
}

/// What became of files that were sent.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct UnpackedFiles {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Where they are, absolute.
    pub destination: String,
    /// How many names.
    pub entry_count: u64,
    /// Bytes of content.
    pub bytes_written: u64,
    /// Names that were removed, because they did not come.
    pub removed_count: u64,
    /// How the guest was reached.
    pub execution_mode: String,
    /// What else there is to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notices: Vec<String>,
}
