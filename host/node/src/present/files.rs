//! Files and what is in them, into payloads.

use pyro_api::{DiskContent, FileContent, FileEntry, FileStatus, SearchMatch};
use pyro_workspace::{FileKind, FilePart, Files, Found, Handle, SearchedLine};

use super::EXECUTION_MODE;
use crate::{file_path, routes::execs::notices};

/// Permissions, in octal.
pub(crate) fn mode(mode: u32) -> String {
    format!("{mode:04o}")
}

/// What a name stands for.
pub(crate) fn artifact_type(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Regular => "file",
        FileKind::Directory => "directory",
        FileKind::Symlink => "symlink",
        FileKind::Other => "other",
    }
}

pub(crate) fn file_entry(found: &Found) -> FileEntry {
    let (seconds, nanos) = found.modified;
    FileEntry {
        path: file_path::text(&found.path),
        path_base64: file_path::bytes(&found.path),
        artifact_type: artifact_type(found.kind).into(),
        size_bytes: found.size_bytes,
        link_target: found.link_target.as_deref().map(file_path::text),
        mode: mode(found.mode),
        modified_at: seconds as f64 + f64::from(nanos) / 1e9,
        uid: found.uid,
        gid: found.gid,
    }
}

pub(crate) fn file_status(handle: &Handle, files: &Files, found: &Found) -> FileStatus {
    FileStatus {
        workspace_id: handle.id(),
        entry: file_entry(found),
        execution_mode: EXECUTION_MODE.into(),
        notices: notices(handle, files.started_workspace),
    }
}

pub(crate) fn file_content(
    handle: &Handle,
    part: FilePart,
    max_bytes: u64,
    notices: Vec<String>,
) -> FileContent {
    let bytes_read = part.content.len() as u64;
    // Of a file that only exists when it is read (as those of /proc), the size says nothing.
    let truncated = part.offset.saturating_add(bytes_read) < part.found.size_bytes
        || bytes_read == max_bytes && part.found.size_bytes == 0;
    let (content, content_base64) = match String::from_utf8(part.content) {
        Ok(text) => (text, None),
        Err(other) => {
            let bytes = other.as_bytes();
            (String::from_utf8_lossy(bytes).into_owned(), Some(file_path::encoded(bytes)))
        }
    };
    FileContent {
        workspace_id: handle.id(),
        path: file_path::text(&part.found.path),
        size_bytes: part.found.size_bytes,
        max_bytes,
        content,
        content_base64,
        offset: part.offset,
        bytes_read,
        truncated,
        mode: mode(part.found.mode),
        execution_mode: EXECUTION_MODE.into(),
        notices,
    }
}

pub(crate) fn search_match(line: &SearchedLine) -> SearchMatch {
    SearchMatch {
        path: file_path::text(&line.path),
        path_base64: file_path::bytes(&line.path),
        line_number: line.number,
        line: file_path::text(&line.line),
        context: line.is_context,
    }
}

pub(crate) fn disk_content(handle: &Handle, part: FilePart, max_bytes: u64) -> DiskContent {
    let path_base64 = file_path::bytes(&part.found.path);
    let end = part.offset.saturating_add(part.content.len() as u64);
    let truncated = end < part.found.size_bytes;
    let file = file_content(handle, part, max_bytes, Vec::new());
    DiskContent {
        workspace_id: file.workspace_id,
        path: file.path,
        path_base64,
        size_bytes: file.size_bytes,
        max_bytes,
        content: file.content,
        content_base64: file.content_base64,
        offset: file.offset,
        bytes_read: file.bytes_read,
        truncated,
        mode: file.mode,
    }
}
