//! What can be wrong with an archive, each with a stable code.

/// A fault of an archive. `member` is the member's name, escaped for a terminal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A name that would lead out of the destination, or that no file can have.
    #[error("the archive's member \"{member}\" has an unsafe name: {why}")]
    UnsafeName {
        /// The name, escaped.
        member: String,
        /// Which rule it breaks.
        why: &'static str,
    },
    /// More entries, or bytes, than the limits allow.
    #[error("the archive is too large at \"{member}\": more than {limit} {what}")]
    TooLarge {
        /// The member that was one too many, escaped.
        member: String,
        /// What is counted: "entries", "bytes", "bytes in one file".
        what: &'static str,
        /// The limit that was passed.
        limit: u64,
    },
    /// A directory below the root that cannot be opened or made; a link or a file stands there.
    #[error("cannot open the directory \"{member}\" without following links")]
    Directory {
        /// Its name below the root, escaped.
        member: String,
        /// What the system said.
        #[source]
        source: rustix::io::Errno,
    },
}

impl Error {
    /// The stable code of this fault.
    pub fn code(&self) -> &'static str {
        match self {
            Self::UnsafeName { .. } => "archive_unsafe_name",
            Self::TooLarge { .. } => "archive_too_large",
            Self::Directory { .. } => "archive_directory_failed",
        }
    }
}
