//! The report: for programs as a document, for people as checks in order.

use std::path::PathBuf;

use pyro_core::Problem;
use pyro_vmm::{BackendName, kvm::KvmReport};
use serde::Serialize;

use crate::Proof;

/// What was found on this host.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The platform that was examined.
    pub platform: String,
    /// pyro's version.
    pub version: String,
    /// Whether a virtual machine was just seen to run with the backend that would be picked.
    pub healthy: bool,
    /// The same, by its older name.
    pub runtime_ok: bool,
    /// What is wrong, a line each.
    pub issues: Vec<String>,
    /// The backend that would be picked.
    pub backend: Option<BackendName>,
    /// Whether guests of that backend run on the processor itself.
    pub accelerated: bool,
    /// KVM.
    pub kvm: KvmDevice,
    /// Every backend, the preferred one first.
    pub backends: Vec<BackendReport>,
    /// The guests' kernel, if it is there.
    pub kernel: Option<KernelReport>,
    /// The names of the environments that can be used at once.
    pub environments: Vec<String>,
    /// Programs of the distribution that some verbs need.
    pub programs: Vec<ProgramReport>,
    /// Where workspaces are.
    pub state_directory: PlaceReport,
    /// Where images are.
    pub cache_directory: PlaceReport,
    /// The node, as far as the state directory tells.
    pub node: NodeReport,
    /// The same in the order in which people read it.
    #[serde(skip)]
    pub checks: Vec<Check>,
}

/// `/dev/kvm` and what it is good for.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct KvmDevice {
    /// Whether there is one.
    pub exists: bool,
    /// Whether this user may read it.
    pub readable: bool,
    /// Whether this user may write it.
    pub writable: bool,
    /// Whether guests run.
    pub usable: bool,
    /// What was measured.
    #[serde(flatten)]
    pub report: KvmReport,
}

/// One backend.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct BackendReport {
    /// Its name.
    pub backend: BackendName,
    /// Whether its guests run on the processor itself.
    pub accelerated: bool,
    /// Its program.
    pub program: Option<PathBuf>,
    /// What the program says its version is.
    pub program_version: Option<String>,
    /// Whether a guest was just booted with it.
    pub proven: bool,
    /// What was seen of that guest.
    pub proof: Option<Proof>,
    /// Why it cannot be used.
    pub problem: Option<Problem>,
}

/// The guests' kernel.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct KernelReport {
    /// What `uname -r` says in a guest.
    pub release: String,
    /// The package it comes from.
    pub package: String,
    /// The package's version.
    pub version: String,
    /// The file.
    pub path: PathBuf,
}

/// A program of the distribution.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ProgramReport {
    /// Its name.
    pub name: &'static str,
    /// Where it stands, if it does.
    pub path: Option<PathBuf>,
    /// The package that has it.
    pub package: &'static str,
    /// What needs it.
    pub needed_for: &'static str,
}

/// A directory that pyro uses.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct PlaceReport {
    /// The directory; none where nothing says where it would be.
    pub path: Option<PathBuf>,
    /// Whether files can be made in it, or it can be made.
    pub writable: bool,
    /// What is free on its disk, in bytes.
    pub free_bytes: Option<u64>,
    /// Why it cannot be used.
    pub problem: Option<String>,
}

/// The node, as far as the state directory tells.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct NodeReport {
    /// Whether one lives.
    pub running: bool,
    /// Its process id.
    pub pid: Option<i64>,
    /// Its version.
    pub version: Option<String>,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What was looked at, one or two words.
    pub name: String,
    /// How it is.
    pub verdict: Verdict,
    /// What was found, one line.
    pub summary: String,
    /// What to type where something is missing.
    pub hints: Vec<String>,
}

/// How one thing is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// As it should be.
    Good,
    /// Worth knowing; nothing is broken.
    Notice,
    /// Broken or missing.
    Bad,
}

impl Check {
    pub(crate) fn good(name: &str, summary: impl Into<String>) -> Self {
        Self::new(name, Verdict::Good, summary)
    }

    pub(crate) fn new(name: &str, verdict: Verdict, summary: impl Into<String>) -> Self {
        Self { name: name.into(), verdict, summary: summary.into(), hints: Vec::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn problem(name: &str, verdict: Verdict, problem: &Problem) -> Self {
        let mut check = Self::new(name, verdict, problem.to_string());
        check.hints.clone_from(&problem.hints);
        check
    }
}
