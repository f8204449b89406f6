//! Patches as they are written: by `git diff`, by `diff -u`, and by models, who count badly.
//!
//! A patch becomes, file by file, hunks of lines; where they fit is [`crate::apply`]'s matter. Names of a
//! patch are bytes, relative to where it is applied, or absolute.

use std::fmt;

mod classic;
mod model;
mod name;

/// The longest patch, bytes.
pub const LONGEST_PATCH: usize = 1 << 20;

/// What a patch says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Patch {
    /// File by file, in its order.
    pub files: Vec<FilePatch>,
}

/// What becomes of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Its content or mode changes.
    Modify,
    /// It is new.
    Add,
    /// It goes.
    Delete,
    /// It gets another name, and may change.
    Rename,
    /// A copy of it is made, which may differ.
    Copy,
}

/// What a patch says of one file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilePatch {
    /// What becomes of it.
    pub action: Action,
    /// Its name before; of a new one, its name.
    pub old: Vec<u8>,
    /// Its name afterwards; of one that goes, its name.
    pub new: Vec<u8>,
    /// As git writes it: `0o100755` of an executable, `0o120000` of a symlink.
    pub mode: Option<u32>,
    /// What changes, in the order of the patch.
    pub hunks: Vec<Hunk>,
}

/// Lines that stand together.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hunk {
    /// Where it is said to begin in the old file, 1 for the first line.
    pub old_start: Option<usize>,
    /// Lines that come before it, each after the one before: as models say where they are.
    pub anchors: Vec<Vec<u8>>,
    /// It is said to be at the end of the file.
    pub at_end: bool,
    /// The lines.
    pub lines: Vec<Line>,
    /// Its header did not count its lines rightly.
    pub is_mended: bool,
}

/// A line of a hunk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// What becomes of it.
    pub kind: LineKind,
    /// With its end, unless it has none.
    pub text: Vec<u8>,
}

/// What becomes of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LineKind {
    /// It stays.
    Context,
    /// It goes.
    Delete,
    /// It is new.
    Insert,
}

/// A patch that cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PatchError {
    /// There is no change in it.
    #[error("the patch holds no change that can be read")]
    Empty,
    /// It is longer than is taken.
    #[error("the patch is longer than {LONGEST_PATCH} bytes")]
    TooLong,
    /// It changes a file that is no text.
    #[error("the patch changes {0}, which is binary: write that file instead")]
    Binary(String),
    /// A line that has no place where it is.
    #[error("line {line} of the patch, {text:?}, cannot be read: {why}")]
    Line {
        /// 1 for the first.
        line: usize,
        /// The line.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name that leads out.
    #[error("the patch names {0:?}, which is not within the place it is applied to")]
    Name(String),
}

impl PatchError {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "patch_empty",
            Self::TooLong => "patch_too_long",
            Self::Binary(_) => "patch_binary",
            Self::Line { .. } => "patch_malformed",
            Self::Name(_) => "patch_unsafe_name",
        }
    }
}

impl FilePatch {
    fn new(action: Action, old: Vec<u8>, new: Vec<u8>) -> Self {
        Self { action, old, new, mode: None, hunks: Vec::new() }
    }

    /// Whether it would make a symlink.
    pub fn is_symlink(&self) -> bool {
        self.mode.is_some_and(|mode| mode & 0o170_000 == 0o120_000)
    }
}

impl fmt::Display for FilePatch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&String::from_utf8_lossy(&self.new))
    }
}

/// Reads a patch. Names in it are relative to the place it is applied to; an absolute one must lie within
/// `base`, and loses it.
pub fn parse(text: &[u8], base: &[u8]) -> Result<Patch, PatchError> {
    if text.len() > LONGEST_PATCH {
        return Err(PatchError::TooLong);
    }
    let lines = unfenced(text.split_inclusive(|byte| *byte == b'\n').collect());
    let is_model = lines.iter().any(|line| trimmed(line) == b"*** Begin Patch");
    let mut files = if is_model { model::parse(&lines)? } else { classic::parse(&lines)? };
    if files.is_empty() {
        return Err(PatchError::Empty);
    }
    for file in &mut files {
        file.old = name::within(&file.old, base)?;
        file.new = name::within(&file.new, base)?;
    }
    Ok(Patch { files })
}

/// Without the fence of a code block around it.
fn unfenced(lines: Vec<&[u8]>) -> Vec<&[u8]> {
    let is_fence = |line: &&[u8]| line.starts_with(b"```");
    let first = lines.iter().position(|line| !trimmed(line).is_empty()).unwrap_or(0);
    if !lines.get(first).is_some_and(is_fence) {
        return lines;
    }
    let last = lines.iter().rposition(is_fence).filter(|last| *last > first);
    lines[first + 1..last.unwrap_or(lines.len())].to_vec()
}

/// Without blanks at its end.
fn trimmed(line: &[u8]) -> &[u8] {
    line.trim_ascii_end()
}

/// A line of a hunk's body; none where it is something else. An empty one is a line that stays, whose
/// blank got lost.
fn body_line(line: &[u8]) -> Option<Line> {
    let (kind, text) = match line {
        [b' ', text @ ..] => (LineKind::Context, text),
        [b'-', text @ ..] => (LineKind::Delete, text),
        [b'+', text @ ..] => (LineKind::Insert, text),
        [b'\n'] | [b'\r', b'\n'] => (LineKind::Context, line),
        _ => return None,
    };
    let mut text = text.to_vec();
    // The last line of a patch may have lost its end; only a mark says that the file's has none.
    if !text.ends_with(b"\n") {
        text.push(b'\n');
    }
    Some(Line { kind, text })
}

fn shown(text: &[u8]) -> String {
    String::from_utf8_lossy(trimmed(text)).chars().take(120).collect()
}
