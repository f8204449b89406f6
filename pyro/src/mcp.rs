//! `pyro mcp`: the MCP server, with everything it needs from outside.

use pyro_cli::{McpServeRequest, McpSnippet, McpSnippetRequest};
use pyro_core::Problem;
use pyro_mcp::Settings;

/// Serves until its client goes.
pub(crate) fn serve(request: McpServeRequest) -> Result<(), Problem> {
    let settings = Settings {
        profile: request.profile.parse()?,
        location: request.location,
        backend: request.backend,
        current_workspace: request.current_workspace,
        current_directory: request.current_directory,
    };
    match request.http {
        None => pyro_mcp::serve_stdio(settings),
        Some(_) => Err(Problem::failed("mcp_failed", "http")),
    }
}

/// What a client's configuration needs.
pub(crate) fn snippet(request: &McpSnippetRequest) -> Result<McpSnippet, Problem> {
    Err(Problem::failed("mcp_failed", request.client.clone()))
}
