//! The disks of stopped workspaces.

use pyro_core::WorkspaceId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::FileEntry;

/// What is in a directory of a stopped workspace.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DiskList {
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
}

/// A file of a stopped workspace, or a part of it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, ToSchema)]
pub struct DiskContent {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// Absolute.
    pub path: String,
    /// The path's bytes, where they are no UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_base64: Option<String>,
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
}

/// A workspace disk that was written to a file of the host.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct ExportedDisk {
    /// The workspace.
    #[schema(value_type = String)]
    pub workspace_id: WorkspaceId,
    /// The file.
    pub output_path: String,
    /// `ext4`: the disk as its guest has it, without a partition table.
    pub disk_format: String,
    /// The disk's size; where it is empty, the file takes no room.
    pub bytes_written: u64,
}
