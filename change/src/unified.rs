//! Patches as git writes them, made.

use std::{
    fmt::Write as _,
    ops::Range,
    time::{Duration, Instant},
};

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline, group_diff_ops};

/// How long it is looked for the shortest way from one text to the other; then a longer one does.
const PATIENCE: Duration = Duration::from_millis(500);
/// Lines around a change.
const CONTEXT: usize = 3;
/// Where a NUL makes a file binary, as git sees it.
const LOOKED_AT: usize = 8000;

/// A version of a file in a patch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version<'a> {
    /// As git writes it: `0o100644`, `0o100755`, `0o120000`.
    pub mode: u32,
    /// What is in it; of a symlink, where it leads.
    pub content: &'a [u8],
}

/// Whether git would take this for no text.
pub fn is_binary(content: &[u8]) -> bool {
    content[..content.len().min(LOOKED_AT)].contains(&0)
}

/// The mode that git knows of a file: it only looks whether its owner may execute it.
pub fn git_mode(mode: u32, is_symlink: bool) -> u32 {
    if is_symlink {
        0o120_000
    } else if mode & 0o100 == 0 {
        0o100_644
    } else {
        0o100_755
    }
}

/// The patch that makes the new version of the old one; empty where there is no difference that git knows.
pub fn unified(path: &[u8], old: Option<Version<'_>>, new: Option<Version<'_>>) -> Vec<u8> {
    let mut text = Vec::new();
    match (old, new) {
        // A file that becomes a link is one that goes and one that comes.
        (Some(was), Some(is)) if (was.mode ^ is.mode) & 0o170_000 != 0 => {
            one(&mut text, path, Some(was), None);
            one(&mut text, path, None, Some(is));
        }
        _ => one(&mut text, path, old, new),
    }
    text
}

fn one(text: &mut Vec<u8>, path: &[u8], old: Option<Version<'_>>, new: Option<Version<'_>>) {
    let (was, is) = (old.map_or(&b""[..], |it| it.content), new.map_or(&b""[..], |it| it.content));
    let mut head = String::new();
    match (old, new) {
        (None, Some(new)) => drop(writeln!(head, "new file mode {:06o}", new.mode)),
        (Some(old), None) => drop(writeln!(head, "deleted file mode {:06o}", old.mode)),
        (Some(old), Some(new)) if old.mode != new.mode => {
            let _ = writeln!(head, "old mode {:06o}\nnew mode {:06o}", old.mode, new.mode);
        }
        _ if was == is => return,
        _ => {}
    }
    let (a, b) = (named(b"a/", path), named(b"b/", path));
    text.extend_from_slice(&[b"diff --git ", &*a, b" ", &*b, b"\n", head.as_bytes()].concat());
    if was == is {
        return;
    }
    // A name with blanks ends with a tab, so that it is seen where it ends.
    let tab = if path.contains(&b' ') && a[0] != b'"' { &b"\t"[..] } else { b"" };
    let side = |there: bool, name: &[u8]| {
        if there { [name, tab].concat() } else { b"/dev/null".to_vec() }
    };
    let (a, b) = (side(old.is_some(), &a), side(new.is_some(), &b));
    text.extend_from_slice(&[b"--- ", &*a, b"\n+++ ", &*b, b"\n"].concat());
    hunks(text, was, is);
}

/// The patch that gives a file another name, and perhaps another mode.
pub(crate) fn renamed(from: &[u8], to: &[u8], was: u32, now: u32) -> Vec<u8> {
    let modes = if was == now {
        String::new()
    } else {
        format!("old mode {was:06o}\nnew mode {now:06o}\n")
    };
    let names = [b"diff --git ", &*named(b"a/", from), b" ", &*named(b"b/", to), b"\n"].concat();
    let (from, to) = (named(b"", from), named(b"", to));
    let moved = [b"similarity index 100%\nrename from ", &*from, b"\nrename to ", &*to, b"\n"];
    [&*names, modes.as_bytes(), &moved.concat()].concat()
}

/// A name as git writes it: in quotes where it holds what is not plain.
fn named(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    let name = [prefix, path].concat();
    if name.iter().all(is_plain) {
        return name;
    }
    let mut quoted = String::from("\"");
    for byte in name {
        match byte {
            7 => quoted.push_str("\\a"),
            8 => quoted.push_str("\\b"),
            b'\t' => quoted.push_str("\\t"),
            b'\n' => quoted.push_str("\\n"),
            11 => quoted.push_str("\\v"),
            12 => quoted.push_str("\\f"),
            b'\r' => quoted.push_str("\\r"),
            b'"' | b'\\' => {
                quoted.push('\\');
                quoted.push(byte.into());
            }
            b' '..=b'~' => quoted.push(byte.into()),
            _ => drop(write!(quoted, "\\{byte:03o}")),
        }
    }
    quoted.push('"');
    quoted.into_bytes()
}

fn hunks(text: &mut Vec<u8>, was: &[u8], is: &[u8]) {
    let lines = |content| <[u8]>::split_inclusive(content, |byte| *byte == b'\n').collect();
    let (old, new): (Vec<&[u8]>, Vec<&[u8]>) = (lines(was), lines(is));
    let deadline = Some(Instant::now() + PATIENCE);
    let ops = capture_diff_slices_deadline(Algorithm::Myers, &old, &new, deadline);
    for group in group_diff_ops(ops, CONTEXT) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        let old_range = first.old_range().start..last.old_range().end;
        let new_range = first.new_range().start..last.new_range().end;
        let head = format!("@@ -{} +{} @@\n", range(&old_range), range(&new_range));
        text.extend_from_slice(head.as_bytes());
        for op in group {
            let (gone, come) = (&old[op.old_range()], &new[op.new_range()]);
            if let DiffOp::Equal { .. } = op {
                put(text, b' ', gone);
            } else {
                put(text, b'-', gone);
                put(text, b'+', come);
            }
        }
    }
}

fn put(text: &mut Vec<u8>, sign: u8, lines: &[&[u8]]) {
    for line in lines {
        text.push(sign);
        text.extend_from_slice(line);
        if !line.ends_with(b"\n") {
            text.extend_from_slice(b"\n\\ No newline at end of file\n");
        }
    }
}

fn range(range: &Range<usize>) -> String {
    match range.len() {
        0 => format!("{},0", range.start),
        1 => format!("{}", range.start + 1),
        length => format!("{},{length}", range.start + 1),
    }
}
