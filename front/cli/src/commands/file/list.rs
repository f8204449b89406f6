//! `pyro workspace file list` and `stat`.

use pyro_api::FileEntry;

use super::{file_path, notices};
use crate::{
    arguments::{FileListArguments, FileStatArguments},
    context::Context,
    error::CommandError,
    output::{
        table::{card, table},
        units,
    },
    printer::Printer,
};

pub(in crate::commands) async fn list(
    context: &Context,
    arguments: &FileListArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let (path, node) = (file_path(&arguments.path), context.node().await?);
    let list = node.files(&workspace, &path, arguments.recursive, arguments.no_start).await?;
    if printer.json {
        printer.json(&list)?;
        return Ok(0);
    }
    notices(printer, &list.notices);
    printer.data(&entries_table(printer, &list.path, &list.entries))?;
    if list.truncated {
        printer.notice("there is more than is shown: list a directory in it");
    }
    Ok(0)
}

/// The entries of a directory, their names without its path.
pub(in crate::commands) fn entries_table(
    printer: Printer,
    directory: &str,
    entries: &[FileEntry],
) -> String {
    let below = format!("{}/", directory.trim_end_matches('/'));
    let rows: Vec<_> = entries
        .iter()
        .map(|entry| {
            let shown = entry.path.strip_prefix(&below).unwrap_or(&entry.path);
            [
                permissions(entry),
                if entry.artifact_type == "directory" {
                    "-".into()
                } else {
                    units::bytes(entry.size_bytes)
                },
                units::moment((entry.modified_at * 1e6) as u64),
                name(printer, shown, entry),
            ]
        })
        .collect();
    table(["MODE", "SIZE", "MODIFIED", "NAME"], &rows)
}

fn name(printer: Printer, shown: &str, entry: &FileEntry) -> String {
    let mut name = printer.cell(shown);
    match (entry.artifact_type.as_str(), &entry.link_target) {
        (_, Some(target)) => name = format!("{name} -> {}", printer.cell(target)),
        ("directory", _) => name.push('/'),
        _ => {}
    }
    name
}

/// As `ls -l` shows them.
fn permissions(entry: &FileEntry) -> String {
    let mode = u32::from_str_radix(&entry.mode, 8).unwrap_or(0);
    let kind = match entry.artifact_type.as_str() {
        "directory" => 'd',
        "symlink" => 'l',
        "file" => '-',
        _ => '?',
    };
    let mut shown = String::from(kind);
    for (shift, special, set, unset) in
        [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')]
    {
        let bits = mode >> shift;
        shown.push(if bits & 4 == 0 { '-' } else { 'r' });
        shown.push(if bits & 2 == 0 { '-' } else { 'w' });
        shown.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => unset,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    shown
}

pub(in crate::commands) async fn stat(
    context: &Context,
    arguments: &FileStatArguments,
) -> Result<u8, CommandError> {
    let printer = context.printer;
    let workspace = context.workspace(&arguments.workspace)?;
    let (path, node) = (file_path(&arguments.path), context.node().await?);
    let status = node.file_status(&workspace, &path, arguments.follow, arguments.no_start).await?;
    if printer.json {
        printer.json(&status)?;
        return Ok(0);
    }
    notices(printer, &status.notices);
    let entry = &status.entry;
    let mut fields = vec![
        ("path", printer.cell(&entry.path)),
        ("type", entry.artifact_type.clone()),
        ("size", format!("{} ({} bytes)", units::bytes(entry.size_bytes), entry.size_bytes)),
        ("mode", format!("{} ({})", entry.mode, permissions(entry))),
        ("owner", format!("{}:{}", entry.uid, entry.gid)),
        ("modified", units::moment((entry.modified_at * 1e6) as u64)),
    ];
    if let Some(target) = &entry.link_target {
        fields.push(("leads to", printer.cell(target)));
    }
    printer.data(&card(&fields))?;
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_look_as_ls_shows_them() {
        for (kind, mode, shown) in [
            ("file", "0644", "-rw-r--r--"),
            ("directory", "1777", "drwxrwxrwt"),
            ("file", "4755", "-rwsr-xr-x"),
            ("file", "2640", "-rw-r-S---"),
            ("symlink", "0777", "lrwxrwxrwx"),
            ("other", "0000", "?---------"),
        ] {
            let entry = FileEntry {
                path: "/f".into(),
                path_base64: None,
                artifact_type: kind.into(),
                size_bytes: 0,
                link_target: None,
                mode: mode.into(),
                modified_at: 0.0,
                uid: 0,
                gid: 0,
            };
            assert_eq!(permissions(&entry), shown);
        }
    }
}
