//! The one binary: assembly only.
//!
//! `pyro` is the command line, the node (`serve`), the keeper (`keep`) and the KVM probe
//! (`probe-kvm`), and it carries the guest agent. What each of them does stands in its own crate.

mod log;
mod mcp;
mod serve;

use std::{ffi::OsString, io::Write, path::PathBuf, process::ExitCode};

use pyro_cli::{Assembly, Check, DoctorReport, DoctorRequest, Verdict};
use pyro_core::Problem;

/// The guest agent, a static binary that becomes PID 1 of every guest.
static AGENT: &[u8] = include_bytes!(env!("PYRO_AGENT"));

fn main() -> ExitCode {
    pyro_cli::main(
        std::env::args_os().collect(),
        &Assembly {
            serve: serve::serve,
            keep,
            probe_kvm,
            doctor,
            mcp: mcp::serve,
            mcp_snippet: mcp::snippet,
        },
    )
}

#[expect(clippy::needless_pass_by_value, reason = "the shape Assembly asks for")]
fn keep(directory: PathBuf) -> ExitCode {
    match pyro_keeper::run(&directory) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The node reads this from the keeper's stderr.
            let problem = Problem::from_error("keeper_failed", &error);
            let _ = writeln!(std::io::stderr(), "error: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn probe_kvm(_: Vec<OsString>) -> ExitCode {
    let report = pyro_vmm::kvm::probe();
    let written = serde_json::to_string(&report)
        .map_err(std::io::Error::other)
        .and_then(|line| writeln!(std::io::stdout(), "{line}"));
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn doctor(request: DoctorRequest) -> Result<DoctorReport, Problem> {
    let request = pyro_doctor::Request {
        state: request.state,
        cache: request.cache,
        program: request.program,
        search_path: serve::search_path(),
        platform: request.platform,
        backend: request.backend,
        agent: AGENT,
        version: env!("CARGO_PKG_VERSION"),
    };
    let report = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Problem::from_error("doctor_failed", &error))?
        .block_on(pyro_doctor::examine(request));
    let payload = serde_json::to_value(&report)
        .map_err(|error| Problem::from_error("doctor_failed", &error))?;
    let check = |check: pyro_doctor::Check| Check {
        name: check.name,
        verdict: match check.verdict {
            pyro_doctor::Verdict::Good => Verdict::Good,
            pyro_doctor::Verdict::Notice => Verdict::Notice,
            pyro_doctor::Verdict::Bad => Verdict::Bad,
        },
        summary: check.summary,
        hints: check.hints,
    };
    Ok(DoctorReport {
        usable: report.healthy,
        payload,
        checks: report.checks.into_iter().map(check).collect(),
    })
}
