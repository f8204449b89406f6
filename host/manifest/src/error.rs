//! What is wrong with a file of services, and where.

use pyro_core::Problem;

/// A file cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ManifestError {
    /// Its name does not say what it is.
    #[error("{file:?} is neither TOML nor YAML by its name")]
    UnknownKind {
        /// As it was given.
        file: String,
    },
    /// It, or what it grows to, is larger than is read.
    #[error("{file}: {what}")]
    TooLarge {
        /// Its name.
        file: String,
        /// What is too large, and what the limit is.
        what: String,
    },
    /// It is not the language it should be.
    #[error("{file}:{line}: {what}")]
    Syntax {
        /// Its name.
        file: String,
        /// Where, from 1.
        line: usize,
        /// In the parser's words.
        what: String,
    },
    /// It says something that makes no sense.
    #[error("{file}:{line}: {what}")]
    Invalid {
        /// Its name.
        file: String,
        /// Where, from 1.
        line: usize,
        /// What.
        what: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Of a file it names.
    #[error("{file}:{line}: the env_file {path} {what}")]
    EnvFile {
        /// Its name.
        file: String,
        /// Where it names the other.
        line: usize,
        /// The other.
        path: String,
        /// What is wrong with it.
        what: String,
    },
}

impl From<ManifestError> for Problem {
    fn from(error: ManifestError) -> Self {
        let problem = Self::invalid("invalid_manifest", error.to_string());
        match error {
            ManifestError::UnknownKind { .. } => {
                problem.hint("a file of services ends in .toml, or (compose) .yaml or .yml")
            }
            ManifestError::Invalid { hint: Some(hint), .. } => problem.hint(hint),
            ManifestError::EnvFile { .. } => {
                problem.hint("its path is relative to the file that names it")
            }
            _ => problem,
        }
    }
}
