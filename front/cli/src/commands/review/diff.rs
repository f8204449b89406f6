//! `pyro workspace diff`.

use std::fmt::Write as _;

use owo_colors::OwoColorize;
use pyro_api::{DiffEntry, DiffResult};
use pyro_change::{Shown, fold};
use pyro_client::{DiffQuery, reviewed};

use crate::{
    arguments::DiffArguments, commands::file::notices, context::Context, error::CommandError,
    output::units, printer::Printer,
};

/// How wide a bar of changed lines may be.
const BAR: u64 = 40;

pub(in crate::commands) async fn diff(
    context: &Context,
    arguments: DiffArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let query = DiffQuery {
        paths: arguments.paths,
        renames: arguments.renames,
        summary_only: arguments.name_only,
        max_patch_bytes: arguments.max_patch_bytes,
        from: arguments.from,
        to: arguments.to,
        no_start: arguments.no_start,
        ..DiffQuery::default()
    };
    let node = context.node().await?;
    if arguments.patch {
        let doing = node.diff_patch(&workspace, &query);
        let patch = printer.while_waiting("Comparing", doing).await?;
        printer.raw(&printer.shown_bytes(patch.into()))?;
        return Ok(0);
    }
    let result = printer.while_waiting("Comparing", node.diff(&workspace, &query)).await?;
    if printer.json {
        printer.json(&result)?;
        return Ok(0);
    }
    notices(printer, &result.notices);
    let shown = shown(&result, arguments.all);
    if arguments.name_only {
        names(printer, &result, &shown)?;
    } else if arguments.stat {
        stat(printer, &result, &shown)?;
    } else {
        patches(printer, &result, &shown)?;
    }
    let counts = counts(&result);
    if printer.shows_progress() || arguments.stat {
        printer.step(&counts);
    }
    if result.truncated {
        printer.notice("there is more than is shown: name paths, or raise --max-patch-bytes");
    }
    Ok(0)
}

fn shown(result: &DiffResult, all: bool) -> Vec<Shown> {
    if all {
        return (0..result.entries.len()).map(Shown::Change).collect();
    }
    let reviewed: Vec<_> = result.entries.iter().map(reviewed).collect();
    fold(&reviewed)
}

fn counts(result: &DiffResult) -> String {
    let summary = &result.summary;
    let mut text = match summary.total {
        0 => return "nothing is different".to_owned(),
        1 => "1 change".to_owned(),
        total => format!("{total} changes"),
    };
    let kinds = [
        (summary.added, "added"),
        (summary.modified, "modified"),
        (summary.deleted, "deleted"),
        (summary.renamed, "renamed"),
        (summary.type_changed, "of another type"),
    ];
    let mut separator = ": ";
    for (count, kind) in kinds.iter().filter(|(count, _)| *count > 0) {
        let _ = write!(text, "{separator}{count} {kind}");
        separator = ", ";
    }
    text
}

fn folded(printer: Printer, path: &str, entries: usize, bytes: u64, is_new: bool) -> String {
    let what = if is_new { "new entries" } else { "changes" };
    format!("{}/: {entries} {what}, {} (--all shows them)", printer.cell(path), units::bytes(bytes))
}

fn names(printer: Printer, result: &DiffResult, shown: &[Shown]) -> Result<(), CommandError> {
    let mut text = String::new();
    for line in shown {
        match line {
            Shown::Change(at) => text.push_str(&printer.cell(&result.entries[*at].path)),
            Shown::Folded { path, .. } => {
                text.push_str(&printer.cell(path));
                text.push('/');
            }
        }
        text.push('\n');
    }
    printer.data(&text)
}

/// A word on a change that has no lines.
fn word(entry: &DiffEntry) -> String {
    let status = entry.status.replace('_', " ");
    let size = |bytes: Option<u64>| bytes.map(units::bytes);
    let mut text = match (&entry.old_path, entry.artifact_type.as_str()) {
        (Some(_), _) | (_, "file") => status,
        (None, kind) => format!("{status} {kind}"),
    };
    if entry.binary {
        match (size(entry.old_size_bytes), size(entry.size_bytes)) {
            (Some(old), Some(new)) => drop(write!(text, ", binary, {old} -> {new}")),
            (None, Some(one)) | (Some(one), None) => drop(write!(text, ", binary, {one}")),
            (None, None) => {}
        }
    }
    if let (Some(old), Some(new)) = (&entry.old_mode, &entry.mode)
        && old != new
    {
        let _ = write!(text, ", mode {old} -> {new}");
    }
    if entry.text_patch_left_out {
        text.push_str(", its patch is too long to be shown");
    }
    text
}

fn marks(entry: &DiffEntry) -> String {
    let reasons: Vec<&str> = entry.marks.iter().map(|mark| mark.reason.as_str()).collect();
    if reasons.is_empty() { String::new() } else { format!("  ! {}", reasons.join("; ")) }
}

fn stat(printer: Printer, result: &DiffResult, shown: &[Shown]) -> Result<(), CommandError> {
    let width = |line: &Shown| match line {
        Shown::Change(at) => printer.cell(&result.entries[*at].path).chars().count(),
        Shown::Folded { .. } => 0,
    };
    let width = shown.iter().map(width).max().unwrap_or(0).min(60);
    let mut text = String::new();
    for line in shown {
        match line {
            Shown::Change(at) => {
                let entry = &result.entries[*at];
                let (plus, minus) = lines(entry.text_patch.as_deref().unwrap_or_default());
                let path = printer.cell(&entry.path);
                let what = if plus + minus == 0 {
                    word(entry)
                } else {
                    let scale = (plus + minus).div_ceil(BAR).max(1);
                    let bar = |count: u64, sign: &str| sign.repeat(count.div_ceil(scale) as usize);
                    let (grown, gone) = (bar(plus, "+"), bar(minus, "-"));
                    format!("{} {}{}", plus + minus, grown.green(), gone.red())
                };
                let _ = writeln!(text, "{path:width$} | {what}{}", marks(entry).yellow());
            }
            Shown::Folded { path, entries, bytes, is_new } => {
                let _ = writeln!(text, "{}", folded(printer, path, *entries, *bytes, *is_new));
            }
        }
    }
    printer.data(&text)
}

/// Lines that a patch adds and takes away.
fn lines(patch: &str) -> (u64, u64) {
    let (mut plus, mut minus, mut inside) = (0, 0, false);
    for line in patch.lines() {
        inside = (inside || line.starts_with("@@")) && !line.starts_with("diff --git ");
        plus += u64::from(inside && line.starts_with('+'));
        minus += u64::from(inside && line.starts_with('-'));
    }
    (plus, minus)
}

/// A patch, escaped and with the colours of one.
pub(in crate::commands) fn coloured(printer: Printer, patch: &str) -> String {
    let mut text = String::new();
    for line in patch.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        let line = printer.shown(line);
        let _ = match line.as_bytes().first() {
            Some(b'+') => write!(text, "{}{end}", line.green()),
            Some(b'-') => write!(text, "{}{end}", line.red()),
            Some(b'@') => write!(text, "{}{end}", line.cyan()),
            Some(b'd' | b'n' | b'o' | b'r' | b's') => write!(text, "{}{end}", line.bold()),
            _ => write!(text, "{line}{end}"),
        };
    }
    text
}

/// Patches, and between them, as remarks that `git apply` and ours pass over, what has none.
fn patches(printer: Printer, result: &DiffResult, shown: &[Shown]) -> Result<(), CommandError> {
    let mut text = String::new();
    for line in shown {
        match line {
            Shown::Change(at) => {
                let entry = &result.entries[*at];
                if entry.text_patch.is_none() || !entry.marks.is_empty() {
                    let path = printer.cell(&entry.path);
                    let remark = format!("# {path}: {}{}", word(entry), marks(entry));
                    let _ = writeln!(text, "{}", remark.yellow());
                }
                text += &coloured(printer, entry.text_patch.as_deref().unwrap_or_default());
            }
            Shown::Folded { path, entries, bytes, is_new } => {
                let remark = format!("# {}", folded(printer, path, *entries, *bytes, *is_new));
                let _ = writeln!(text, "{}", remark.yellow());
            }
        }
    }
    printer.data(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_are_counted_and_headers_are_not() {
        let patch = "diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1,2 +1,3 @@\n a\n--- x\n+b\n+c\n";
        assert_eq!(lines(patch), (2, 1));
        assert_eq!(lines(""), (0, 0));
    }
}
