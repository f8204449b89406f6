//! Builds the static programs that measure inside a guest.

#![expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts by the environment")]

use std::{env, path::Path, process::Command};

fn main() {
    let rustc = env::var_os("RUSTC").expect("cargo sets it");
    let out = env::var_os("OUT_DIR").expect("cargo sets it");
    for program in ["floor_init", "late_service", "spawn_floor"] {
        let source = Path::new("src/guest").join(program).with_extension("rs");
        println!("cargo::rerun-if-changed={}", source.display());
        let status = Command::new(&rustc)
            .args(["--edition=2024", "-Copt-level=2", "-Cpanic=abort", "-Cstrip=symbols"])
            .args(["-Ctarget-feature=+crt-static", "-Crelocation-model=static"])
            .args(["--target", "x86_64-unknown-linux-gnu"])
            .arg(&source)
            .arg("-o")
            .arg(Path::new(&out).join(program))
            .status()
            .expect("rustc can be run");
        assert!(status.success(), "{program} does not build");
    }
}
