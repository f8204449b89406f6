//! `pyro run`: a command in a fresh VM.

use pyro_api::{RunRequest, RunResult};
use pyro_client::ClientError;
use pyro_core::Problem;

use super::wiring;
use crate::{
    arguments::RunArguments,
    context::Context,
    error::CommandError,
    session::{self, Outcome},
};

pub(super) async fn run(context: &Context, arguments: RunArguments) -> Result<u8, CommandError> {
    let printer = context.printer;
    let given = arguments.environment.clone();
    let plain = arguments.command.words.clone();
    let exec = wiring::exec_request(context, "run", arguments.command)?;
    let wiring = wiring::wiring(&exec, printer.json, false);
    let mut vm = wiring::machine(context, arguments.environment, arguments.vm)?;
    vm.network_policy = arguments.network.then(|| "egress".to_owned());
    vm.network_allow = arguments.allow;
    let node = context.node().await?;
    let request = RunRequest { vm, exec };
    let stream = printer.while_waiting("Starting a VM", node.run(&request)).await;
    let stream = stream.map_err(|error| with_hint(error, given.as_deref(), &plain))?;
    match session::carry(stream, wiring, printer).await? {
        Outcome::Ended(ended) => {
            let code = session::exit_code(&ended.result.exec, printer);
            if printer.json
                && let Some(cleanup) = ended.cleanup
            {
                let vm_id = cleanup.vm_id;
                printer.json(&RunResult { vm_id, result: ended.result, cleanup })?;
                return Ok(code.unwrap_or(125));
            }
            Ok(code?)
        }
        Outcome::Detached(_) => Ok(0),
        Outcome::Interrupted => Ok(130),
    }
}

/// The first plain word is the environment; who left it out is told how to write that.
fn with_hint(error: ClientError, given: Option<&str>, plain: &[String]) -> Problem {
    let problem = Problem::from(error);
    match given {
        Some(given) if problem.code.starts_with("environment_") && !plain.is_empty() => {
            let words = std::iter::once(given).chain(plain.iter().map(String::as_str));
            let line = shell_words::join(words);
            problem.hint(format!(
                "{given:?} was taken for the environment; if it is the command: pyro run -- {line}"
            ))
        }
        _ => problem,
    }
}
