//! What is to be run: a program with its arguments, or a line for the shell.

use serde::{Deserialize, Serialize};

/// A command as a caller gave it: a list runs directly, a text runs as `/bin/sh -lc TEXT`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Command {
    /// A program and its arguments.
    Arguments(Vec<String>),
    /// A line for the login shell.
    Shell(String),
}

impl Command {
    /// The program and arguments to execute in the guest.
    pub fn arguments(&self) -> Vec<String> {
        match self {
            Self::Arguments(arguments) => arguments.clone(),
            Self::Shell(line) => vec!["/bin/sh".into(), "-lc".into(), line.clone()],
        }
    }

    /// Whether there is nothing to run.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Arguments(arguments) => arguments.first().is_none_or(String::is_empty),
            Self::Shell(line) => line.trim().is_empty(),
        }
    }
}

/// As payloads show it: the text, or the arguments joined with shell quoting.
impl std::fmt::Display for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Arguments(arguments) => f.write_str(&shell_words::join(arguments)),
            Self::Shell(line) => f.write_str(line),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_shown_as_a_shell_would_read_them() {
        let command = Command::Arguments(vec!["sh".into(), "-c".into(), "echo 'a b'".into()]);
        let shown = command.to_string();
        assert_eq!(shell_words::split(&shown).unwrap(), command.arguments());
    }
}
