//! `/init` of the microVM.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let ended = match (arguments.next().as_deref(), arguments.next()) {
        (Some("workload"), Some(hostname)) => pyro_agent::workload_main(&hostname),
        _ if std::process::id() == 1 => pyro_agent::agent_main(),
        _ => return ExitCode::from(2),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
