//! `/init` of the microVM.

use std::process::ExitCode;

fn main() -> ExitCode {
    let ended = match std::env::args().nth(1).as_deref() {
        Some("workload") => pyro_agent::workload_main(),
        _ if std::process::id() == 1 => pyro_agent::agent_main(),
        _ => return ExitCode::from(2),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
