//! What a model is shown of a command's output: cleaned of what only terminals understand, and cut
//! to head and tail.
//!
//! Works while the output streams, in bounded memory: a gigabyte costs as much as the two ends of it
//! that are kept. Positions are those of the combined output (stdout and stderr in the order in
//! which they came), as everywhere in pyro.

use std::collections::VecDeque;
use std::fmt::Write as _;

/// The longest line that is held back for a carriage return that may overwrite it, bytes.
const LONGEST_LINE: usize = 8 * 1024;

/// The longest piece that is kept or dropped as one, bytes.
const PIECE: usize = 512;

/// What an omission's marker may cost, bytes.
const MARKER: usize = 80;

/// The output of one command, as it comes.
#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    stdout: Keeper,
    stderr: Keeper,
    from: u64,
    next: u64,
    /// Bytes that the guest had dropped itself.
    lost: u64,
}

/// What is shown of an output.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Shown {
    /// Of stdout.
    pub(crate) stdout: String,
    /// Of stderr.
    pub(crate) stderr: String,
    /// Bytes between what is shown and what is not, both streams together.
    pub(crate) omitted_bytes: u64,
    /// Where to read on to see what was omitted; a combined offset.
    pub(crate) omitted_from: Option<u64>,
    /// Where the output seen so far ends; a combined offset.
    pub(crate) next_offset: u64,
    /// Whether a byte had to be replaced to make it text.
    pub(crate) lossy: bool,
}

impl Transcript {
    /// Begins at a combined offset; holds what may be shown within `budget` bytes.
    pub(crate) fn new(from: u64, budget: usize) -> Self {
        let keeper = Keeper::new(budget);
        Self { stdout: keeper.clone(), stderr: keeper, from, next: from, lost: 0 }
    }

    /// Bytes of stdout.
    pub(crate) fn stdout(&mut self, bytes: &[u8]) {
        self.stdout.take(bytes, self.next);
        self.next += bytes.len() as u64;
    }

    /// Bytes of stderr.
    pub(crate) fn stderr(&mut self, bytes: &[u8]) {
        self.stderr.take(bytes, self.next);
        self.next += bytes.len() as u64;
    }

    /// Output that the guest did not keep.
    pub(crate) fn lost(&mut self, from: u64, to: u64) {
        let from = from.max(self.next);
        if to > from {
            self.lost += to - from;
            self.next = to;
        }
    }

    /// What comes next has this position: what lies between belongs to nobody who asked.
    pub(crate) fn place(&mut self, offset: u64) {
        self.next = offset;
    }

    /// The output goes to here at least.
    pub(crate) fn seen_to(&mut self, offset: u64) {
        self.next = self.next.max(offset);
    }

    /// The position of what comes next.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    /// Output that was not read, since only its end is of interest.
    pub(crate) fn skip_to(&mut self, to: u64) {
        if to > self.next {
            self.stdout.skip(to - self.next, self.next);
            self.next = to;
        }
    }

    /// Bytes that came so far.
    pub(crate) fn length(&self) -> u64 {
        self.next - self.from
    }

    /// The last line that says something, for progress.
    pub(crate) fn last_line(&self) -> Option<String> {
        self.stdout.last_line().or_else(|| self.stderr.last_line())
    }

    /// What fits into `budget` bytes of a JSON text: one stream may use what the other leaves.
    pub(crate) fn show(&self, budget: usize) -> Shown {
        let (stdout, stderr) = (self.stdout.cost(), self.stderr.cost());
        let for_stderr = stderr.min(budget.saturating_sub(stdout).max(budget / 2));
        let stdout = self.stdout.show(budget - for_stderr);
        let stderr = self.stderr.show(for_stderr);
        let omitted_from = [stdout.omitted_from, stderr.omitted_from].into_iter().flatten().min();
        Shown {
            omitted_bytes: stdout.omitted + stderr.omitted + self.lost,
            omitted_from,
            next_offset: self.next,
            lossy: self.stdout.cleaner.lossy || self.stderr.cleaner.lossy,
            stdout: stdout.text,
            stderr: stderr.text,
        }
    }
}

/// A piece of cleaned text.
#[derive(Clone, Debug)]
struct Piece {
    text: String,
    cost: usize,
    /// The combined offset at which its line began.
    offset: u64,
}

/// Keeps the head and the tail of one stream.
#[derive(Clone, Debug)]
struct Keeper {
    cleaner: Cleaner,
    /// The most that head and tail each may cost.
    budget: usize,
    head: Vec<Piece>,
    head_cost: usize,
    head_full: bool,
    tail: VecDeque<Piece>,
    tail_cost: usize,
    dropped: u64,
    dropped_from: Option<u64>,
}

/// What is shown of one stream.
struct Part {
    text: String,
    omitted: u64,
    omitted_from: Option<u64>,
}

impl Keeper {
    fn new(budget: usize) -> Self {
        Self {
            cleaner: Cleaner::default(),
            budget,
            head: Vec::new(),
            head_cost: 0,
            head_full: false,
            tail: VecDeque::new(),
            tail_cost: 0,
            dropped: 0,
            dropped_from: None,
        }
    }

    fn take(&mut self, bytes: &[u8], offset: u64) {
        let mut lines = Vec::new();
        self.cleaner.take(bytes, offset, &mut lines);
        for (text, offset) in lines {
            self.keep(&text, offset);
        }
    }

    fn skip(&mut self, bytes: u64, offset: u64) {
        if let Some((text, offset)) = self.cleaner.pending() {
            self.keep(&text, offset);
        }
        self.cleaner = Cleaner { lossy: self.cleaner.lossy, ..Cleaner::default() };
        self.head_full = true;
        self.dropped += bytes;
        self.dropped_from.get_or_insert(offset);
    }

    fn keep(&mut self, text: &str, offset: u64) {
        for text in pieces(text) {
            let piece = Piece { cost: cost(text), text: text.to_owned(), offset };
            if !self.head_full && self.head_cost + piece.cost <= self.budget {
                self.head_cost += piece.cost;
                self.head.push(piece);
                continue;
            }
            self.head_full = true;
            self.tail_cost += piece.cost;
            self.tail.push_back(piece);
            while self.tail_cost > self.budget {
                let Some(piece) = self.tail.pop_front() else { break };
                self.tail_cost -= piece.cost;
                self.dropped += piece.text.len() as u64;
                self.dropped_from.get_or_insert(piece.offset);
            }
        }
    }

    /// A line that has no end yet, in pieces.
    fn pending(&self) -> Vec<Piece> {
        let Some((text, offset)) = self.cleaner.pending() else { return Vec::new() };
        let piece = |text: &str| Piece { cost: cost(text), text: text.to_owned(), offset };
        pieces(&text).map(piece).collect()
    }

    fn cost(&self) -> usize {
        let marker = if self.dropped > 0 { MARKER } else { 0 };
        let pending = self.pending().iter().map(|piece| piece.cost).sum::<usize>();
        self.head_cost + self.tail_cost + pending + marker
    }

    fn last_line(&self) -> Option<String> {
        let pending = self.cleaner.pending().map(|(text, _)| text);
        let kept = self.tail.iter().rev().chain(self.head.iter().rev());
        let mut texts = pending.into_iter().chain(kept.map(|piece| piece.text.clone()));
        let text = texts.find(|text| !text.trim().is_empty())?;
        Some(text.trim().chars().take(120).collect())
    }

    fn show(&self, budget: usize) -> Part {
        let pending = self.pending();
        let tail: Vec<&Piece> = self.tail.iter().chain(&pending).collect();
        if self.dropped == 0 && self.cost() <= budget {
            let pieces = self.head.iter().chain(tail);
            let text = pieces.map(|piece| piece.text.as_str()).collect();
            return Part { text, omitted: 0, omitted_from: None };
        }
        let budget = budget.saturating_sub(MARKER);
        let joined: Vec<&Piece> = self.head.iter().chain(tail.iter().copied()).collect();
        // What was dropped lies behind the head: neither end may reach over it.
        let (most_head, most_tail) = match self.dropped {
            0 => (joined.len(), joined.len()),
            _ => (self.head.len(), tail.len()),
        };
        let head = fitting(joined.iter().take(most_head), budget / 2);
        let spent: usize = joined[..head].iter().map(|piece| piece.cost).sum();
        let most_tail = most_tail.min(joined.len() - head);
        let tail = fitting(joined.iter().rev().take(most_tail), budget.saturating_sub(spent));
        let middle = &joined[head..joined.len() - tail];
        let omitted =
            self.dropped + middle.iter().map(|piece| piece.text.len() as u64).sum::<u64>();
        let in_middle = middle.first().map(|piece| piece.offset);
        let omitted_from = [in_middle, self.dropped_from].into_iter().flatten().min();
        let mut text: String = joined[..head].iter().map(|piece| piece.text.as_str()).collect();
        if omitted > 0 {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            let _ = writeln!(text, "[... {omitted} bytes omitted ...]");
        }
        text.extend(joined[joined.len() - tail..].iter().map(|piece| piece.text.as_str()));
        Part { text, omitted, omitted_from }
    }
}

/// How many of these fit.
fn fitting<'a>(pieces: impl Iterator<Item = &'a &'a Piece>, budget: usize) -> usize {
    let mut left = budget;
    pieces
        .take_while(|piece| {
            let fits = piece.cost <= left;
            left = left.saturating_sub(piece.cost);
            fits
        })
        .count()
}

/// A text of a line or so, without what only a terminal understands.
pub(crate) fn plain(text: &str) -> String {
    let mut cleaner = Cleaner::default();
    let mut lines = Vec::new();
    cleaner.take(text.as_bytes(), 0, &mut lines);
    let lines = lines.into_iter().chain(cleaner.pending()).map(|(line, _)| line);
    lines.collect()
}

/// A text in pieces that are not too long, cut between characters.
fn pieces(mut text: &str) -> impl Iterator<Item = &str> {
    std::iter::from_fn(move || {
        if text.is_empty() {
            return None;
        }
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE).max(1));
        text = rest;
        Some(piece)
    })
}

/// How long a text is within a JSON document.
pub(crate) fn cost(text: &str) -> usize {
    text.bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\t' | b'\r' => 2,
            0..0x20 => 6,
            _ => 1,
        })
        .sum()
}

/// Takes out what only a terminal understands, and gives whole lines.
#[derive(Clone, Debug, Default)]
struct Cleaner {
    sequence: Sequence,
    line: Vec<u8>,
    /// The combined offset at which the line began.
    offset: u64,
    /// A carriage return came; what comes next overwrites the line, unless it is the line's end.
    returned: bool,
    lossy: bool,
}

/// Where in an escape sequence the stream is (ECMA-48).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Sequence {
    #[default]
    None,
    /// After ESC.
    Escape,
    /// In a control sequence, up to its final byte.
    Control,
    /// In a string (title, link, device), up to BEL or ESC \.
    String,
    /// After an ESC within a string.
    StringEscape,
}

impl Cleaner {
    fn take(&mut self, bytes: &[u8], offset: u64, lines: &mut Vec<(String, u64)>) {
        for (index, byte) in bytes.iter().enumerate() {
            self.byte(*byte, offset + index as u64, lines);
        }
    }

    #[expect(clippy::match_same_arms, reason = "in the order of the states")]
    fn byte(&mut self, byte: u8, offset: u64, lines: &mut Vec<(String, u64)>) {
        self.sequence = match (self.sequence, byte) {
            (Sequence::None, 0x1b) => Sequence::Escape,
            (Sequence::None, _) => {
                self.plain(byte, offset, lines);
                Sequence::None
            }
            (Sequence::Escape, b'[') => Sequence::Control,
            (Sequence::Escape, b']' | b'P' | b'_' | b'^' | b'X') => Sequence::String,
            // Intermediate bytes, then one final byte.
            (Sequence::Escape, 0x20..=0x2f) => Sequence::Escape,
            (Sequence::Escape | Sequence::Control | Sequence::StringEscape, b'\n') => {
                // A broken sequence must not swallow lines.
                self.plain(byte, offset, lines);
                Sequence::None
            }
            (Sequence::Escape, _) => Sequence::None,
            (Sequence::Control, 0x40..=0x7e) => Sequence::None,
            (Sequence::Control, _) => Sequence::Control,
            (Sequence::String, 0x07) | (Sequence::StringEscape, b'\\') => Sequence::None,
            (Sequence::String | Sequence::StringEscape, 0x1b) => Sequence::StringEscape,
            (Sequence::String, b'\n') => {
                self.plain(byte, offset, lines);
                Sequence::None
            }
            (Sequence::String | Sequence::StringEscape, _) => Sequence::String,
        };
    }

    fn plain(&mut self, byte: u8, offset: u64, lines: &mut Vec<(String, u64)>) {
        match byte {
            b'\n' => {
                self.returned = false;
                self.begin(offset);
                self.line.push(b'\n');
                self.flush(self.line.len(), lines);
            }
            b'\r' => self.returned = true,
            0x08 => while self.line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
            b'\t' | 0x20..=0x7e | 0x80.. => {
                if self.returned {
                    self.returned = false;
                    self.line.clear();
                }
                self.begin(offset);
                self.line.push(byte);
                if self.line.len() >= LONGEST_LINE {
                    let whole = whole_characters(&self.line);
                    self.flush(whole, lines);
                }
            }
            // Other control characters say nothing to a reader.
            _ => {}
        }
    }

    fn begin(&mut self, offset: u64) {
        if self.line.is_empty() {
            self.offset = offset;
        }
    }

    fn flush(&mut self, length: usize, lines: &mut Vec<(String, u64)>) {
        let rest = self.line.split_off(length);
        let text = String::from_utf8_lossy(&self.line);
        self.lossy |= matches!(text, std::borrow::Cow::Owned(_));
        lines.push((text.into_owned(), self.offset));
        self.offset += length as u64;
        self.line = rest;
    }

    /// A line that has no end yet.
    fn pending(&self) -> Option<(String, u64)> {
        let text = String::from_utf8_lossy(&self.line);
        (!text.is_empty()).then(|| (text.into_owned(), self.offset))
    }
}

/// How many bytes there are up to a character that is not whole yet.
fn whole_characters(bytes: &[u8]) -> usize {
    match std::str::from_utf8(&bytes[bytes.len().saturating_sub(4)..]) {
        Err(error) if error.error_len().is_none() => {
            bytes.len().saturating_sub(4) + error.valid_up_to()
        }
        _ => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(pieces: &[&str], budget: usize) -> Shown {
        let mut transcript = Transcript::new(0, budget);
        for piece in pieces {
            transcript.stdout(piece.as_bytes());
        }
        transcript.show(budget)
    }

    #[test]
    fn plain_output_goes_through_unharmed() {
        let shown = shown(&["hello\n", "wörld", "\n\tend"], 1000);
        assert_eq!(shown.stdout, "hello\nwörld\n\tend");
        assert_eq!((shown.omitted_bytes, shown.omitted_from, shown.next_offset), (0, None, 17));
    }

    #[test]
    fn colours_titles_and_progress_are_taken_out() {
        for (given, left) in [
            ("\x1b[1;32mok\x1b[0m\n", "ok\n"),
            ("\x1b]0;title\x07x\x1b]8;;http://a\x1b\\link\x1b]8;;\x1b\\\n", "xlink\n"),
            ("10%\r20%\r100%\ndone\r\n", "100%\ndone\n"),
            ("a\r\r\nb\r", "a\nb"),
            ("man\x08\x08\x08M\x07", "M"),
            ("\x1b(Bplain\x1b=\n", "plain\n"),
            ("cut \x1b[3", "cut "),
            ("broken \x1b]0;no end\nnext\n", "broken \nnext\n"),
        ] {
            assert_eq!(shown(&[given], 1000).stdout, left, "{given:?}");
            // However it is cut on its way.
            let bytes: Vec<String> = given.chars().map(String::from).collect();
            let bytes: Vec<&str> = bytes.iter().map(String::as_str).collect();
            assert_eq!(shown(&bytes, 1000).stdout, left, "{given:?} in pieces");
        }
    }

    #[test]
    fn a_gigabyte_is_its_head_and_its_tail() {
        let mut transcript = Transcript::new(0, 4000);
        let block = "0123456789abcde\n".repeat(4096);
        transcript.stdout(b"first\n");
        for _ in 0..64 {
            transcript.stdout(block.as_bytes());
        }
        transcript.stdout(b"last\n");
        let shown = transcript.show(4000);
        assert!(shown.stdout.starts_with("first\n0123"));
        assert!(shown.stdout.ends_with("last\n"));
        assert!(cost(&shown.stdout) <= 4000);
        let marker = format!("[... {} bytes omitted ...]\n", shown.omitted_bytes);
        let kept = shown.stdout.len() - marker.len();
        assert_eq!(shown.next_offset, 11 + 64 * 65536);
        assert_eq!(shown.omitted_bytes, shown.next_offset - kept as u64);
        assert!(shown.stdout.contains(&format!("[... {} bytes omitted ...]", shown.omitted_bytes)));
        // The omitted part begins where the head ends.
        let head = shown.stdout.find("[...").unwrap() as u64;
        assert_eq!(shown.omitted_from, Some(head));
    }

    #[test]
    fn a_little_stderr_is_kept_whole_beside_much_stdout() {
        let mut transcript = Transcript::new(0, 2000);
        for line in 0..1000 {
            transcript.stdout(format!("line {line}\n").as_bytes());
            if line == 500 {
                transcript.stderr(b"warning: look here\n");
            }
        }
        let shown = transcript.show(2000);
        assert_eq!(shown.stderr, "warning: look here\n");
        assert!(shown.omitted_bytes > 0);
        assert!(cost(&shown.stdout) + cost(&shown.stderr) <= 2000);
    }

    #[test]
    fn one_long_line_is_cut_between_characters() {
        let shown = shown(&["ä".repeat(100_000).as_str()], 2000);
        assert!(cost(&shown.stdout) <= 2000);
        assert!(!shown.lossy);
        assert!(shown.stdout.starts_with("ää") && shown.stdout.ends_with("ää"));
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced_and_told() {
        let mut transcript = Transcript::new(0, 100);
        transcript.stdout(b"a\xff\xfeb\n\0\x01");
        let shown = transcript.show(100);
        assert_eq!(shown.stdout, "a\u{fffd}\u{fffd}b\n");
        assert!(shown.lossy);
    }

    #[test]
    fn what_was_not_read_is_counted() {
        let mut transcript = Transcript::new(10, 1000);
        transcript.stdout(b"head\n");
        transcript.skip_to(1015);
        transcript.stdout(b"tail\n");
        let shown = transcript.show(1000);
        assert_eq!(shown.stdout, "head\n[... 1000 bytes omitted ...]\ntail\n");
        assert_eq!((shown.omitted_from, shown.next_offset), (Some(15), 1020));
    }
}
