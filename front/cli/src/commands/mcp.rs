//! `pyro mcp serve` and `pyro mcp config`.

use std::path::Path;

use crate::{
    arguments::{McpConfigArguments, McpServeArguments, McpVerb},
    assembly::{Assembly, McpServeRequest, McpSnippetRequest},
    context::Context,
    environment::Environment,
    error::CommandError,
};

pub(crate) fn mcp(
    context: &Context,
    assembly: &Assembly,
    verb: McpVerb,
) -> Result<u8, CommandError> {
    match verb {
        McpVerb::Serve(arguments) => serve(context, assembly, arguments),
        McpVerb::Config(arguments) => config(context, assembly, arguments),
    }
}

fn serve(
    context: &Context,
    assembly: &Assembly,
    arguments: McpServeArguments,
) -> Result<u8, CommandError> {
    let environment = &context.environment;
    // Faults here are told by the first tool that is called: a client shows those, and only those.
    let defaults = context.defaults();
    let location = defaults.as_ref().map_err(Clone::clone).and_then(|_| environment.location());
    let backend = environment.backend.clone().or_else(|| defaults.ok()?.backend);
    let mut allowed_paths = arguments.allow_path;
    if allowed_paths.is_empty() {
        allowed_paths.extend(environment.project().map(Path::to_owned));
    }
    (assembly.mcp)(McpServeRequest {
        profile: arguments.profile,
        http: arguments.http,
        location,
        backend: backend.filter(|backend| backend != "auto"),
        current_workspace: environment.workspace.clone(),
        current_directory: environment.current_directory.clone(),
        allowed_paths,
        git_environment: Environment::of_git(),
    })?;
    Ok(0)
}

fn config(
    context: &Context,
    assembly: &Assembly,
    arguments: McpConfigArguments,
) -> Result<u8, CommandError> {
    let snippet = (assembly.mcp_snippet)(&McpSnippetRequest {
        client: arguments.client,
        profile: arguments.profile,
        program: context.environment.program()?,
    })?;
    if context.printer.json {
        context.printer.json(&snippet.payload)?;
    } else {
        context.printer.line(snippet.text.trim_end())?;
        if context.printer.shows_progress() {
            context.printer.hint(&snippet.hint);
        }
    }
    Ok(0)
}
