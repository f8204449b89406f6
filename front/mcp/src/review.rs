//! What changed in a workspace, as a model reviews it: patches cut to head and tail, and first of
//! all what is worth a second look.

use std::fmt::Write as _;

use pyro_api::{DiffEntry, DiffResult};
use pyro_change::{Shown, fold};
use pyro_client::{DiffQuery, reviewed};
use pyro_core::Problem;
use serde_json::{Map, Value, json};

use crate::{
    answer::{Answer, object},
    call::{Call, LIST_BUDGET},
    exec::fitting_within,
    output::cost,
};

/// The least that is shown of a patch, bytes.
const LEAST_OF_A_PATCH: usize = 400;

/// The most that marks may take of the budget, bytes.
const MARKS_BUDGET: usize = 4000;

/// `workspace_diff`.
pub(crate) async fn diff(call: &Call) -> Result<Answer, Problem> {
    let (node, workspace) = (call.node().await?, call.workspace("workspace_id")?);
    let arguments = &call.arguments;
    let query = DiffQuery {
        paths: arguments.list("paths"),
        renames: arguments.flag("renames"),
        summary_only: arguments.flag("summary_only"),
        from: arguments.text("from").map(str::to_owned),
        to: arguments.text("to").map(str::to_owned),
        ..DiffQuery::default()
    };
    let compare = async move { node.diff(&workspace, &query).await };
    let result = call.within("comparing", compare).await?;
    let (skip, budget) = (arguments.number("offset"), arguments.number("max_bytes"));
    Ok(shown(result, arguments.flag("all"), skip, budget))
}

fn shown(result: DiffResult, all: bool, skip: usize, budget: usize) -> Answer {
    let lines: Vec<Shown> = if all {
        (0..result.entries.len()).map(Shown::Change).collect()
    } else {
        fold(&result.entries.iter().map(reviewed).collect::<Vec<_>>())
    };
    let mut text = counts(&result);
    let marked = result.entries.iter().filter(|entry| !entry.marks.is_empty()).map(|entry| {
        let reasons: Vec<&str> = entry.marks.iter().map(|mark| mark.reason.as_str()).collect();
        let line = format!("second look: {}: {}\n", entry.path, reasons.join("; "));
        (line, object(&json!({"path": entry.path, "marks": entry.marks})))
    });
    let (marked, unmarked) = fitting_within(MARKS_BUDGET, marked, &mut text);
    if unmarked > 0 {
        let _ = writeln!(text, "second look: {unmarked} more; name paths to see them");
    }
    let share = share(&result, lines.iter().skip(skip), budget);
    let entries = lines.iter().skip(skip).map(|line| entry(line, &result, share));
    let room = LIST_BUDGET.max(2 * budget + MARKS_BUDGET) - MARKS_BUDGET;
    let (entries, omitted) = fitting_within(room, entries, &mut text);
    if omitted > 0 {
        let next = skip + entries.len();
        let _ = writeln!(text, "{omitted} more: call again with offset={next}");
    }
    if result.truncated {
        text.push_str("there is more than was compared: name paths\n");
    }
    let document = json!({"workspace_id": result.workspace_id, "changed": result.changed,
        "from": result.from, "to": result.to, "summary": result.summary, "entries": entries,
        "marked": marked, "unmarked_count": unmarked, "omitted_count": omitted,
        "truncated": result.truncated});
    Answer::new(text, &document).with_notices(result.notices)
}

fn counts(result: &DiffResult) -> String {
    let summary = &result.summary;
    if summary.total == 0 {
        return format!("nothing changed since {}\n", result.from);
    }
    let mut text = format!("{} changes since {}:", summary.total, result.from);
    for (count, kind) in [
        (summary.added, "added"),
        (summary.modified, "modified"),
        (summary.deleted, "deleted"),
        (summary.renamed, "renamed"),
        (summary.type_changed, "of another type"),
    ] {
        if count > 0 {
            let _ = write!(text, " {count} {kind},");
        }
    }
    text.truncate(text.trim_end_matches([',', ':']).len());
    text.push('\n');
    text
}

/// What one patch may cost, so that all have room: long ones get what short ones leave.
fn share<'a>(result: &DiffResult, lines: impl Iterator<Item = &'a Shown>, budget: usize) -> usize {
    let patch = |line: &Shown| match line {
        Shown::Change(at) => result.entries.get(*at)?.text_patch.as_deref().map(cost),
        Shown::Folded { .. } => None,
    };
    let mut costs: Vec<usize> = lines.filter_map(patch).collect();
    costs.sort_unstable();
    let (mut left, mut waiting) = (budget, costs.len());
    for cost in costs {
        let fair = left / waiting;
        if cost > fair {
            return fair.max(LEAST_OF_A_PATCH);
        }
        left -= cost;
        waiting -= 1;
    }
    budget
}

fn entry(line: &Shown, result: &DiffResult, share: usize) -> (String, Map<String, Value>) {
    match line {
        Shown::Folded { path, entries, bytes, is_new } => {
            let what = if *is_new { "new entries" } else { "changes" };
            let text = format!("{path}/: {entries} {what}, {bytes} bytes (all=true shows them)\n");
            let document = json!({"path": path, "folded": true, "entry_count": entries,
                "size_bytes": bytes, "all_new": is_new});
            (text, object(&document))
        }
        Shown::Change(at) => {
            let entry = &result.entries[*at];
            let mut text = word(entry);
            let mut document = object(entry);
            if let Some(patch) = &entry.text_patch {
                let (patch, omitted) = cut(patch, share);
                text.push_str(&patch);
                if omitted > 0 {
                    document.insert("omitted_bytes".to_owned(), omitted.into());
                }
                document.insert("text_patch".to_owned(), patch.into());
            }
            if !text.ends_with('\n') {
                text.push('\n');
            }
            (text, document)
        }
    }
}

/// A change in a line.
fn word(entry: &DiffEntry) -> String {
    let mut text = format!("{} {}", entry.status.replace('_', " "), entry.path);
    if let Some(old) = &entry.old_path {
        let _ = write!(text, " (was {old})");
    }
    if entry.artifact_type != "file" {
        let _ = write!(text, ", {}", entry.artifact_type);
    }
    if let Some(target) = &entry.link_target {
        let _ = write!(text, " -> {target}");
    }
    if entry.binary {
        let size = |bytes: Option<u64>| bytes.map_or_else(|| "none".into(), |it| it.to_string());
        let (old, new) = (size(entry.old_size_bytes), size(entry.size_bytes));
        let _ = write!(text, ", binary, bytes {old} -> {new}");
    }
    if let (Some(old), Some(new)) = (&entry.old_mode, &entry.mode)
        && old != new
    {
        let _ = write!(text, ", mode {old} -> {new}");
    }
    if entry.text_patch_left_out {
        text.push_str(", its patch is too long to be told");
    }
    for mark in &entry.marks {
        let _ = write!(text, " ! {}", mark.reason);
    }
    text.push('\n');
    text
}

/// Head and tail of a patch, whole lines where they fit, and how many bytes were left out.
fn cut(patch: &str, budget: usize) -> (String, usize) {
    if cost(patch) <= budget {
        return (patch.to_owned(), 0);
    }
    let half = budget / 2;
    let mut spent = 0;
    let fits = |(_, character): &(usize, char)| {
        spent += cost(character.encode_utf8(&mut [0; 4]));
        spent <= half
    };
    let head = patch.char_indices().take_while(fits).last();
    let head = head.map_or(0, |(at, character)| at + character.len_utf8());
    let head = patch[..head].rfind('\n').map_or(head, |end| end + 1);
    let mut spent = 0;
    let fits = |(_, character): &(usize, char)| {
        spent += cost(character.encode_utf8(&mut [0; 4]));
        spent <= half
    };
    let tail = patch.char_indices().rev().take_while(fits).last();
    let tail = tail.map_or(patch.len(), |(at, _)| at).max(head);
    let tail = patch[tail..].find('\n').map_or(tail, |end| tail + end + 1);
    let omitted = tail - head;
    let text = format!(
        "{}[... {omitted} bytes omitted; name it in paths, or raise max_bytes ...]\n{}",
        &patch[..head],
        &patch[tail..]
    );
    (text, omitted)
}
