//! From flags to requests: what exec and run have in common, and create and run.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};

use pyro_api::{Command, CreateWorkspace, ExecRequest};
use pyro_core::Problem;

use crate::{
    arguments::{CommandArguments, VmArguments},
    context::Context,
    environment,
    error::{CommandError, not_available},
    session::Wiring,
    terminal,
};

/// The longest file of variables that is read, bytes.
const LONGEST_ENV_FILE: u64 = 1024 * 1024;

/// The request that runs the words of an `exec` or `run`.
pub(super) fn exec_request(
    context: &Context,
    verb: &str,
    arguments: CommandArguments,
) -> Result<ExecRequest, CommandError> {
    if !arguments.secret_env.is_empty() {
        return Err(not_available("--secret-env").into());
    }
    let words = words(verb, arguments.words, context.after_dashes.as_deref())?;
    let mut env = variables(&arguments.env, &arguments.env_file)?;
    if arguments.tty {
        name_terminal(&mut env);
    }
    Ok(ExecRequest {
        command: Command::Arguments(words),
        cwd: arguments.cwd,
        env,
        user: arguments.user,
        timeout_seconds: arguments
            .timeout_seconds
            .filter(|timeout| !timeout.is_zero())
            .map(|timeout| timeout.as_secs_f64()),
        terminal: arguments.tty.then(terminal::size),
        stdin: arguments.interactive,
        detach: false,
        no_start: false,
    })
}

/// How the command is wired to this process; `may_stay` where it can go on without it.
pub(super) fn wiring(request: &ExecRequest, json: bool, may_stay: bool) -> Wiring {
    Wiring {
        stdin: request.stdin,
        terminal: request.terminal.is_some(),
        collect: json,
        detach_keys: may_stay,
    }
}

/// The words before `--` and those after it; a `--` within a plain command belongs to it.
pub(super) fn words(
    verb: &str,
    mut words: Vec<String>,
    after_dashes: Option<&[OsString]>,
) -> Result<Vec<String>, CommandError> {
    if let Some(after) = after_dashes {
        if !words.is_empty() {
            words.push("--".to_owned());
        }
        for word in after {
            let word = word.to_str().ok_or_else(|| {
                let message = format!("{} is not UTF-8", word.display());
                Problem::invalid("invalid_command", message)
            })?;
            words.push(word.to_owned());
        }
    }
    if words.is_empty() {
        return Err(CommandError::usage(verb, "there is no command to run: add -- COMMAND..."));
    }
    Ok(words)
}

/// Variables from files, then from flags.
pub(super) fn variables(
    flags: &[String],
    files: &[PathBuf],
) -> Result<BTreeMap<String, String>, CommandError> {
    let mut variables = BTreeMap::new();
    for file in files {
        read_variables(file, &mut variables)?;
    }
    for flag in flags {
        set(flag, &mut variables)?;
    }
    Ok(variables)
}

/// Tells a command with a terminal which kind the caller's is, unless the caller said otherwise.
pub(super) fn name_terminal(env: &mut BTreeMap<String, String>) {
    if let Some(Ok(kind)) = environment::variable("TERM").map(OsString::into_string) {
        env.entry("TERM".to_owned()).or_insert(kind);
    }
}

fn read_variables(
    path: &Path,
    variables: &mut BTreeMap<String, String>,
) -> Result<(), CommandError> {
    let failed = |error: std::io::Error| {
        let message = format!("cannot read {}", path.display());
        Problem::invalid("env_file_unreadable", message).cause(error)
    };
    if std::fs::metadata(path).map_err(failed)?.len() > LONGEST_ENV_FILE {
        return Err(failed(std::io::ErrorKind::FileTooLarge.into()).into());
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    for line in text.lines().map(str::trim_start) {
        if !line.is_empty() && !line.starts_with('#') {
            set(line, variables)?;
        }
    }
    Ok(())
}

/// `KEY=VALUE`, or `KEY` for the value it has here; one that has none here is left out.
fn set(text: &str, variables: &mut BTreeMap<String, String>) -> Result<(), CommandError> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, environment::variable(text).and_then(|it| it.into_string().ok())),
    };
    if key.is_empty() || key.contains(char::is_whitespace) {
        let message = format!("{text:?} is not KEY=VALUE or KEY");
        return Err(Problem::invalid("invalid_env", message).into());
    }
    if let Some(value) = value {
        variables.insert(key.to_owned(), value);
    }
    Ok(())
}

/// The machine that flags, environment and defaults ask for, in this order.
pub(super) fn machine(
    context: &Context,
    environment: Option<String>,
    vm: VmArguments,
) -> Result<CreateWorkspace, CommandError> {
    if vm.allow_host_compat {
        context
            .printer
            .notice("--allow-host-compat is ignored: nothing runs outside a virtual machine");
    }
    let defaults = context.defaults()?;
    let backend = vm.backend.or_else(|| context.environment.backend.clone()).or(defaults.backend);
    Ok(CreateWorkspace {
        environment: environment.or(defaults.environment),
        vcpu_count: vm.vcpu_count.or(defaults.vcpu_count),
        mem_mib: vm.mem_mib.or(defaults.mem_mib),
        disk_mib: vm.disk_mib.or(defaults.disk_mib),
        ttl_seconds: vm.ttl_seconds.as_ref().map(Duration::as_secs),
        backend: backend.filter(|backend| backend != "auto"),
        ..CreateWorkspace::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_within_a_plain_command_belong_to_it() {
        let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let after = ["a".into(), "b".into()];
        let plain: Vec<String> = strings(&["git"]);
        assert_eq!(words("exec", plain, Some(&after)).unwrap(), ["git", "--", "a", "b"]);
        assert_eq!(words("exec", Vec::new(), Some(&after)).unwrap(), ["a", "b"]);
        for verb in ["exec", "run"] {
            let Err(CommandError::Usage(error)) = words(verb, Vec::new(), None) else { panic!() };
            let text = error.render().to_string();
            assert!(text.contains(&format!("Usage: pyro {verb} [OPTIONS]")), "{text}");
        }
    }
}
