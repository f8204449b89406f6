//! What can go wrong with an archive, each with a stable code.

use std::io;

use rustix::io::Errno;

/// How many bytes of a hostile name an error shows.
const SHOWN: usize = 200;

/// A fault of an archive, of the tree it is made from, or of the tree it is unpacked to.
///
/// `member` is a name within the archive or the tree, escaped for a terminal and cut.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name that would lead out of the destination, or that no file can have.
    #[error("the member \"{member}\" has an unsafe name: {why}")]
    UnsafeName {
        /// The name.
        member: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// A hard link to what is no regular file of the same tree.
    #[error("the member \"{member}\" is a hard link to \"{target}\": {why}")]
    UnsafeLink {
        /// The link's name.
        member: String,
        /// What it names.
        target: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// A name that comes twice where that cannot be streamed.
    #[error("the member \"{member}\" comes twice")]
    Duplicate {
        /// The name.
        member: String,
    },
    /// Bytes that are no tar archive, or one that contradicts itself.
    #[error("the archive is malformed at \"{member}\": {why}")]
    Malformed {
        /// The member, or the one before it.
        member: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The archive ends before its end mark.
    #[error("the archive is cut off after \"{member}\"")]
    Truncated {
        /// The last member that began.
        member: String,
    },
    /// More than the limits allow.
    #[error("the archive is too large at \"{member}\": more than {limit} {what}")]
    TooLarge {
        /// The member that was one too many.
        member: String,
        /// What is counted.
        what: &'static str,
        /// The limit that was passed.
        limit: u64,
    },
    /// A device, or a type of member that this crate does not know.
    #[error("the member \"{member}\" is {kind}, which is not taken")]
    UnsupportedMember {
        /// The name.
        member: String,
        /// What it is.
        kind: &'static str,
    },
    /// Something stands at the member's name, and nothing is to be replaced.
    #[error("\"{member}\" exists already")]
    Exists {
        /// The name.
        member: String,
    },
    /// A directory with content stands where something else is to be put.
    #[error("\"{member}\" is a directory that is not empty")]
    Conflict {
        /// The name.
        member: String,
    },
    /// The archive could not be read.
    #[error("cannot read the archive after \"{member}\"")]
    Source {
        /// The last member that began.
        member: String,
        /// What the reader said.
        #[source]
        source: io::Error,
    },
    /// The archive could not be written.
    #[error("cannot write the archive at \"{member}\"")]
    Sink {
        /// The member being written.
        member: String,
        /// What the writer said.
        #[source]
        source: io::Error,
    },
    /// A file of the tree could not be read.
    #[error("cannot read \"{member}\"")]
    Unreadable {
        /// The file.
        member: String,
        /// What the system said.
        #[source]
        source: Errno,
    },
    /// A file of the tree could not be made or changed.
    #[error("cannot write \"{member}\"")]
    Unwritable {
        /// The file.
        member: String,
        /// What the system said.
        #[source]
        source: Errno,
    },
    /// What the archive does not have could not be removed.
    #[error("cannot remove \"{member}\"")]
    Unremovable {
        /// The file.
        member: String,
        /// What the system said.
        #[source]
        source: Errno,
    },
    /// The caller's cancel check said so.
    #[error("cancelled at \"{member}\"")]
    Cancelled {
        /// The member in work.
        member: String,
    },
    /// The source is neither a directory nor an archive of a known format.
    #[error("\"{path}\" is neither a directory nor a .tar, .tar.gz or .tar.zst archive")]
    UnknownFormat {
        /// The path.
        path: String,
    },
    /// The source cannot be opened.
    #[error("cannot open \"{path}\"")]
    Open {
        /// The path.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An exclude pattern that is no pattern, or rules for an archive.
    #[error("the rule \"{rule}\" cannot be used: {why}")]
    Rule {
        /// The pattern.
        rule: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// The stable code of this fault.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsafeName { .. } => "archive_unsafe_name",
            Self::UnsafeLink { .. } => "archive_unsafe_link",
            Self::Duplicate { .. } => "archive_duplicate_member",
            Self::Malformed { .. } => "archive_malformed",
            Self::Truncated { .. } => "archive_truncated",
            Self::TooLarge { .. } => "archive_too_large",
            Self::UnsupportedMember { .. } => "archive_unsupported_member",
            Self::Exists { .. } => "archive_exists",
            Self::Conflict { .. } => "archive_conflict",
            Self::Source { .. } => "archive_source_failed",
            Self::Sink { .. } => "archive_sink_failed",
            Self::Unreadable { .. } => "archive_unreadable",
            Self::Unwritable { .. } => "archive_unwritable",
            Self::Unremovable { .. } => "archive_unremovable",
            Self::Cancelled { .. } => "archive_cancelled",
            Self::UnknownFormat { .. } => "archive_unknown_format",
            Self::Open { .. } => "archive_open_failed",
            Self::Rule { .. } => "archive_bad_rule",
        }
    }

    /// What to do next, where there is something to do.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::UnsafeName { .. } | Self::UnsafeLink { .. } => {
                "make the archive from a directory, with relative names: tar -C DIR -cf FILE ."
            }
            Self::Duplicate { .. } => "make the archive anew: this one was appended to",
            Self::Truncated { .. } => "fetch or make the archive again",
            Self::TooLarge { .. } => "leave out what is not needed, with --exclude",
            Self::UnsupportedMember { .. } => "make the archive without devices",
            Self::Exists { .. } => {
                "choose another destination, or allow what is there to be replaced"
            }
            Self::UnknownFormat { .. } => {
                "give a directory, or a tar: plain, or compressed by gzip or Zstandard"
            }
            Self::Conflict { .. } => "move the directory away first",
            Self::Unreadable { .. } => "make the file readable, or leave it out with --exclude",
            _ => return None,
        })
    }
}

/// A name as errors show it.
pub(crate) fn shown(name: &[u8]) -> String {
    let mut text = name[..name.len().min(SHOWN)].escape_ascii().to_string();
    if name.len() > SHOWN {
        text.push_str("...");
    }
    text
}
