//! What models write between `*** Begin Patch` and `*** End Patch`.

use super::{Action, FilePatch, Hunk, LineKind, PatchError, body_line, shown, trimmed};

pub(super) fn parse(lines: &[&[u8]]) -> Result<Vec<FilePatch>, PatchError> {
    let begin = lines.iter().position(|line| trimmed(line) == b"*** Begin Patch").unwrap_or(0);
    let mut files: Vec<FilePatch> = Vec::new();
    for (at, line) in lines.iter().enumerate().skip(begin + 1) {
        let text = trimmed(line);
        let malformed = |why| PatchError::Line { line: at + 1, text: shown(line), why };
        let named =
            |prefix: &[u8]| text.strip_prefix(prefix).map(|name| name.trim_ascii().to_vec());
        if text == b"*** End Patch" {
            break;
        } else if let Some(name) = named(b"*** Add File:") {
            files.push(FilePatch::new(Action::Add, name.clone(), name));
        } else if let Some(name) = named(b"*** Delete File:") {
            files.push(FilePatch::new(Action::Delete, name.clone(), name));
        } else if let Some(name) = named(b"*** Update File:") {
            files.push(FilePatch::new(Action::Modify, name.clone(), name));
        } else if let Some(name) = named(b"*** Move to:") {
            let file = files.last_mut().ok_or_else(|| malformed("no file comes before it"))?;
            (file.action, file.new) = (Action::Rename, name);
        } else if text == b"*** End of File" {
            if let Some(hunk) = files.last_mut().and_then(|file| file.hunks.last_mut()) {
                hunk.at_end = true;
            }
        } else if text.starts_with(b"***") {
            return Err(malformed("it is none of the lines that a patch has"));
        } else {
            let Some(file) = files.last_mut() else {
                if text.is_empty() {
                    continue;
                }
                return Err(malformed("no file comes before it"));
            };
            body(file, line).ok_or_else(|| malformed("a line begins with a blank, + or -"))?;
        }
    }
    for file in &mut files {
        for hunk in &mut file.hunks {
            // Empty lines before the next file are not part of this.
            while hunk.lines.last().is_some_and(|line| {
                line.kind == LineKind::Context && matches!(&*line.text, b"\n" | b"\r\n")
            }) {
                hunk.lines.pop();
            }
        }
        file.hunks.retain(|hunk| !hunk.lines.is_empty());
    }
    Ok(files)
}

fn body(file: &mut FilePatch, line: &[u8]) -> Option<()> {
    let last = file.hunks.last_mut();
    if let Some(anchor) = line.strip_prefix(b"@@") {
        let anchor = anchor.trim_ascii();
        let anchor = anchor.strip_suffix(b"@@").unwrap_or(anchor).trim_ascii_end();
        let hunk = match last {
            // Several lines in a row say where it is.
            Some(hunk) if hunk.lines.is_empty() => hunk,
            _ => {
                file.hunks.push(Hunk::default());
                file.hunks.last_mut()?
            }
        };
        if !anchor.is_empty() && !anchor.starts_with(b"-") {
            hunk.anchors.push(anchor.to_vec());
        }
        return Some(());
    }
    let line = match (file.action, body_line(line)) {
        (_, Some(line)) => line,
        // Of a new file, the sign is forgotten now and then.
        (Action::Add, None) => body_line(&[b"+", line].concat())?,
        (_, None) => return None,
    };
    match last {
        Some(hunk) => hunk.lines.push(line),
        None => file.hunks.push(Hunk { lines: vec![line], ..Hunk::default() }),
    }
    Some(())
}
