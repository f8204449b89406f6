//! The process environment: the one place of the front where it is read.
#![expect(clippy::disallowed_methods, reason = "this module is where the environment is read")]

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use pyro_client::NodeLocation;
use pyro_core::Problem;

/// What the process environment says, read once.
#[derive(Clone, Debug)]
pub(crate) struct Environment {
    state: Option<PathBuf>,
    cache: Option<PathBuf>,
    config: Option<PathBuf>,
    may_start_node: bool,
    program: Option<PathBuf>,
    /// `PYRO_WORKSPACE`: what `@` means.
    pub(crate) workspace: Option<String>,
    /// `PYRO_BACKEND`.
    pub(crate) backend: Option<String>,
    /// Where the command was called.
    pub(crate) current_directory: Option<PathBuf>,
    home: Option<PathBuf>,
    /// Where programs keep what can be made again.
    caches: Option<PathBuf>,
}

impl Environment {
    /// Reads the environment of this process.
    pub(crate) fn of_process() -> Self {
        // Where HOME is not set, what the system says of the user.
        let home = env::home_dir().filter(|home| !home.as_os_str().is_empty());
        let below_home = |rest: &str| home.as_ref().map(|home| home.join(rest));
        let base = |variable: &str, rest: &str| {
            // Relative paths in these variables are to be ignored (XDG base directories).
            let base = path(variable).filter(|path| path.is_absolute());
            Some(base.or_else(|| below_home(rest))?.join("pyro"))
        };
        let own = |variable: &str| std::path::absolute(path(variable)?).ok();
        Self {
            state: own("PYRO_HOME").or_else(|| base("XDG_STATE_HOME", ".local/state")),
            cache: own("PYRO_CACHE_DIR").or_else(|| base("XDG_CACHE_HOME", ".cache")),
            config: base("XDG_CONFIG_HOME", ".config").map(|base| base.join("config.toml")),
            may_start_node: text("PYRO_NODE_START").as_deref() != Some("never"),
            program: env::current_exe().ok(),
            workspace: text("PYRO_WORKSPACE"),
            backend: text("PYRO_BACKEND"),
            current_directory: env::current_dir().ok(),
            caches: path("XDG_CACHE_HOME").or_else(|| below_home(".cache")),
            home,
        }
    }

    /// The state directory.
    pub(crate) fn state(&self) -> Result<&Path, Problem> {
        self.state.as_deref().ok_or_else(|| no_home("the state directory", "PYRO_HOME"))
    }

    /// What git is given of the environment: where programs are, and how the network is reached.
    pub(crate) fn of_git() -> Vec<(OsString, OsString)> {
        let names = ["PATH", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR", "TMPDIR"];
        let proxies = ["http_proxy", "https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY"];
        let given = |name: &str| Some((name.into(), env::var_os(name)?));
        names.into_iter().chain(proxies).filter_map(given).collect()
    }

    /// The directory where a program that others start works, and whose files it may be trusted with: none
    /// where that is all there is, all a user has, or a place that nobody chose.
    pub(crate) fn project(&self) -> Option<&Path> {
        let here = self.current_directory.as_deref()?;
        let is_home = |directory: &Path| {
            Some(directory) == self.home.as_deref()
                || directory.parent().is_some_and(|above| above == "/home" || above == "/Users")
        };
        let is_cached = self.caches.as_deref().is_some_and(|caches| here.starts_with(caches));
        (here.parent().is_some() && !is_home(here) && !is_cached).then_some(here)
    }

    /// The image cache.
    pub(crate) fn cache(&self) -> Result<&Path, Problem> {
        self.cache.as_deref().ok_or_else(|| no_home("the image cache", "PYRO_CACHE_DIR"))
    }

    /// The file of defaults; it need not exist.
    pub(crate) fn config(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    /// Where the node is, and how it would be started.
    pub(crate) fn location(&self) -> Result<NodeLocation, Problem> {
        let program = if self.may_start_node { Some(self.program()?) } else { None };
        Ok(NodeLocation {
            state: self.state()?.to_owned(),
            cache: self.cache()?.to_owned(),
            program,
        })
    }

    /// This program.
    pub(crate) fn program(&self) -> Result<PathBuf, Problem> {
        self.program
            .clone()
            .ok_or_else(|| Problem::failed("program_unknown", "cannot tell where this program is"))
    }
}

/// Any variable, for `--env KEY`.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}

/// Whether a shell asks for completions.
pub(crate) fn asks_for_completion() -> bool {
    env::var_os("COMPLETE").is_some()
}

fn no_home(what: &str, variable: &str) -> Problem {
    Problem::failed(
        "no_home",
        format!("HOME is not set and this user has no home directory, so {what} is unknown"),
    )
    .hint(format!("set HOME, or name it with {variable}"))
}

fn path(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn text(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_directory_that_somebody_chose_is_trusted() {
        let mut environment = Environment::of_process();
        environment.home = Some("/srv/me".into());
        environment.caches = Some("/srv/me/.cache".into());
        let mut project = |here: &str| {
            environment.current_directory = Some(here.into());
            environment.project().map(Path::to_owned)
        };
        assert_eq!(project("/srv/me/work"), Some("/srv/me/work".into()));
        for none in ["/", "/srv/me", "/home/other", "/Users/other", "/srv/me/.cache/npx/1"] {
            assert_eq!(project(none), None, "{none}");
        }
    }
}
