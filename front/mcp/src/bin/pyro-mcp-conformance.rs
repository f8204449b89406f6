//! The conformance suite's fixtures on pyro's transport and middleware.
//!
//!     pyro-mcp-conformance STATE-DIRECTORY      listens on a free port and says where, as pyro does

#![allow(clippy::print_stderr)]

use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(state) = std::env::args_os().nth(1) else {
        eprintln!("usage: pyro-mcp-conformance STATE-DIRECTORY");
        return ExitCode::from(2);
    };
    let served = pyro_mcp::serve_fixtures(state.as_ref(), |listening| {
        eprintln!("listening on {}\nAuthorization: Bearer {}", listening.url, listening.token);
        Ok(())
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}
