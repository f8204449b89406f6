//! How a command fails: what is printed, and with which exit code it ends.

use std::io;

use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue},
};
use pyro_api::ErrorBody;
use pyro_client::ClientError;
use pyro_core::{Kind, Problem};

use crate::{arguments::Cli, invocation::Invocation, printer::Printer};

/// What `sh` reports for a writer whose reader went: 128 plus the number of SIGPIPE.
pub(crate) const BROKEN_PIPE: u8 = 128 + 13;

/// A command ended without doing what it was asked to.
#[derive(Debug)]
pub(crate) enum CommandError {
    /// The command line is wrong.
    Usage(Box<clap::Error>),
    /// It failed.
    Problem(Problem),
    /// Nobody reads stdout any more.
    BrokenPipe,
}

impl From<Problem> for CommandError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        Self::Problem(error.into())
    }
}

impl CommandError {
    /// Writing to stdout failed.
    pub(crate) fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::Problem(Problem::failed("output_failed", "cannot write to stdout").cause(error))
    }

    /// The command line parses, but makes no sense to this verb, whose usage is told.
    pub(crate) fn usage(verb: &str, message: &str) -> Self {
        let mut command = Cli::command();
        command.build();
        let mut command = &mut command;
        for word in verb.split(' ') {
            command = command.find_subcommand_mut(word).expect("a verb tells its own name");
        }
        let error = command.error(clap::error::ErrorKind::MissingRequiredArgument, message);
        Self::Usage(Box::new(error))
    }
}

/// Part of the contract that is not built yet.
pub(crate) fn not_available(what: &str) -> Problem {
    Problem::new(Kind::NotAvailable, "not_available", format!("{what} is not available yet"))
        .hint("what there is: pyro --help")
}

/// Prints an error and tells the exit code.
pub(crate) fn report(error: &CommandError, invocation: &Invocation, printer: Printer) -> u8 {
    let problem = match error {
        CommandError::BrokenPipe => return BROKEN_PIPE,
        CommandError::Usage(error) if !invocation.wants_json => {
            printer.usage(error);
            return if invocation.runs { 125 } else { 2 };
        }
        CommandError::Usage(error) => usage_problem(error),
        CommandError::Problem(problem) => problem.clone(),
    };
    let code = match (error, problem.code.as_str()) {
        (CommandError::Usage(_), _) if !invocation.runs => 2,
        (_, "command_not_executable") if invocation.runs => 126,
        (_, "command_not_found") if invocation.runs => 127,
        _ if invocation.runs => 125,
        _ => 1,
    };
    if invocation.wants_json {
        let body = ErrorBody::from(problem);
        let printed =
            if invocation.tells_lines { printer.json_line(&body) } else { printer.json(&body) };
        if printed.is_err() {
            return BROKEN_PIPE;
        }
    } else {
        printer.problem(&problem);
    }
    code
}

/// Wrong usage as a problem with the nearest right spelling as its hint.
fn usage_problem(error: &clap::Error) -> Problem {
    let rendered = error.render().to_string();
    let first = rendered.lines().next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first);
    let mut problem = Problem::invalid("invalid_usage", message);
    for kind in
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue]
    {
        match error.get(kind) {
            Some(ContextValue::String(near)) => {
                problem = problem.hint(format!("did you mean {near}?"));
            }
            Some(ContextValue::Strings(near)) if !near.is_empty() => {
                problem = problem.hint(format!("did you mean {}?", near.join(" or ")));
            }
            _ => {}
        }
    }
    match rendered.lines().find(|line| line.starts_with("Usage: ")) {
        Some(usage) => problem.hint(usage.to_owned()),
        None => problem.hint("pyro --help"),
    }
}
