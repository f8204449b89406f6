//! Where the hunks of a patch fit in a file, and the file with them.
//!
//! A hunk is where it says it is, else where it fits nearest; one that says nothing of where it is must fit
//! in one place only. Blanks at the ends of lines, and the kind of line ends, may differ: then the file's
//! own are kept. Work is bounded, whatever the patch and the file.

use std::fmt::Write as _;

use crate::patch::{Action, FilePatch, Hunk, LineKind};

/// Lines that are compared for one file at most.
const MOST_WORK: usize = 50_000_000;
/// The same for telling what is nearest to what was not found.
const MOST_NEAREST_WORK: usize = 2_000_000;
/// Lines of a hunk that are told where it does not fit.
const MOST_TOLD: usize = 6;

/// A file with a patch in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Applied {
    /// What it is now.
    pub content: Vec<u8>,
    /// Hunks that fitted elsewhere than they said, or not to the letter, or counted their lines wrongly.
    pub mended_hunks: usize,
}

/// Why a patch does not fit.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Miss {
    /// A hunk is nowhere in the file.
    #[error("hunk {hunk} does not fit: {nearest}")]
    NotFound {
        /// 1 for the file's first.
        hunk: usize,
        /// What is most like it, in words.
        nearest: String,
    },
    /// A hunk that does not say where it is fits more than once.
    #[error(
        "hunk {hunk} fits in {places} places: give it more lines around the change, or a line number"
    )]
    Ambiguous {
        /// 1 for the file's first.
        hunk: usize,
        /// How many, as far as was counted.
        places: usize,
    },
    /// Two hunks change the same lines.
    #[error("hunks {first} and {second} change the same lines")]
    Overlap {
        /// The one.
        first: usize,
        /// The other.
        second: usize,
    },
    /// It would take too long.
    #[error(
        "the patch fits nowhere near where it says, and the file is too long to look everywhere"
    )]
    TooMuch,
}

impl Miss {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "patch_does_not_fit",
            Self::Ambiguous { .. } => "patch_ambiguous",
            Self::Overlap { .. } => "patch_overlaps",
            Self::TooMuch => "patch_too_complex",
        }
    }
}

/// A hunk in its place: lines of the old file that make room for others.
struct Placed<'a> {
    hunk: usize,
    from: usize,
    to: usize,
    is_exact: bool,
    patch: &'a Hunk,
}

/// Puts the hunks of a file's patch into it. Of a new file, the old one is empty.
pub fn apply(old: &[u8], patch: &FilePatch) -> Result<Applied, Miss> {
    let lines: Vec<&[u8]> = old.split_inclusive(|byte| *byte == b'\n').collect();
    let mut search = Search { lines: &lines, work: 0 };
    let mut placed: Vec<Placed<'_>> = Vec::new();
    let (mut offset, mut after, mut mended) = (0_isize, 0, 0);
    for (at, hunk) in patch.hunks.iter().enumerate() {
        let wanted: Vec<&[u8]> = hunk
            .lines
            .iter()
            .filter(|line| line.kind != LineKind::Insert)
            .map(|line| &*line.text)
            .collect();
        let found = if patch.action == Action::Add && lines.is_empty() {
            Place { at: 0, is_exact: true }
        } else {
            search.place(at + 1, hunk, &wanted, offset, after)?
        };
        if let Some(start) = hunk.old_start {
            offset = found.at as isize - (start.max(1) as isize - 1);
        }
        let moved = hunk.old_start.is_some_and(|start| start.max(1) - 1 != found.at);
        mended += usize::from(moved || !found.is_exact || hunk.is_mended);
        after = found.at + wanted.len();
        let (hunk_number, is_exact) = (at + 1, found.is_exact);
        placed.push(Placed { hunk: hunk_number, from: found.at, to: after, is_exact, patch: hunk });
    }
    placed.sort_by_key(|placed| placed.from);
    for two in placed.windows(2) {
        if two[0].to > two[1].from {
            return Err(Miss::Overlap { first: two[0].hunk, second: two[1].hunk });
        }
    }
    Ok(Applied { content: joined(&lines, &placed), mended_hunks: mended })
}

/// The lines with the hunks in their places.
fn joined(lines: &[&[u8]], placed: &[Placed<'_>]) -> Vec<u8> {
    let mut out = Writer { content: Vec::new(), is_crlf: is_crlf(lines) };
    let mut next = 0;
    for place in placed {
        for line in &lines[next..place.from] {
            out.kept(line);
        }
        let mut at = place.from;
        for line in &place.patch.lines {
            match line.kind {
                LineKind::Context => {
                    out.kept(lines[at]);
                    at += 1;
                }
                LineKind::Delete => at += 1,
                LineKind::Insert => out.inserted(&line.text, place.is_exact),
            }
        }
        next = place.to;
    }
    for line in &lines[next.min(lines.len())..] {
        out.kept(line);
    }
    out.content
}

/// Whether most lines end as on Windows.
fn is_crlf(lines: &[&[u8]]) -> bool {
    lines.iter().take(1000).filter(|line| line.ends_with(b"\r\n")).count() * 2
        > lines.len().min(1000)
}

struct Writer {
    content: Vec<u8>,
    is_crlf: bool,
}

impl Writer {
    /// A line that was last, and is so no more, gets an end.
    fn ended(&mut self) {
        if self.content.last().is_some_and(|last| *last != b'\n') {
            self.content.extend_from_slice(if self.is_crlf { b"\r\n" } else { b"\n" });
        }
    }

    fn kept(&mut self, line: &[u8]) {
        self.ended();
        self.content.extend_from_slice(line);
    }

    /// A line of the patch; its end is as the file's are, where the patch's others were not.
    fn inserted(&mut self, line: &[u8], is_exact: bool) {
        self.ended();
        match line.strip_suffix(b"\n") {
            Some(text) if !self.is_crlf && !is_exact && text.ends_with(b"\r") => {
                self.content.extend_from_slice(&text[..text.len() - 1]);
                self.content.push(b'\n');
            }
            Some(text) if self.is_crlf && !is_exact && !text.ends_with(b"\r") => {
                self.content.extend_from_slice(text);
                self.content.extend_from_slice(b"\r\n");
            }
            _ => self.content.extend_from_slice(line),
        }
    }
}

#[derive(Clone, Copy)]
struct Place {
    at: usize,
    is_exact: bool,
}

struct Search<'a> {
    lines: &'a [&'a [u8]],
    work: usize,
}

fn loosely(line: &[u8]) -> &[u8] {
    line.trim_ascii_end()
}

impl Search<'_> {
    fn place(
        &mut self,
        number: usize,
        hunk: &Hunk,
        wanted: &[&[u8]],
        offset: isize,
        after: usize,
    ) -> Result<Place, Miss> {
        let expected = hunk.old_start.map(|start| {
            let start = (start.max(1) - 1) as isize + offset;
            (start.max(0) as usize).min(self.lines.len())
        });
        if wanted.is_empty() {
            // New lines only: where they are said to be, else behind what comes before them, else last.
            let at = expected.or(self.anchored(hunk)).unwrap_or(self.lines.len());
            return Ok(Place { at, is_exact: true });
        }
        let end = self.lines.len().checked_sub(wanted.len());
        let Some(end) = end else { return Err(self.miss(number, wanted)) };
        let from = self.anchored(hunk).unwrap_or(0);
        for is_exact in [true, false] {
            let equal =
                |a: &[u8], b: &[u8]| if is_exact { a == b } else { loosely(a) == loosely(b) };
            let here = |at: usize| {
                at <= end && self.lines[at..].iter().zip(wanted).all(|(a, b)| equal(a, b))
            };
            let likely = if hunk.at_end { Some(end) } else { expected };
            if let Some(at) = likely.filter(|at| here(*at)) {
                return Ok(Place { at, is_exact });
            }
            let places = self.everywhere(wanted, is_exact, from)?;
            let chosen = match (expected, places.as_slice()) {
                (_, []) => continue,
                (_, [one]) => *one,
                (Some(expected), places) => {
                    let nearest = places.iter().min_by_key(|place| place.abs_diff(expected));
                    *nearest.unwrap_or(&0)
                }
                // It is the first behind the line it names, or behind the hunk before it.
                (None, places) if !hunk.anchors.is_empty() => places[0],
                (None, places) => {
                    let mut behind = places.iter().filter(|place| **place >= after);
                    match (after, behind.next(), behind.next()) {
                        (1.., Some(one), None) => *one,
                        _ => return Err(Miss::Ambiguous { hunk: number, places: places.len() }),
                    }
                }
            };
            return Ok(Place { at: chosen, is_exact });
        }
        Err(self.miss(number, wanted))
    }

    /// The line behind those that the hunk says come before it.
    fn anchored(&self, hunk: &Hunk) -> Option<usize> {
        let mut at = 0;
        for anchor in &hunk.anchors {
            let found =
                self.lines[at..].iter().position(|line| line.trim_ascii() == anchor.trim_ascii());
            at += found? + 1;
        }
        (!hunk.anchors.is_empty()).then_some(at)
    }

    /// All places where the lines are, by the algorithm of Knuth, Morris and Pratt: one look at each line.
    fn everywhere(
        &mut self,
        wanted: &[&[u8]],
        is_exact: bool,
        from: usize,
    ) -> Result<Vec<usize>, Miss> {
        self.work += self.lines.len() + wanted.len();
        if self.work > MOST_WORK {
            return Err(Miss::TooMuch);
        }
        let equal = |a: &[u8], b: &[u8]| if is_exact { a == b } else { loosely(a) == loosely(b) };
        let mut borders = vec![0; wanted.len()];
        let mut border = 0;
        for at in 1..wanted.len() {
            while border > 0 && !equal(wanted[at], wanted[border]) {
                border = borders[border - 1];
            }
            border += usize::from(equal(wanted[at], wanted[border]));
            borders[at] = border;
        }
        let (mut places, mut matched) = (Vec::new(), 0);
        for (at, line) in self.lines.iter().enumerate().skip(from) {
            while matched > 0 && !equal(line, wanted[matched]) {
                matched = borders[matched - 1];
            }
            matched += usize::from(equal(line, wanted[matched]));
            if matched == wanted.len() {
                places.push(at + 1 - matched);
                matched = borders[matched - 1];
            }
        }
        Ok(places)
    }

    /// Tells what is most like what was not found.
    fn miss(&self, number: usize, wanted: &[&[u8]]) -> Miss {
        let quoted = |line: &[u8]| {
            let text: String = String::from_utf8_lossy(loosely(line)).chars().take(100).collect();
            format!("{text:?}")
        };
        let is_short = self.lines.len().saturating_mul(wanted.len()) <= MOST_NEAREST_WORK;
        let alike = |at: usize| {
            let pairs = self.lines[at..].iter().zip(wanted);
            pairs
                .filter(|(a, b)| a.trim_ascii() == b.trim_ascii() && !b.trim_ascii().is_empty())
                .count()
        };
        // The first of those that are alike most.
        let best = (0..self.lines.len()).rev().filter(|_| is_short).max_by_key(|at| alike(*at));
        let mut nearest = match best {
            Some(at) if alike(at) > 0 => {
                let (like, all) = (alike(at), wanted.len());
                let mut text =
                    format!("nearest is line {}, where {like} of {all} lines are alike", at + 1);
                let differ = (0..all).filter(|index| {
                    self.lines
                        .get(at + index)
                        .is_none_or(|line| loosely(line) != loosely(wanted[*index]))
                });
                for index in differ.take(MOST_TOLD) {
                    let there = self.lines.get(at + index);
                    let there =
                        there.map_or_else(|| "the end of the file".to_owned(), |line| quoted(line));
                    let _ = write!(
                        text,
                        "; line {} is {there}, not {}",
                        at + index + 1,
                        quoted(wanted[index])
                    );
                }
                text
            }
            _ => {
                let first = wanted.iter().find(|line| !loosely(line).is_empty());
                let first = first.map_or_else(String::new, |line| quoted(line));
                format!("no line of it is in the file; it begins with {first}")
            }
        };
        if self.lines.is_empty() {
            "the file is empty".clone_into(&mut nearest);
        }
        Miss::NotFound { hunk: number, nearest }
    }
}
