//! What is different, and what a patch changed, into payloads.

use std::fmt::Write as _;

use pyro_api::{
    DiffEntry, DiffMark, DiffResult, DiffSummary, PatchResult, PatchSummary, PatchedFile,
};
use pyro_change::{Reviewed, marks};
use pyro_workspace::{ChangeStatus, Changed, Compared, FileKind, Found, Handle};

use super::{
    EXECUTION_MODE,
    files::{artifact_type, mode},
};
use crate::file_path;

pub(crate) fn patch_result(
    handle: &Handle,
    files: &[pyro_workspace::PatchedFile],
    checked: bool,
    patch: String,
    notices: Vec<String>,
) -> PatchResult {
    let count = |wanted: &[ChangeStatus]| {
        files.iter().filter(|file| wanted.contains(&file.status)).count() as u64
    };
    let summary = PatchSummary {
        total: files.len() as u64,
        added: count(&[ChangeStatus::Added]),
        modified: count(&[
            ChangeStatus::Modified,
            ChangeStatus::TypeChanged,
            ChangeStatus::Renamed,
        ]),
        deleted: count(&[ChangeStatus::Deleted]),
    };
    let entries = files.iter().map(|file| PatchedFile {
        path: file_path::text(&file.path),
        status: status(file.status).into(),
        old_path: file.old_path.as_deref().map(file_path::text),
        mended_hunks: file.mended_hunks,
    });
    PatchResult {
        workspace_id: handle.id(),
        changed: !checked && !files.is_empty(),
        checked,
        summary,
        entries: entries.collect(),
        patch,
        execution_mode: EXECUTION_MODE.into(),
        notices,
    }
}

fn status(status: ChangeStatus) -> &'static str {
    match status {
        ChangeStatus::Modified => "modified",
        ChangeStatus::Added => "added",
        ChangeStatus::Deleted => "deleted",
        ChangeStatus::TypeChanged => "type_changed",
        ChangeStatus::Renamed => "renamed",
    }
}

pub(crate) fn diff_result(
    handle: &Handle,
    (from, to): (String, String),
    Compared { changes, truncated, .. }: &Compared,
    notices: Vec<String>,
) -> DiffResult {
    let entries: Vec<DiffEntry> = changes.iter().map(diff_entry).collect();
    let patch: Vec<u8> =
        changes.iter().filter_map(|change| change.patch.as_deref()).flatten().copied().collect();
    DiffResult {
        workspace_id: handle.id(),
        changed: !entries.is_empty(),
        from,
        to,
        summary: summary(&entries),
        truncated: *truncated || changes.iter().any(|change| change.patch_left_out),
        entries,
        patch: String::from_utf8_lossy(&patch).into_owned(),
        notices,
    }
}

fn summary(entries: &[DiffEntry]) -> DiffSummary {
    let mut summary = DiffSummary { total: entries.len() as u64, ..DiffSummary::default() };
    for entry in entries {
        let count = match entry.status.as_str() {
            "added" => &mut summary.added,
            "deleted" => &mut summary.deleted,
            "type_changed" => &mut summary.type_changed,
            "renamed" => &mut summary.renamed,
            _ => &mut summary.modified,
        };
        *count += 1;
        let patched = entry.text_patch.is_some();
        *(if patched { &mut summary.text_patched } else { &mut summary.non_text }) += 1;
    }
    summary
}

fn diff_entry(change: &Changed) -> DiffEntry {
    let (now, was) = (change.now.as_ref(), change.was.as_ref());
    let path = file_path::text(&change.path);
    let is_renamed = change.status == ChangeStatus::Renamed;
    let link = |found: Option<&Found>| Some(file_path::text(found?.link_target.as_deref()?));
    let (link_target, old_link_target) = (link(now), link(was));
    let reviewed = Reviewed {
        path: &path,
        is_new: matches!(change.status, ChangeStatus::Added | ChangeStatus::Renamed),
        is_gone: now.is_none(),
        is_file: now.is_some_and(|found| found.kind == FileKind::Regular),
        mode: now.map(|found| found.mode),
        old_mode: was.map(|found| found.mode),
        size: now.map_or(0, |found| found.size_bytes),
        link_target: link_target.as_deref(),
    };
    let marks = marks(&reviewed)
        .iter()
        .map(|mark| DiffMark { code: mark.code.into(), reason: mark.reason.into() })
        .collect();
    let kind = now.or(was).map_or(FileKind::Other, |found| found.kind);
    DiffEntry {
        path_base64: file_path::bytes(&change.path),
        status: status(change.status).into(),
        artifact_type: artifact_type(kind).into(),
        text_patch: change
            .patch
            .as_deref()
            .map(|patch| String::from_utf8_lossy(patch).into_owned()),
        text_patch_left_out: change.patch_left_out,
        binary: change.binary,
        old_path: was.filter(|_| is_renamed).map(|found| file_path::text(&found.path)),
        mode: now.map(|found| mode(found.mode)),
        old_mode: was.map(|found| mode(found.mode)),
        size_bytes: now.map(|found| found.size_bytes),
        old_size_bytes: was.map(|found| found.size_bytes),
        sha256: change.now_digest.as_deref().map(hexadecimal),
        old_sha256: change.was_digest.as_deref().map(hexadecimal),
        link_target,
        old_link_target,
        marks,
        path,
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
