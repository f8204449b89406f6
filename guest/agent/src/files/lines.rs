//! The lines of a file that match, with those around them. Memory is bounded by a line, whatever the file.

use std::io::{self, Read};

use grep_matcher::Matcher;
use memchr::{memchr, memchr_iter, memrchr};

/// What is read at once, bytes.
const PIECE: usize = 128 << 10;
/// The longest line, bytes.
const LONGEST: usize = 16 << 20;

/// A line that is told.
pub(super) struct Line<'a> {
    /// 1 for the first.
    pub(super) number: u64,
    /// Without its end.
    pub(super) text: &'a [u8],
    /// It only stands beside one that matches.
    pub(super) is_context: bool,
}

/// What whoever is told says to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Heard {
    GoOn,
    Enough,
}

/// Tells the lines that match, and so many before and after each; each once, in their order. A file that
/// has a NUL is no text: it is left where that is seen.
pub(super) fn scan(
    file: impl Read,
    matcher: &impl Matcher,
    context: usize,
    tell: &mut dyn FnMut(Line<'_>) -> Heard,
) -> io::Result<()> {
    let mut scan = Scan { held: Vec::new(), next: 0, number: 1, told: 0, after: 0, context, tell };
    let mut file = file;
    loop {
        let had = scan.held.len();
        let read = file.by_ref().take(PIECE as u64).read_to_end(&mut scan.held)?;
        if memchr(0, &scan.held[had..]).is_some() {
            return Ok(());
        }
        let end = match memrchr(b'\n', &scan.held[had..]) {
            _ if read == 0 => had,
            Some(last) => had + last + 1,
            None if scan.held.len() > LONGEST => return Err(io::ErrorKind::OutOfMemory.into()),
            None => continue,
        };
        if scan.lines(end, matcher) == Heard::Enough || read == 0 {
            return Ok(());
        }
        scan.forget();
    }
}

struct Scan<'a> {
    /// What was read and is still needed: some lines that were looked at, and what comes after.
    held: Vec<u8>,
    /// The first line in it that was not looked at.
    next: usize,
    /// The number of that line.
    number: u64,
    /// What begins before this was told, or may not be told any more.
    told: usize,
    /// How many lines are still told because one before them matched.
    after: usize,
    context: usize,
    tell: &'a mut dyn FnMut(Line<'_>) -> Heard,
}

impl Scan<'_> {
    /// Looks at the lines up to an end.
    fn lines(&mut self, end: usize, matcher: &impl Matcher) -> Heard {
        while self.next < end {
            let found = matcher.find_at(&self.held[..end], self.next).ok().flatten();
            let Some(found) = found.filter(|found| found.start() < end) else { break };
            let line = memrchr(b'\n', &self.held[self.next..found.start()])
                .map_or(self.next, |before| self.next + before + 1);
            if self.go_to(line) == Heard::Enough || self.before(line) == Heard::Enough {
                return Heard::Enough;
            }
            if self.one(line, self.number, false) == Heard::Enough {
                return Heard::Enough;
            }
            self.next = self.end_of(line);
            self.number += 1;
            self.told = self.next;
            self.after = self.context;
        }
        self.go_to(end)
    }

    /// Goes on to a line behind some that do not match.
    fn go_to(&mut self, line: usize) -> Heard {
        while self.after > 0 && self.next < line {
            if self.one(self.next, self.number, true) == Heard::Enough {
                return Heard::Enough;
            }
            self.next = self.end_of(self.next);
            self.number += 1;
            self.told = self.next;
            self.after -= 1;
        }
        self.number += memchr_iter(b'\n', &self.held[self.next..line]).count() as u64;
        self.next = line;
        Heard::GoOn
    }

    /// Tells the lines before one that matches, where they were not told.
    fn before(&mut self, line: usize) -> Heard {
        let mut start = line;
        let mut count = 0;
        while count < self.context as u64 && start > self.told {
            start = memrchr(b'\n', &self.held[..start - 1]).map_or(0, |before| before + 1);
            count += 1;
        }
        while start < line {
            if self.one(start, self.number - count, true) == Heard::Enough {
                return Heard::Enough;
            }
            start = self.end_of(start);
            count -= 1;
        }
        Heard::GoOn
    }

    fn end_of(&self, line: usize) -> usize {
        memchr(b'\n', &self.held[line..]).map_or(self.held.len(), |end| line + end + 1)
    }

    fn one(&mut self, line: usize, number: u64, is_context: bool) -> Heard {
        let text = &self.held[line..self.end_of(line)];
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        (self.tell)(Line { number, text, is_context })
    }

    /// Lets go of the lines that nobody may ask for any more.
    fn forget(&mut self) {
        let mut keep = self.next;
        for _ in 0..self.context {
            if keep == 0 {
                break;
            }
            keep = memrchr(b'\n', &self.held[..keep - 1]).map_or(0, |before| before + 1);
        }
        self.held.drain(..keep);
        self.next -= keep;
        self.told = self.told.saturating_sub(keep);
    }
}

#[cfg(test)]
mod tests {
    use grep_regex::RegexMatcherBuilder;
    use proptest::prelude::*;

    use super::*;

    fn found(text: &[u8], pattern: &str, context: usize) -> Vec<(u64, String, bool)> {
        let mut builder = RegexMatcherBuilder::new();
        builder.multi_line(true).line_terminator(Some(b'\n'));
        let matcher = builder.build(pattern).unwrap();
        let mut lines = Vec::new();
        scan(text, &matcher, context, &mut |line| {
            let text = String::from_utf8_lossy(line.text).into_owned();
            lines.push((line.number, text, line.is_context));
            Heard::GoOn
        })
        .unwrap();
        lines
    }

    #[test]
    fn lines_are_told_with_their_numbers_and_without_their_ends() {
        let text = b"one\ntwo\r\nthree\ntwo";
        let two = |number| (number, "two".to_owned(), false);
        assert_eq!(found(text, "t.o", 0), [two(2), two(4)]);
        assert_eq!(found(text, "^$", 0), []);
        assert_eq!(
            found(b"\n\na", "^$", 0),
            [(1, String::new(), false), (2, String::new(), false)]
        );
        assert_eq!(found(b"a\0two\n", "two", 0), []);
    }

    proptest! {
        #[test]
        fn all_that_match_are_told_and_their_neighbours_once(
            lines in prop::collection::vec(prop::sample::select(vec!["hit", "miss", ""]), 0..400),
            width in 1..4000_usize,
            context in 0..4_usize,
            ends in any::<bool>(),
        ) {
            // Long enough that lines go over the pieces in which a file is read.
            let lines: Vec<_> = lines.iter().map(|line| line.repeat(width)).collect();
            let mut text = lines.join("\n");
            if ends && !text.is_empty() {
                text.push('\n');
            }
            let lines: Vec<&str> = text.split_terminator('\n').collect();
            let hit = |at: usize| lines.get(at).is_some_and(|line| line.contains("hit"));
            let near = |at: usize| (at.saturating_sub(context)..=at + context).any(hit);
            let expected: Vec<_> = (0..lines.len())
                .filter(|at| near(*at))
                .map(|at| (at as u64 + 1, lines[at].to_owned(), !hit(at)))
                .collect();
            prop_assert_eq!(found(text.as_bytes(), "hit", context), expected);
        }
    }
}
