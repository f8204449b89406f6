//! `cargo xtask openapi`: keeps the node's OpenAPI document in the tree. A test of `pyro-node`
//! fails when it is not what the routes say. Refuses to know the routes.

use std::{
    fs,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::tree;

const DOCUMENT: &str = "host/node/openapi.json";

/// Write host/node/openapi.json from the node's routes.
#[derive(clap::Args)]
pub struct Arguments {
    /// Change nothing; fail when it is not up to date.
    #[arg(long)]
    check: bool,
}

/// Does what the arguments ask for.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let path = tree::root().join(DOCUMENT);
    let output = Command::new(tree::cargo())
        .current_dir(tree::root())
        .args(["run", "--quiet", "--package", "pyro-node", "--example", "openapi"])
        .stderr(Stdio::inherit())
        .output()
        .context("run pyro-node's example")?;
    ensure!(output.status.success(), "pyro-node's example failed: {}", output.status);
    if fs::read(&path).is_ok_and(|document| document == output.stdout) {
        println!("openapi: {DOCUMENT} is up to date");
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(!arguments.check, "{DOCUMENT} is not what the routes say; hint: cargo xtask openapi");
    fs::write(&path, &output.stdout).with_context(|| format!("write {DOCUMENT}"))?;
    println!("openapi: wrote {DOCUMENT}");
    Ok(ExitCode::SUCCESS)
}
