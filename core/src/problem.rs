//! The one form in which an error reaches a person or a program.

use std::{error::Error, io};

use serde::{Deserialize, Serialize};

/// An error at the edge: what happened, why, and what to type next.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Problem {
    /// Which family it belongs to; decides HTTP status and Python exception.
    pub kind: Kind,
    /// Stable, in snake_case: programs may compare it.
    pub code: String,
    /// One clear line without the causes.
    pub message: String,
    /// The chain of sources, outermost first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<String>,
    /// What to do next, each a sentence or a command.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// The families of problems.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The request itself is wrong (HTTP 400, `ValueError`).
    Invalid,
    /// What was asked for does not exist (HTTP 404, `ValueError`).
    NotFound,
    /// The state does not allow it now (HTTP 409, `RuntimeError`).
    Conflict,
    /// Part of the contract that is not built yet (HTTP 501, `RuntimeError`).
    NotAvailable,
    /// It was right to ask, and it failed (HTTP 500, `RuntimeError`).
    Failed,
}

impl Kind {
    /// The HTTP status that carries this kind.
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::NotAvailable => 501,
            Self::Failed => 500,
        }
    }
}

impl Problem {
    /// A problem without causes and hints.
    pub fn new(kind: Kind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
            causes: Vec::new(),
            hints: Vec::new(),
        }
    }

    /// The request itself is wrong.
    pub fn invalid(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, code, message)
    }

    /// What was asked for does not exist.
    pub fn not_found(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, code, message)
    }

    /// The state does not allow it now.
    pub fn conflict(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, code, message)
    }

    /// It failed.
    pub fn failed(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, code, message)
    }

    /// A failure told by an error and its chain of sources.
    pub fn from_error(code: impl Into<String>, error: &dyn Error) -> Self {
        let mut problem = Self::failed(code, error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            problem.causes.push(cause.to_string());
            source = cause.source();
        }
        problem
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds a cause below those already there.
    #[must_use]
    pub fn cause(mut self, cause: impl std::fmt::Display) -> Self {
        self.causes.push(cause.to_string());
        self
    }
}

/// Whether an error or any of its sources says that a disk, or the user's part of it, is full.
pub fn is_disk_full(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    false
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)?;
        for cause in &self.causes {
            write!(f, ": {cause}")?;
        }
        Ok(())
    }
}

impl Error for Problem {}

impl From<crate::InvalidId> for Problem {
    fn from(error: crate::InvalidId) -> Self {
        Self::invalid("invalid_id", error.to_string())
    }
}

impl From<crate::InvalidName> for Problem {
    fn from(error: crate::InvalidName) -> Self {
        let (code, hint) = match error.what {
            "environment name" => {
                ("invalid_environment_name", "`pyro env list` lists the environments there are")
            }
            "workspace name" => ("invalid_workspace_name", "for example: --name web-2"),
            "snapshot name" => ("invalid_snapshot_name", "for example: before-upgrade"),
            "service name" => ("invalid_service_name", "for example: web-2"),
            _ => ("invalid_label", "for example: --label team=web"),
        };
        Self::invalid(code, error.to_string()).hint(hint)
    }
}

impl From<crate::InvalidSize> for Problem {
    fn from(error: crate::InvalidSize) -> Self {
        let problem = Self::invalid("invalid_limit", error.to_string());
        match error.what {
            "memory size" => problem.hint("for example: --mem-mib 2048, or -m 2g"),
            "disk size" => problem.hint("for example: --disk-mib 20480, or --disk-mib 20g"),
            "vcpu count" => problem.hint("for example: --vcpu-count 2"),
            _ => problem,
        }
    }
}
