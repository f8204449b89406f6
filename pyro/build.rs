//! Builds the guest agent, a static binary of its own, for `main.rs` to embed.

#![expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts by the environment")]

use std::{env, path::PathBuf, process::Command};

/// The platform of every guest.
const TARGET: &str = "x86_64-unknown-linux-gnu";

fn main() {
    // Read now: a target directory that moved with its build script is of another tree.
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = package.parent().expect("the crate is in the tree");
    for input in [
        "guest/agent/src",
        "guest/agent/Cargo.toml",
        "archive/src",
        "change/src",
        "wire/src",
        "session/src",
        "core/src",
        "Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(input).display());
    }
    // TARGET_DIRECTORY/PROFILE/build/pyro-HASH/out: one agent serves every profile.
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let directory = out.ancestors().nth(4).expect("OUT_DIR is deep").join("agent");
    let status = Command::new(env::var_os("CARGO").expect("cargo sets it"))
        .current_dir(root)
        .args(["build", "--quiet", "--package", "pyro-agent", "--bin", "pyro-agent"])
        .args(["--profile", "agent", "--target", TARGET, "--target-dir"])
        .arg(&directory)
        .env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static\x1f-Crelocation-model=static")
        // What wraps the compiler of the host's crates (clippy, coverage) has no place here.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTFLAGS")
        .status()
        .expect("cargo can be run");
    assert!(status.success(), "the guest agent does not build");
    let agent = directory.join(TARGET).join("agent").join("pyro-agent");
    println!("cargo::rustc-env=PYRO_AGENT={}", agent.display());
    // Not rerun for the agent itself: it is newer than this run, and every first build would be
    // followed by a second one. Whoever includes it is rebuilt when it changes.
}
