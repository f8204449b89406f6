//! Files of a workspace: list, read, write, edit and search them, and apply patches to them.

use std::fmt::Write as _;

use pyro_api::{
    ApplyPatch, EditFile, FileContent, FileEntry, FileStatus, MakeDirectory, MoveFile, PatchedFile,
    RemoveFile, SearchFiles, SearchMatch, WriteFile,
};
use pyro_client::{FilePath, ReadQuery};
use pyro_core::Problem;
use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, object},
    call::{Call, LIST_BUDGET},
    exec::{fitting, fitting_within},
    output::cost,
};

/// The most matches that the node tells.
const MOST_MATCHES: u64 = 10_000;

/// `workspace_file_list`.
pub(crate) async fn list(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let path = FilePath::from(call.arguments.required("path"));
    let recursive = call.arguments.flag("recursive");
    let list = async move { node.files(&workspace, &path, recursive, false).await };
    let list = call.within("listing files", list).await?;
    let count = list.entries.len();
    let more = if list.truncated { " or more" } else { "" };
    let mut text = format!("{count}{more} entries in {}\n", list.path);
    let shown = list.entries.iter().skip(call.arguments.number("offset")).map(listed);
    let (entries, omitted) = fitting(shown, &mut text, call);
    let document = json!({"workspace_id": list.workspace_id, "path": list.path,
        "recursive": list.recursive, "count": count, "entries": entries,
        "omitted_count": omitted, "truncated": list.truncated,
        "execution_mode": list.execution_mode});
    Ok(Answer::new(text, &document).with_notices(list.notices))
}

/// An entry as a line and as a document.
pub(crate) fn listed(entry: &FileEntry) -> (String, Map<String, Value>) {
    let line = match (entry.artifact_type.as_str(), &entry.link_target) {
        ("directory", _) => format!("{}/\n", entry.path),
        (_, Some(target)) => format!("{} -> {target}\n", entry.path),
        ("file", None) => format!("{}  {} bytes\n", entry.path, entry.size_bytes),
        (kind, None) => format!("{}  {kind}\n", entry.path),
    };
    (line, object(entry))
}

/// `workspace_file_read`.
pub(crate) async fn read(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let path = FilePath::from(call.arguments.required("path"));
    let budget = call.arguments.number("max_bytes");
    let mut part = ReadQuery {
        max_bytes: Some(budget as u64),
        offset: call.arguments.integer("offset"),
        first_line: call.arguments.integer("first_line"),
        line_count: call.arguments.integer("line_count"),
    };
    let read = async move {
        loop {
            let read = node.read_file(&workspace, &path, &part, false).await?;
            // Control characters cost more in a document than they are long.
            if cost(&read.content) <= budget || read.bytes_read <= 1 {
                return Ok(read);
            }
            part.max_bytes = Some(less(read.bytes_read, &read.content, budget));
        }
    };
    Ok(content(call.within("reading the file", read).await?))
}

/// How many bytes of a file to read where its content costs too much.
pub(crate) fn less(bytes_read: u64, content: &str, budget: usize) -> u64 {
    let fits = bytes_read.saturating_mul(budget as u64) / (cost(content) as u64).max(1);
    fits.min(bytes_read - 1).max(1)
}

fn content(mut read: FileContent) -> Answer {
    end_at_a_character(&mut read);
    let end = read.offset + read.bytes_read;
    let mut text = if read.bytes_read == read.size_bytes {
        format!("{}: {} bytes\n", read.path, read.size_bytes)
    } else {
        format!("{}: bytes {} to {end} of {}\n", read.path, read.offset, read.size_bytes)
    };
    let lossy = read.content_base64.take().is_some();
    let mut notices = std::mem::take(&mut read.notices);
    if lossy {
        notices.push(
            "bytes that are no text are shown as \u{fffd}; workspace_exec with base64 or xxd shows \
             them"
                .to_owned(),
        );
    }
    text.push_str(&read.content);
    if read.truncated {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let left = read.size_bytes.saturating_sub(end);
        let _ = writeln!(text, "[{left} bytes more: call again with offset={end}]");
    }
    let mut document = object(&read);
    document.insert("next_offset".to_owned(), end.into());
    document.insert("lossy".to_owned(), lossy.into());
    Answer { text, document, ..Answer::default() }.with_notices(notices)
}

/// Leaves a last character to the next part where this one has only its beginning.
fn end_at_a_character(read: &mut FileContent) {
    let Some(whole) = read.content.strip_suffix('\u{fffd}') else { return };
    let is_text = !whole.is_empty() && !whole.contains('\u{fffd}');
    if read.truncated && read.content_base64.is_some() && is_text {
        read.content = whole.to_owned();
        read.bytes_read = read.content.len() as u64;
        read.content_base64 = None;
    }
}

/// `workspace_file_write`.
pub(crate) async fn write(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let request = WriteFile {
        path: call.arguments.required("path").to_owned(),
        text: Some(call.arguments.required("text").to_owned()),
        mode: call.arguments.text("mode").map(str::to_owned),
        create_only: call.arguments.flag("create_only"),
        ..WriteFile::default()
    };
    let write = async move { node.write_file(&workspace, &request).await };
    let mut written = call.within("writing the file", write).await?;
    let notices = std::mem::take(&mut written.notices);
    let text = format!("wrote {}: {} bytes", written.path, written.size_bytes);
    Ok(Answer::new(text, &written).with_notices(notices))
}

/// `workspace_file_edit`.
pub(crate) async fn edit(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let request = EditFile {
        path: call.arguments.required("path").to_owned(),
        old: call.arguments.required("old").to_owned(),
        new: call.arguments.required("new").to_owned(),
        replace_all: call.arguments.flag("replace_all"),
        ..EditFile::default()
    };
    let edit = async move { node.edit_file(&workspace, &request).await };
    let mut edited = call.within("editing the file", edit).await?;
    let notices = std::mem::take(&mut edited.notices);
    let (count, size) = (edited.replacements, edited.size_bytes);
    let text = format!("edited {}: {count} replaced, {size} bytes now", edited.path);
    Ok(Answer::new(text, &edited).with_notices(notices))
}

/// `workspace_file_stat`.
pub(crate) async fn stat(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let path = FilePath::from(call.arguments.required("path"));
    let follow = call.arguments.flag("follow");
    let look = async move { node.file_status(&workspace, &path, follow, false).await };
    Ok(standing(call.within("looking at the file", look).await?))
}

/// `workspace_file_move`.
pub(crate) async fn rename(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let request = MoveFile {
        path: call.arguments.required("path").to_owned(),
        to: call.arguments.required("to").to_owned(),
        replace: call.arguments.flag("replace"),
        ..MoveFile::default()
    };
    let rename = async move { node.move_file(&workspace, &request).await };
    Ok(standing(call.within("moving the file", rename).await?))
}

/// `workspace_file_mkdir`.
pub(crate) async fn mkdir(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let request = MakeDirectory {
        path: call.arguments.required("path").to_owned(),
        mode: call.arguments.text("mode").map(str::to_owned),
        ..MakeDirectory::default()
    };
    let make = async move { node.make_directory(&workspace, &request).await };
    Ok(standing(call.within("making the directory", make).await?))
}

/// What is at a path, with all that is known of it.
fn standing(mut status: FileStatus) -> Answer {
    let notices = std::mem::take(&mut status.notices);
    let (line, _) = listed(&status.entry);
    let text = format!("{}, mode {}", line.trim_end(), status.entry.mode);
    Answer::new(text, &status).with_notices(notices)
}

/// `workspace_file_remove`.
pub(crate) async fn remove(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let request = RemoveFile {
        path: call.arguments.required("path").to_owned(),
        recursive: call.arguments.flag("recursive"),
        ..RemoveFile::default()
    };
    let remove = async move { node.remove_file(&workspace, &request).await };
    let mut gone = call.within("removing the file", remove).await?;
    let notices = std::mem::take(&mut gone.notices);
    Ok(Answer::new(format!("removed {}", gone.path), &gone).with_notices(notices))
}

/// `workspace_file_search`.
pub(crate) async fn search(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let arguments = &call.arguments;
    let skip = arguments.number("offset");
    let most = arguments.integer("max_matches").unwrap_or_default() + skip as u64;
    let request = SearchFiles {
        pattern: arguments.required("pattern").to_owned(),
        path: arguments.text("path").map(str::to_owned),
        literal: arguments.flag("literal"),
        ignore_case: arguments.flag("ignore_case"),
        globs: arguments.list("globs"),
        context: u32::try_from(arguments.number("context")).unwrap_or_default(),
        max_matches: Some(most.min(MOST_MATCHES)),
        all: arguments.flag("all"),
        names_only: arguments.flag("names_only"),
        no_start: false,
    };
    let search = async move { node.search_files(&workspace, &request).await };
    let found = call.within("the search", search).await?;
    let more = if found.truncated { " or more" } else { "" };
    let (count, files) = (found.count, found.files_searched);
    let mut text = format!("{count}{more} found in {files} files of {}\n", found.path);
    let mut last = None;
    let entry = |one| (match_line(one, &mut last), object(one));
    let shown = found.matches.iter().skip(skip).map(entry);
    let (matches, omitted) = fitting(shown, &mut text, call);
    if found.truncated && omitted == 0 {
        let next = skip + matches.len();
        let _ = writeln!(text, "there may be more: call again with offset={next}");
    }
    let document = json!({"workspace_id": found.workspace_id, "path": found.path,
        "pattern": found.pattern, "count": count, "files_searched": files,
        "truncated": found.truncated, "matches": matches, "omitted_count": omitted,
        "execution_mode": found.execution_mode});
    Ok(Answer::new(text, &document).with_notices(found.notices))
}

/// A found line, below its file's name where that is another than the last.
fn match_line<'a>(found: &'a SearchMatch, last: &mut Option<&'a str>) -> String {
    let mut text = String::new();
    if *last != Some(&found.path) {
        let _ = writeln!(text, "{}", found.path);
        *last = Some(&found.path);
    }
    if let Some(number) = found.line_number {
        let sign = if found.context { '-' } else { ':' };
        let _ = writeln!(text, "{number}{sign} {}", found.line);
    }
    text
}

/// `workspace_patch_apply`.
pub(crate) async fn patch(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let request = ApplyPatch {
        patch: Some(call.arguments.required("patch").to_owned()),
        base: call.arguments.text("base").map(str::to_owned),
        check: call.arguments.flag("check"),
        ..ApplyPatch::default()
    };
    let apply = async move { node.apply_patch(&workspace, &request).await };
    let mut done = call.within("applying the patch", apply).await?;
    let summary = done.summary;
    let mut text = format!(
        "{}: {} files: {} added, {} modified, {} deleted\n",
        match (done.checked, done.changed) {
            (true, _) => "the patch applies, and was not applied",
            (false, true) => "applied",
            (false, false) => "nothing changed",
        },
        summary.total,
        summary.added,
        summary.modified,
        summary.deleted
    );
    let line = |entry: &PatchedFile| {
        let from = entry.old_path.as_ref().map(|path| format!(" (was {path})"));
        let mended = match entry.mended_hunks {
            0 => String::new(),
            count => format!(" ({count} hunks were not where they said)"),
        };
        format!("{} {}{}{mended}\n", entry.status, entry.path, from.unwrap_or_default())
    };
    let entries = done.entries.iter().map(|entry| (line(entry), object(entry)));
    let (entries, omitted) = fitting_within(LIST_BUDGET, entries, &mut text);
    if omitted > 0 {
        let _ = writeln!(text, "{omitted} more: workspace_diff shows them");
    }
    let notices = std::mem::take(&mut done.notices);
    done.patch.clear();
    done.entries.clear();
    let mut document = object(&done);
    // The caller has it.
    document.remove("patch");
    document.insert("entries".to_owned(), entries.into());
    document.insert("omitted_count".to_owned(), omitted.into());
    Ok(Answer { text, document, ..Answer::default() }.with_notices(notices))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &str, offset: u64, size_bytes: u64) -> FileContent {
        FileContent {
            workspace_id: "5bd934b76d4a".parse().unwrap(),
            path: "/workspace/f".to_owned(),
            size_bytes,
            max_bytes: 10_000,
            content: content.to_owned(),
            content_base64: None,
            offset,
            bytes_read: content.len() as u64,
            truncated: offset + (content.len() as u64) < size_bytes,
            mode: "0644".to_owned(),
            execution_mode: "guest_vsock".to_owned(),
            notices: Vec::new(),
        }
    }

    #[test]
    fn a_whole_file_is_its_content() {
        let answer = content(read("a\nb\n", 0, 4));
        assert_eq!(answer.text, "/workspace/f: 4 bytes\na\nb\n");
        assert_eq!(answer.document["content"], "a\nb\n");
    }

    #[test]
    fn a_part_says_where_to_read_on() {
        let answer = content(read("bcd", 1, 9));
        assert_eq!(
            answer.text,
            "/workspace/f: bytes 1 to 4 of 9\nbcd\n[5 bytes more: call again with offset=4]\n"
        );
        assert_eq!(answer.document["next_offset"], 4);
    }

    #[test]
    fn bytes_that_are_no_text_are_told_and_not_sent_twice() {
        let mut binary = read("\u{fffd}", 0, 3);
        binary.content_base64 = Some("/w==".to_owned());
        let answer = content(binary);
        assert!(answer.text.starts_with("note: bytes that are no text"));
        assert!(!answer.document.contains_key("content_base64"));
        assert_eq!(answer.document["lossy"], true);
    }

    #[test]
    fn a_character_is_not_read_in_two() {
        let mut part = read("ab\u{fffd}", 0, 9);
        part.bytes_read = 3;
        part.content_base64 = Some("YWLD".to_owned());
        let answer = content(part);
        assert_eq!(answer.document["content"], "ab");
        assert_eq!(answer.document["next_offset"], 2);
        assert_eq!(answer.document["lossy"], false);
    }

    #[test]
    fn what_costs_too_much_is_read_in_smaller_parts() {
        let zeros = read(&"\0".repeat(10_000), 0, 10_000);
        assert_eq!(less(zeros.bytes_read, &zeros.content, 10_000), 1666);
        assert_eq!(less(2, "\0\0", 11), 1);
    }

    #[test]
    fn found_lines_stand_below_their_file() {
        let found = |path: &str, number, context| SearchMatch {
            path: path.to_owned(),
            path_base64: None,
            line_number: number,
            line: "x".to_owned(),
            context,
        };
        let all =
            [found("/a", Some(1), true), found("/a", Some(2), false), found("/b", None, false)];
        let mut last = None;
        let text: String = all.iter().map(|one| match_line(one, &mut last)).collect();
        assert_eq!(text, "/a\n1- x\n2: x\n/b\n");
    }
}
