//! `pyro completions`: the script that makes a shell complete words.

use clap_complete::env::Shells;

use crate::{arguments::CompletionsArguments, context::Context, error::CommandError};

pub(crate) fn completions(
    context: &Context,
    arguments: &CompletionsArguments,
) -> Result<u8, CommandError> {
    let shells = Shells::builtins();
    let shell = shells.completer(&arguments.shell).expect("the parser let only these names pass");
    let mut script = Vec::new();
    shell
        .write_registration("COMPLETE", "pyro", "pyro", "pyro", &mut script)
        .expect("writing to memory does not fail");
    context.printer.raw(&script)?;
    Ok(0)
}
