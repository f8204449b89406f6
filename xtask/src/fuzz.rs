//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/`, each for a share of the time. Refuses to
//! know what they feed.

use std::{
    fs,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::tree;

/// Run the fuzz targets.
#[derive(clap::Args)]
pub struct Arguments {
    /// How long each runs.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Which ones [default: all].
    targets: Vec<String>,
}

#[derive(Deserialize)]
struct Manifest {
    bin: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Does what the arguments ask for; fails when a target found something.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = tree::root();
    let setup = Command::new(root.join("scripts/setup.sh")).arg("fuzz").status();
    ensure!(setup.context("run scripts/setup.sh")?.success(), "scripts/setup.sh failed");

    let mut targets = arguments.targets.clone();
    if targets.is_empty() {
        let manifest =
            fs::read_to_string(root.join("fuzz/Cargo.toml")).context("read fuzz/Cargo.toml")?;
        let manifest: Manifest = toml::from_str(&manifest).context("parse fuzz/Cargo.toml")?;
        targets = manifest.bin.into_iter().map(|target| target.name).collect();
    }
    let mut found = Vec::new();
    for target in &targets {
        println!("=== {target}, {} s ===", arguments.seconds);
        let mut fuzz = tree::tool("cargo-fuzz")?;
        let status = fuzz
            .current_dir(root.join("fuzz"))
            // AddressSanitizer and coverage are unstable options of the stable compiler.
            .env("RUSTC_BOOTSTRAP", "1")
            .args(["fuzz", "run", target, "--"])
            .arg(format!("-max_total_time={}", arguments.seconds))
            .args(["-max_len=8192", "-rss_limit_mb=2048", "-timeout=10", "-print_final_stats=1"])
            .status()
            .context("run cargo-fuzz")?;
        if !status.success() {
            found.push(target.as_str());
        }
    }
    ensure!(found.is_empty(), "findings in {}; see fuzz/artifacts/", found.join(", "));
    println!("fuzz: {} targets, nothing found", targets.len());
    Ok(ExitCode::SUCCESS)
}
