//! What each client's configuration needs to start this server.

use std::fmt::Write as _;
use std::path::Path;

use pyro_core::Problem;
use serde_json::Value;

use crate::Profile;

/// A client that can be told of this server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Client {
    /// Anthropic's Claude Code.
    ClaudeCode,
    /// Anthropic's Claude Desktop.
    ClaudeDesktop,
    /// OpenAI's Codex.
    Codex,
    /// Cursor.
    Cursor,
    /// Google's Gemini CLI.
    Gemini,
    /// opencode.
    Opencode,
    /// Visual Studio Code.
    VsCode,
}

/// What to paste, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snippet {
    /// The file it belongs into.
    pub file: &'static str,
    /// `json` or `toml`.
    pub format: &'static str,
    /// What to paste.
    pub text: String,
}

impl Client {
    /// All of them, by name.
    pub const ALL: [Self; 7] = [
        Self::ClaudeCode,
        Self::ClaudeDesktop,
        Self::Codex,
        Self::Cursor,
        Self::Gemini,
        Self::Opencode,
        Self::VsCode,
    ];

    /// Its name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClaudeCode => "claude-code",
            Self::ClaudeDesktop => "claude-desktop",
            Self::Codex => "codex",
            Self::Cursor => "cursor",
            Self::Gemini => "gemini",
            Self::Opencode => "opencode",
            Self::VsCode => "vscode",
        }
    }

    /// What its configuration needs to start `program` with a profile.
    pub fn snippet(self, program: &Path, profile: Profile) -> Result<Snippet, Problem> {
        let program = program.to_str().ok_or_else(|| {
            let message = format!("{} is not UTF-8, as configurations are", program.display());
            Problem::invalid("invalid_path", message)
        })?;
        let mut arguments = vec!["mcp", "serve"];
        if profile != Profile::default() {
            arguments.extend(["--profile", profile.name()]);
        }
        let words = |words: &[&str]| Value::from(words.to_vec());
        let plain = [("command", Value::from(program)), ("args", words(&arguments))];
        let [command, args] = plain.clone();
        let stdio = [("type", Value::from("stdio")), command, args];
        let (file, text) = match self {
            Self::ClaudeCode => (".mcp.json", nested(&["mcpServers", "pyro"], &stdio)),
            Self::ClaudeDesktop => {
                ("claude_desktop_config.json", nested(&["mcpServers", "pyro"], &plain))
            }
            Self::Cursor => ("~/.cursor/mcp.json", nested(&["mcpServers", "pyro"], &stdio)),
            Self::Gemini => ("~/.gemini/settings.json", nested(&["mcpServers", "pyro"], &plain)),
            Self::VsCode => (".vscode/mcp.json", nested(&["servers", "pyro"], &stdio)),
            Self::Opencode => {
                let command: Vec<&str> = std::iter::once(program).chain(arguments).collect();
                let local = [("type", Value::from("local")), ("command", words(&command))];
                ("opencode.json", nested(&["mcp", "servers", "pyro"], &local))
            }
            Self::Codex => {
                let text = format!(
                    "[mcp_servers.pyro]\ncommand = {}\nargs = [{}]\n",
                    quoted(program),
                    arguments.iter().map(|it| quoted(it)).collect::<Vec<_>>().join(", ")
                );
                return Ok(Snippet { file: "~/.codex/config.toml", format: "toml", text });
            }
        };
        Ok(Snippet { file, format: "json", text })
    }
}

impl std::str::FromStr for Client {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|client| client.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Problem::invalid("invalid_client", format!("{text:?} is not a known client"))
                .hint(format!("the clients are: {names}"))
        })
    }
}

/// A JSON document with these fields below these keys, in the order in which people write them.
fn nested(keys: &[&str], fields: &[(&str, Value)]) -> String {
    let mut text = "{\n".to_owned();
    let indent = |depth: usize| "  ".repeat(depth);
    for (depth, key) in keys.iter().enumerate() {
        let _ = writeln!(text, "{}{}: {{", indent(depth + 1), quoted(key));
    }
    let depth = keys.len() + 1;
    for (index, (key, value)) in fields.iter().enumerate() {
        let value = serde_json::to_string_pretty(value).expect("values are plain data");
        let value = value.replace('\n', &format!("\n{}", indent(depth)));
        let comma = if index + 1 < fields.len() { "," } else { "" };
        let _ = writeln!(text, "{}{}: {value}{comma}", indent(depth), quoted(key));
    }
    for depth in (0..depth).rev() {
        let _ = writeln!(text, "{}}}", indent(depth));
    }
    text
}

/// A basic string of TOML, which escapes as JSON does.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_snippets_are_what_the_command_prints() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/mcp.md");
        let page = std::fs::read_to_string(page).unwrap();
        for client in Client::ALL {
            let program = Path::new("/usr/local/bin/pyro");
            let snippet = client.snippet(program, Profile::default()).unwrap();
            let block = format!("```{}\n{}```", snippet.format, snippet.text);
            assert!(page.contains(&block), "docs/mcp.md lacks, for {}:\n{block}", client.name());
            assert!(page.contains(&format!("`{}`", snippet.file)), "{}", client.name());
        }
    }

    #[test]
    fn paths_are_quoted_and_profiles_named() {
        let program = Path::new("/opt/my \"tools\"/pyro");
        let codex = Client::Codex.snippet(program, Profile::VmRun).unwrap();
        assert_eq!(
            codex.text,
            "[mcp_servers.pyro]\ncommand = \"/opt/my \\\"tools\\\"/pyro\"\n\
             args = [\"mcp\", \"serve\", \"--profile\", \"vm-run\"]\n"
        );
        for client in Client::ALL {
            assert_eq!(client.name().parse::<Client>().unwrap(), client);
            let snippet = client.snippet(program, Profile::WorkspaceFull).unwrap();
            assert!(snippet.text.contains("workspace-full"));
            let parses = match snippet.format {
                "json" => serde_json::from_str::<Value>(&snippet.text).is_ok(),
                _ => snippet.text.parse::<toml::Table>().is_ok(),
            };
            assert!(parses, "{}", snippet.text);
        }
    }
}
