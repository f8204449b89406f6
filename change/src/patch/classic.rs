//! What `git diff` and `diff -u` write.

use super::{Action, FilePatch, Hunk, Line, LineKind, PatchError, body_line, name, shown, trimmed};

struct Reader<'a> {
    lines: &'a [&'a [u8]],
    next: usize,
    files: Vec<FilePatch>,
    /// Whether the last file may still get hunks.
    is_open: bool,
}

pub(super) fn parse(lines: &[&[u8]]) -> Result<Vec<FilePatch>, PatchError> {
    let mut reader = Reader { lines, next: 0, files: Vec::new(), is_open: false };
    while let Some(line) = reader.peek(0) {
        if line.starts_with(b"diff --git ") {
            reader.git_header()?;
        } else if reader.at_names() {
            reader.names()?;
        } else if line.starts_with(b"@@") && reader.is_open {
            reader.hunk()?;
        } else if line.starts_with(b"Binary files ") && trimmed(line).ends_with(b" differ") {
            return Err(PatchError::Binary(shown(line)));
        } else {
            reader.next += 1;
        }
    }
    // A header with nothing behind it says nothing.
    reader.files.retain(|file| {
        file.action != Action::Modify || file.mode.is_some() || !file.hunks.is_empty()
    });
    Ok(reader.files)
}

impl<'a> Reader<'a> {
    fn peek(&self, ahead: usize) -> Option<&'a [u8]> {
        self.lines.get(self.next + ahead).copied()
    }

    /// Whether here stand the two lines that name a file.
    fn at_names(&self) -> bool {
        self.peek(0).is_some_and(|line| line.starts_with(b"--- "))
            && self.peek(1).is_some_and(|line| line.starts_with(b"+++ "))
    }

    fn malformed(&self, line: usize, why: &'static str) -> PatchError {
        let text = self.lines.get(line).map(|line| shown(line)).unwrap_or_default();
        PatchError::Line { line: line + 1, text, why }
    }

    fn git_header(&mut self) -> Result<(), PatchError> {
        let header = &self.lines[self.next]["diff --git ".len()..];
        let unnamed = self.malformed(self.next, "it does not name its file");
        let (old, new) = name::of_header(header).ok_or(unnamed)?;
        let (old, new) = name::stripped(old, new);
        let mut file = FilePatch::new(Action::Modify, old, new);
        self.next += 1;
        while let Some(line) = self.peek(0) {
            let text = trimmed(line);
            let mode = |prefix: &[u8]| {
                let digits = std::str::from_utf8(text.strip_prefix(prefix)?).ok()?;
                u32::from_str_radix(digits.trim(), 8).ok()
            };
            if let Some(mode) = mode(b"new file mode ") {
                (file.action, file.mode) = (Action::Add, Some(mode));
            } else if mode(b"deleted file mode ").is_some() {
                file.action = Action::Delete;
            } else if let Some(mode) = mode(b"new mode ") {
                file.mode = Some(mode);
            } else if let Some(from) = text.strip_prefix(b"rename from ") {
                (file.action, file.old) = (Action::Rename, name::parse(from));
            } else if let Some(to) = text.strip_prefix(b"rename to ") {
                (file.action, file.new) = (Action::Rename, name::parse(to));
            } else if let Some(from) = text.strip_prefix(b"copy from ") {
                (file.action, file.old) = (Action::Copy, name::parse(from));
            } else if let Some(to) = text.strip_prefix(b"copy to ") {
                (file.action, file.new) = (Action::Copy, name::parse(to));
            } else if text == b"GIT binary patch"
                || (text.starts_with(b"Binary files ") && text.ends_with(b" differ"))
            {
                return Err(PatchError::Binary(file.to_string()));
            } else if self.at_names() {
                // Those of another file begin something new.
                if self.names_are(&file) {
                    self.next += 2;
                }
                break;
            } else if text.starts_with(b"@@") || line.starts_with(b"diff --git ") {
                break;
            } else if !["old mode ", "index ", "similarity ", "dissimilarity "]
                .iter()
                .any(|known| text.starts_with(known.as_bytes()))
            {
                // Something else follows: a patch that only changes names or modes has ended.
                break;
            }
            self.next += 1;
        }
        self.files.push(file);
        self.is_open = true;
        Ok(())
    }

    /// The names that stand here.
    fn both_names(&self) -> (Vec<u8>, Vec<u8>) {
        let side = |line: &[u8]| name::parse(&line[4..]);
        name::stripped(side(self.lines[self.next]), side(self.lines[self.next + 1]))
    }

    fn names_are(&self, file: &FilePatch) -> bool {
        let (old, new) = self.both_names();
        (old == file.old || (file.action == Action::Add && old == b"/dev/null"))
            && (new == file.new || (file.action == Action::Delete && new == b"/dev/null"))
    }

    fn names(&mut self) -> Result<(), PatchError> {
        let (old, new) = self.both_names();
        let nothing = |name: &[u8]| name == b"/dev/null";
        let file = match (nothing(&old), nothing(&new)) {
            (true, true) => return Err(self.malformed(self.next, "it names no file")),
            (true, false) => FilePatch::new(Action::Add, new.clone(), new),
            (false, true) => FilePatch::new(Action::Delete, old.clone(), old),
            // `diff -u` gives one file two names.
            (false, false) => FilePatch::new(Action::Modify, old, new),
        };
        self.files.push(file);
        self.is_open = true;
        self.next += 2;
        Ok(())
    }

    fn hunk(&mut self) -> Result<(), PatchError> {
        let header = self.next;
        let ranges = ranges(self.lines[header]);
        self.next += 1;
        let counted = ranges.and_then(|ranges| self.counted(ranges.old_count, ranges.new_count));
        let is_mended = counted.is_none();
        let (lines, length) = counted.unwrap_or_else(|| self.uncounted());
        if lines.is_empty() {
            return Err(self.malformed(header, "no line of a hunk follows it"));
        }
        self.next += length;
        let old_start = ranges.map(|ranges| match ranges.old_count {
            // It says behind which line.
            0 => ranges.old_start + 1,
            _ => ranges.old_start,
        });
        let hunk = Hunk { old_start, lines, is_mended, ..Hunk::default() };
        if let Some(file) = self.files.last_mut() {
            file.hunks.push(hunk);
        }
        Ok(())
    }

    /// The body, where it has as many lines as its header says; and how many lines of the patch it takes.
    fn counted(&self, old: usize, new: usize) -> Option<(Vec<Line>, usize)> {
        let (mut old, mut new, mut length, mut lines) = (old, new, 0, Vec::new());
        while old > 0 || new > 0 {
            let line = body_line(self.peek(length)?)?;
            match line.kind {
                LineKind::Context => (old, new) = (old.checked_sub(1)?, new.checked_sub(1)?),
                LineKind::Delete => old = old.checked_sub(1)?,
                LineKind::Insert => new = new.checked_sub(1)?,
            }
            lines.push(line);
            length += 1;
            length += self.no_newline(length, &mut lines);
        }
        // More of the same means that the header is wrong.
        let more = self.peek(length).is_some_and(|next| {
            matches!(next.first(), Some(b' ' | b'+' | b'-')) && !self.is_over(length)
        });
        (!more).then_some((lines, length))
    }

    /// The body, as far as there are lines of one.
    fn uncounted(&self) -> (Vec<Line>, usize) {
        let (mut lines, mut length) = (Vec::new(), 0);
        while let Some(line) = self.peek(length).and_then(body_line) {
            if self.is_over(length) {
                break;
            }
            lines.push(line);
            length += 1;
            length += self.no_newline(length, &mut lines);
        }
        // Empty lines at the end stand between this and what follows.
        let blank = |at: usize| {
            self.peek(at).is_some_and(|line| trimmed(line).is_empty() && line[0] != b' ')
        };
        while length > 0 && blank(length - 1) {
            length -= 1;
            lines.pop();
        }
        (lines, length)
    }

    /// Takes the mark that the line before has no end; how many lines that took.
    fn no_newline(&self, at: usize, lines: &mut [Line]) -> usize {
        if !self.peek(at).is_some_and(|next| next.starts_with(b"\\ ")) {
            return 0;
        }
        if let Some(line) = lines.last_mut() {
            line.text.pop();
        }
        1
    }

    /// Whether at this line something else begins, though it looks like one of a hunk.
    fn is_over(&self, at: usize) -> bool {
        let line = self.peek(at).unwrap_or_default();
        let names = line.starts_with(b"--- ")
            && self.peek(at + 1).is_some_and(|next| next.starts_with(b"+++ "))
            && self.peek(at + 2).is_some_and(|next| next.starts_with(b"@@"));
        // The signature of a mail: two dashes, and a version or nothing behind them.
        let few = self.lines.len() - (self.next + at) <= 4;
        let signature = few && matches!(line, b"-- \n" | b"--\n" | b"-- \r\n");
        names || signature
    }
}

#[derive(Clone, Copy)]
struct Ranges {
    old_start: usize,
    old_count: usize,
    new_count: usize,
}

/// `@@ -1,2 +3,4 @@`; none where that is not what it says.
fn ranges(line: &[u8]) -> Option<Ranges> {
    let text = std::str::from_utf8(line.strip_prefix(b"@@ -")?.split(|byte| *byte == b'@').next()?);
    let (old, new) = text.ok()?.trim().split_once(" +")?;
    let range = |text: &str| {
        let (start, count) = text.split_once(',').unwrap_or((text, "1"));
        Some((start.trim().parse().ok()?, count.trim().parse().ok()?))
    };
    let ((old_start, old_count), (_, new_count)): ((usize, usize), (usize, usize)) =
        (range(old)?, range(new)?);
    let bounded = [old_start, old_count, new_count].iter().all(|number| *number < 1 << 40);
    bounded.then_some(Ranges { old_start, old_count, new_count })
}
