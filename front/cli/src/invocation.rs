//! What can be told of a command line before it is parsed: which verb, and which words are the
//! command to run.

use std::ffi::{OsStr, OsString};

/// A command line, split at its first `--` where the verb runs a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Invocation {
    /// What is to be parsed, the program's name first.
    pub(crate) arguments: Vec<OsString>,
    /// The words after `--`, for verbs that run a command.
    pub(crate) command: Option<Vec<OsString>>,
    /// Whether the verb tells the exit code of a command, so that pyro's own failures are 125.
    pub(crate) runs: bool,
    /// Whether errors are asked for as JSON, as far as can be told before parsing.
    pub(crate) wants_json: bool,
    /// Whether JSON comes as lines, one document each.
    pub(crate) tells_lines: bool,
    words: Vec<String>,
}

impl Invocation {
    /// Looks at a command line.
    pub(crate) fn new(mut arguments: Vec<OsString>) -> Self {
        let mut separator = arguments.iter().position(|word| word == "--");
        let mut words = verb_words(&arguments[..separator.unwrap_or(arguments.len())]);
        if separator.is_none()
            && let Some(at) = exec_attach(&arguments)
        {
            arguments.remove(at);
            words = verb_words(&arguments);
        }
        let rest = match words.as_slice() {
            [noun, rest @ ..] if is_workspace(noun) => rest,
            rest => rest,
        };
        let verb = rest.first().map_or("", String::as_str);
        let starts_service =
            matches!(verb, "service" | "svc") && rest.get(1).is_some_and(|verb| verb == "start");
        // Of a service's verbs none ends with a command's exit code.
        let is_long = words.first().is_some_and(|noun| is_workspace(noun));
        let runs = match verb {
            "run" | "exec" | "attach" | "wait" => true,
            // `workspace shell` has verbs of its own, once it is built.
            "shell" => !is_long,
            _ => false,
        };
        let mut command = None;
        if !matches!(verb, "run" | "exec") && !starts_service {
            separator = None;
        }
        if let Some(at) = separator {
            command = Some(arguments.split_off(at + 1));
            arguments.truncate(at);
        }
        let wants_json = arguments.iter().take_while(|word| *word != "--").any(|w| w == "--json");
        let tells_lines = verb == "events"
            || (verb == "network" && rest.get(1).is_some_and(|verb| verb == "log"));
        Self { arguments, command, runs, wants_json, tells_lines, words }
    }

    /// The verb, where it belongs to the contract but is not built yet.
    pub(crate) fn unbuilt(&self) -> Option<String> {
        let mut words = self.words.iter().map(String::as_str);
        let first = words.next()?;
        let verb = words.next().filter(|_| is_workspace(first))?;
        (verb == "shell").then(|| format!("workspace {verb}"))
    }
}

fn is_workspace(word: &str) -> bool {
    matches!(word, "workspace" | "ws")
}

/// The words that are no flags. No flag before a verb takes a value.
fn verb_words(arguments: &[OsString]) -> Vec<String> {
    let words = arguments.iter().skip(1).filter_map(|word| word.to_str());
    words.filter(|word| !word.starts_with('-')).take(3).map(str::to_owned).collect()
}

/// Where the `exec` of `exec attach W EXEC` stands, which is another spelling of `attach W EXEC`.
/// A workspace of the name `attach` is reached with `exec attach -- COMMAND`.
fn exec_attach(arguments: &[OsString]) -> Option<usize> {
    let at = match arguments.get(1).and_then(|word| word.to_str()) {
        Some(noun) if is_workspace(noun) => 2,
        _ => 1,
    };
    let is = |at: usize, word: &str| arguments.get(at).is_some_and(|w| w == OsStr::new(word));
    (is(at, "exec") && is(at + 1, "attach")).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Invocation {
        Invocation::new(line.split(' ').map(OsString::from).collect())
    }

    #[test]
    fn everything_after_two_dashes_is_the_command() {
        let invocation = of("pyro run debian:12 -- git --version -- x");
        assert_eq!(invocation.arguments, ["pyro", "run", "debian:12"]);
        assert_eq!(invocation.command.unwrap(), ["git", "--version", "--", "x"]);
        assert!(invocation.runs);
        assert_eq!(of("pyro create -- debian:12").command, None);
        for line in ["pyro svc start w s -- a b", "pyro ws service start w s --json -- a b"] {
            assert_eq!(of(line).command.unwrap(), ["a", "b"], "{line}");
        }
    }

    #[test]
    fn exec_attach_is_attach() {
        assert_eq!(of("pyro exec attach w e").arguments, ["pyro", "attach", "w", "e"]);
        assert_eq!(of("pyro ws exec attach w e").arguments, ["pyro", "ws", "attach", "w", "e"]);
        assert_eq!(of("pyro exec attach -- ls").arguments, ["pyro", "exec", "attach"]);
    }

    #[test]
    fn json_after_two_dashes_belongs_to_the_command() {
        assert!(of("pyro exec --json w -- tool").wants_json);
        assert!(!of("pyro exec w -- tool --json").wants_json);
        assert!(of("pyro ws events w --json").tells_lines);
        assert!(!of("pyro service logs w web --json").tells_lines);
    }

    #[test]
    fn what_is_not_built_is_known_by_name() {
        assert_eq!(of("pyro workspace shell open w").unbuilt().unwrap(), "workspace shell");
        assert_eq!(of("pyro cp a w:b").unbuilt(), None);
        assert_eq!(of("pyro ws svc up w").unbuilt(), None);
        assert_eq!(of("pyro shell w").unbuilt(), None);
    }
}
