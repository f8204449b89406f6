//! Where the checkout, what was built, cargo and its tools are.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// The checkout this program was built from.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask stands in a directory of the checkout").to_owned()
}

/// Cargo's target directory: this program stands in a profile's directory of it.
pub fn target_directory() -> Result<PathBuf> {
    let program = env::current_exe().context("find this program")?;
    let target = program.ancestors().nth(2);
    Ok(target.context("this program does not stand in a target directory")?.to_owned())
}

/// The cargo that runs this program.
pub fn cargo() -> OsString {
    variable("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A tool of cargo's: from PATH, else where `scripts/setup.sh` puts it.
pub fn tool(name: &str) -> Result<Command> {
    let path = variable("PATH").unwrap_or_default();
    let caches = match (variable("XDG_CACHE_HOME"), variable("HOME")) {
        (Some(caches), _) => PathBuf::from(caches),
        (None, Some(home)) => Path::new(&home).join(".cache"),
        (None, None) => PathBuf::new(),
    };
    let ours = caches.join("pyro-dev/tools/bin");
    let mut found = env::split_paths(&path).chain([ours]).map(|directory| directory.join(name));
    match found.find(|program| program.is_file()) {
        Some(program) => Ok(Command::new(program)),
        None => bail!("there is no {name}; hint: scripts/setup.sh test"),
    }
}

#[expect(clippy::disallowed_methods, reason = "a developer's program reads the environment")]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name)
}
