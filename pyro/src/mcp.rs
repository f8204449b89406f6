//! `pyro mcp`: the MCP server, with everything it needs from outside.

use std::io::Write;

use pyro_cli::{McpServeRequest, McpSnippet, McpSnippetRequest};
use pyro_core::Problem;
use pyro_mcp::{Client, Listening, Profile, Settings};

/// Serves until its client goes.
pub(crate) fn serve(request: McpServeRequest) -> Result<(), Problem> {
    let settings = Settings {
        profile: request.profile.parse()?,
        location: request.location,
        backend: request.backend,
        current_workspace: request.current_workspace,
        current_directory: request.current_directory,
        allowed_paths: request.allowed_paths,
        git_environment: request.git_environment,
    };
    match request.http {
        None => pyro_mcp::serve_stdio(settings),
        Some(address) => pyro_mcp::serve_http(settings, address, tell),
    }
}

/// Tells a person where the server is. Stdout stays for programs.
fn tell(listening: &Listening) -> Result<(), Problem> {
    writeln!(
        std::io::stderr(),
        "listening on {}\nAuthorization: Bearer {}\nthe token is kept in {}",
        listening.url,
        listening.token,
        listening.token_file.display()
    )
    .map_err(|error| Problem::from_error("output_failed", &error))
}

/// What a client's configuration needs.
pub(crate) fn snippet(request: &McpSnippetRequest) -> Result<McpSnippet, Problem> {
    let client: Client = request.client.parse()?;
    let profile: Profile = request.profile.parse()?;
    let snippet = client.snippet(&request.program, profile)?;
    let payload = serde_json::json!({
        "client": client.name(),
        "profile": profile.name(),
        "file": snippet.file,
        "format": snippet.format,
        "text": snippet.text,
    });
    let hint = format!("it belongs into {}", snippet.file);
    Ok(McpSnippet { text: snippet.text, hint, payload })
}
