//! Verbs on files.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Subcommand};
use clap_complete::ArgValueCandidates;

use crate::completion;

#[derive(Subcommand, Debug)]
pub(crate) enum FileVerb {
    #[command(visible_alias = "ls")]
    List(FileListArguments),
    #[command(visible_alias = "cat")]
    Read(FileReadArguments),
    Write(FileWriteArguments),
    Edit(FileEditArguments),
    Stat(FileStatArguments),
    #[command(visible_alias = "mv")]
    Move(FileMoveArguments),
    #[command(visible_alias = "rm")]
    Remove(FileRemoveArguments),
    Mkdir(FileMkdirArguments),
    #[command(visible_alias = "grep")]
    Search(FileSearchArguments),
}

impl FileVerb {
    pub(super) fn json(&self) -> bool {
        match self {
            Self::List(arguments) => arguments.json,
            Self::Read(arguments) => arguments.json,
            Self::Write(arguments) => arguments.json,
            Self::Edit(arguments) => arguments.json,
            Self::Stat(arguments) => arguments.json,
            Self::Move(arguments) => arguments.json,
            Self::Remove(arguments) => arguments.json,
            Self::Mkdir(arguments) => arguments.json,
            Self::Search(arguments) => arguments.json,
        }
    }
}

/// List what is in a directory of a workspace
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  pyro file list web\n  pyro file list web /etc --recursive --json"
)]
pub(crate) struct FileListArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Absolute, or relative to /workspace
    #[arg(default_value = "/workspace")]
    pub(crate) path: OsString,
    /// Go into directories
    #[arg(long, short = 'r')]
    pub(crate) recursive: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print a file of a workspace, or a part of it
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro file read web src/app.py
  pyro file read web src/app.py --lines 20:40
  pyro file read web /var/log/big.log --offset 1000000 --max-bytes 4096
  pyro file read web image.png --content-only > image.png")]
pub(crate) struct FileReadArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Absolute, or relative to /workspace
    pub(crate) path: OsString,
    /// The most bytes, up to 1 MiB
    #[arg(long, default_value_t = 65536)]
    pub(crate) max_bytes: u64,
    /// Begin at this byte
    #[arg(long, conflicts_with = "lines")]
    pub(crate) offset: Option<u64>,
    /// Only these lines: FIRST:LAST, FIRST: or one
    #[arg(long, value_name = "FIRST:LAST", value_parser = line_range)]
    pub(crate) lines: Option<(u64, Option<u64>)>,
    /// Print its bytes as they are, and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(crate) content_only: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// The first line, and how many.
fn line_range(text: &str) -> Result<(u64, Option<u64>), String> {
    let number = |text: &str| {
        let parsed = text.parse().ok().filter(|number| *number > 0);
        parsed.ok_or_else(|| format!("{text:?} is not the number of a line"))
    };
    match text.split_once(':') {
        None => Ok((number(text)?, Some(1))),
        Some((first, "")) => Ok((number(first)?, None)),
        Some((first, last)) => {
            let (first, last) = (if first.is_empty() { 1 } else { number(first)? }, number(last)?);
            let count = (last + 1).checked_sub(first).filter(|count| *count > 0);
            Ok((first, Some(count.ok_or("the last line comes before the first")?)))
        }
    }
}

/// Write a file of a workspace, whole or not at all
///
/// Directories on the way are made; the mode of a file that is there stays as it is.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro file write web notes.txt --text 'hello'
  pyro file write web run.sh --text-file run.sh --mode 755
  echo hello | pyro file write web notes.txt --text-file -")]
pub(crate) struct FileWriteArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Absolute, or relative to /workspace
    pub(crate) path: OsString,
    /// What to write
    #[arg(long, required_unless_present = "text_file", conflicts_with = "text_file")]
    pub(crate) text: Option<String>,
    /// A file of this host with what to write, any bytes; - is standard input
    #[arg(long, value_name = "PATH")]
    pub(crate) text_file: Option<PathBuf>,
    /// Permissions in octal [default: as they were, of a new file 644]
    #[arg(long)]
    pub(crate) mode: Option<String>,
    /// Fail where something is there already
    #[arg(long)]
    pub(crate) create_only: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Replace text in a file of a workspace
#[derive(Args, Debug)]
#[command(
    after_help = "Example:\n  pyro file edit web app.py --old 'debug = False' --new 'debug = True'"
)]
pub(crate) struct FileEditArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Absolute, or relative to /workspace
    pub(crate) path: OsString,
    /// What to replace; it must be there exactly once, unless --all is given
    #[arg(long)]
    pub(crate) old: String,
    /// What takes its place
    #[arg(long)]
    pub(crate) new: String,
    /// Replace it wherever it is
    #[arg(long)]
    pub(crate) all: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show what a path of a workspace stands for
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pyro file stat web /workspace/run.sh")]
pub(crate) struct FileStatArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Absolute, or relative to /workspace
    pub(crate) path: OsString,
    /// Where it is a symlink: show what that leads to
    #[arg(long, short = 'L')]
    pub(crate) follow: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Rename a file or a directory of a workspace
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pyro file move web draft.md docs/guide.md")]
pub(crate) struct FileMoveArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// What: absolute, or relative to /workspace
    pub(crate) path: OsString,
    /// Its new path; directories on the way are made
    pub(crate) to: OsString,
    /// Replace a file that is there
    #[arg(long)]
    pub(crate) replace: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Remove a file or a directory of a workspace
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pyro file remove web node_modules --recursive")]
pub(crate) struct FileRemoveArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Absolute, or relative to /workspace
    pub(crate) path: OsString,
    /// A directory with all that is in it
    #[arg(long, short = 'r')]
    pub(crate) recursive: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Make a directory in a workspace, with those it lies in
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  pyro file mkdir web src/pages")]
pub(crate) struct FileMkdirArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// Absolute, or relative to /workspace
    pub(crate) path: OsString,
    /// Permissions in octal [default: 755]
    #[arg(long)]
    pub(crate) mode: Option<String>,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

/// Look for lines in the files of a workspace
///
/// What .gitignore names, what is hidden and what is no text is left out, as ripgrep does.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pyro file search web 'fn main'
  pyro file search web TODO src --glob '*.py' --context 2
  pyro file search web 'a.b(' --literal --names-only")]
pub(crate) struct FileSearchArguments {
    /// The workspace: id, prefix, name or @
    #[arg(add = ArgValueCandidates::new(completion::workspaces))]
    pub(crate) workspace: String,
    /// A regular expression, of lines
    pub(crate) pattern: String,
    /// A directory or a file
    #[arg(default_value = "/workspace")]
    pub(crate) path: String,
    /// The pattern is a text
    #[arg(long, short = 'F')]
    pub(crate) literal: bool,
    /// Upper and lower case are alike
    #[arg(long, short = 'i')]
    pub(crate) ignore_case: bool,
    /// Only files with such names, as in a .gitignore; with ! in front: not those; may be repeated
    #[arg(long, short = 'g', value_name = "GLOB", allow_hyphen_values = true)]
    pub(crate) glob: Vec<String>,
    /// Lines before and after
    #[arg(long, short = 'C', value_name = "LINES", default_value_t = 0)]
    pub(crate) context: u32,
    /// The most lines, up to 10,000
    #[arg(long, value_name = "COUNT", default_value_t = 200)]
    pub(crate) max_matches: u64,
    /// Look into what .gitignore names and what is hidden too
    #[arg(long, short = 'a')]
    pub(crate) all: bool,
    /// Print only the names of files, each once
    #[arg(long, short = 'l')]
    pub(crate) names_only: bool,
    /// Fail rather than start a stopped workspace
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Print it as one JSON document
    #[arg(long)]
    pub(crate) json: bool,
}

#[cfg(test)]
mod tests {
    use super::line_range;

    #[test]
    fn lines_are_a_range_or_one() {
        assert_eq!(line_range("7"), Ok((7, Some(1))));
        assert_eq!(line_range("7:"), Ok((7, None)));
        assert_eq!(line_range(":3"), Ok((1, Some(3))));
        assert_eq!(line_range("20:40"), Ok((20, Some(21))));
        for wrong in ["", "0", "a", "5:4", "5:0", "-1"] {
            line_range(wrong).unwrap_err();
        }
    }
}
