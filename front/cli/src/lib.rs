//! The pyro command: parsing, printing, terminal.
//!
//! Owns what a person types and sees, and the exit codes. Refuses to know how anything is done: all
//! it does goes through the client, or through the hooks of [`Assembly`] for what the one binary is
//! besides a client.
//!
//! Data goes to stdout and all else to stderr. Only this crate reads the process environment (in
//! `environment.rs`).

mod arguments;
mod assembly;
mod commands;
mod completion;
mod config;
mod context;
mod environment;
mod error;
mod invocation;
mod output;
mod printer;
mod progress;
mod session;
mod terminal;
mod values;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

pub use assembly::{
    Assembly, Check, DoctorReport, DoctorRequest, McpServeRequest, McpSnippet, McpSnippetRequest,
    ServeRequest, Verdict,
};

use crate::{
    arguments::{Cli, Verb},
    context::Context,
    environment::Environment,
    error::CommandError,
    invocation::Invocation,
    printer::Printer,
};

/// The whole command: parses the arguments (the program's name first), does what they say, and
/// tells the exit code.
pub fn main(arguments: Vec<OsString>, assembly: &Assembly) -> ExitCode {
    // What other processes of pyro run by the thousand stays clear of the parser.
    match arguments.get(1).and_then(|verb| verb.to_str()) {
        Some("keep") if arguments.len() == 3 => {
            let mut arguments = arguments;
            return (assembly.keep)(arguments.swap_remove(2).into());
        }
        Some("probe-kvm") => return (assembly.probe_kvm)(arguments),
        _ => {}
    }
    if let Some(code) = completion::answer(&arguments) {
        return code;
    }
    let mut invocation = Invocation::new(arguments);
    let code = match start(&mut invocation, assembly) {
        Ok(code) => code,
        Err(error) => error::report(&error, &invocation, Printer::new(invocation.wants_json)),
    };
    ExitCode::from(code)
}

fn start(invocation: &mut Invocation, assembly: &Assembly) -> Result<u8, CommandError> {
    if let Some(what) = invocation.unbuilt() {
        return Err(error::not_available(&format!("`pyro {what}`")).into());
    }
    let cli = match Cli::try_parse_from(&invocation.arguments) {
        Ok(cli) => cli,
        Err(error) if !error.use_stderr() => {
            Printer::new(false).styled(&error.render())?;
            return Ok(0);
        }
        Err(error) => return Err(CommandError::Usage(Box::new(error))),
    };
    // Only now it is known: in `exec W tool --json` it is the tool's flag.
    invocation.wants_json = cli.verb.json();
    let printer = Printer::new(invocation.wants_json);
    let context = Context::new(Environment::of_process(), printer, invocation.command.take());
    match cli.verb {
        Verb::Serve(arguments) => commands::serve::serve(&context, assembly, &arguments),
        Verb::Mcp { verb } => commands::mcp::mcp(&context, assembly, verb),
        Verb::Doctor(arguments) => commands::doctor::doctor(&context, assembly, &arguments),
        Verb::Completions(arguments) => commands::completions::completions(&context, &arguments),
        verb => context::block_on(commands::dispatch(&context, verb)),
    }
}
