//! Running `mmdebstrap`: as root, or as anybody else in a user namespace.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use rustix::process::geteuid;

use crate::{
    Job, Result,
    program::{Program, Running},
    squashfs::EPOCH,
};

/// All that a build needs is named at once, so that nobody installs it one by one.
const PACKAGES: &str = "mmdebstrap squashfs-tools e2fsprogs uidmap xz-utils";
const MMDEBSTRAP: Program = Program { name: "mmdebstrap", packages: PACKAGES };
/// What mmdebstrap makes user namespaces with where it does not run as root.
const NEWUIDMAP: Program = Program { name: "newuidmap", packages: PACKAGES };

/// Starts a bootstrap whose tar comes from stdout. `scratch` is removed by the caller.
pub(crate) fn start(
    job: &Job,
    scratch: &Path,
    prepare: impl Fn(&mut Command),
    on_line: impl FnMut(&str) + Send + 'static,
) -> Result<Running> {
    let unprivileged = !geteuid().is_root();
    if unprivileged {
        NEWUIDMAP.find()?;
    }
    let running = MMDEBSTRAP.start(
        job,
        |command| {
            if unprivileged {
                // Files there belong to users of the namespace, for whom the cache is closed: it
                // keeps its own temporary directory, and removes it.
                command.arg("--mode=unshare");
            } else {
                command.arg("--mode=root").env("TMPDIR", scratch);
            }
            command.args(["--format=tar", "--verbose", "--architectures=amd64"]);
            command.arg("--aptopt=Acquire::Languages \"none\"");
            command.env("SOURCE_DATE_EPOCH", EPOCH.to_string()).stdout(Stdio::piped());
            prepare(command);
        },
        on_line,
    )?;
    Ok(running.unprivileged(unprivileged))
}

/// How far a bootstrap is, read from what it says.
#[derive(Default)]
pub(crate) struct Watch {
    installed: u32,
    to_install: u32,
    fraction: f64,
}

impl Watch {
    /// What is being done now and the part of the whole that is done, if this line tells.
    pub(crate) fn line(&mut self, line: &str) -> Option<(String, f64)> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (message, fraction) = match words[..] {
            ["I:", "running", "apt-get", "update..."] => {
                ("reading the package lists".to_owned(), 0.02)
            }
            [_, "upgraded,", count, "newly", "installed,", ..] => {
                self.to_install += count.parse().unwrap_or(0);
                return None;
            }
            // Get:1 URL SUITE/COMPONENT ARCHITECTURE PACKAGE ARCHITECTURE VERSION [SIZE]
            [get, _, _, _, package, "amd64" | "all", _, ..] if get.starts_with("Get:") => {
                (format!("downloading {package}"), self.fraction)
            }
            ["Setting", "up", package, ..] => {
                self.installed += 1;
                let part = f64::from(self.installed) / f64::from(self.to_install.max(1));
                let package = package.split(':').next().unwrap_or(package);
                (format!("installing {package}"), 0.1 + 0.6 * part.min(1.0))
            }
            ["I:", "running", hook, ..] if hook.starts_with("--customize-hook") => {
                ("compiling Python modules".to_owned(), 0.7)
            }
            ["I:", "creating", "tarball..."] => ("packing".to_owned(), 0.8),
            _ => return None,
        };
        // What has to be installed is told in two parts: never go back.
        self.fraction = self.fraction.max(fraction);
        Some((message, self.fraction))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_told_and_never_goes_back() {
        let mut watch = Watch::default();
        let lines = [
            "I: running apt-get update...",
            "Get:4 http://archive.example/debian stable/main amd64 Packages [378 kB]",
            "0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.",
            "Get:1 http://archive.example/debian stable/main amd64 libc6 amd64 2.36-9 [2 MB]",
            "Setting up libc6:amd64 (2.36-9) ...",
            "0 upgraded, 20 newly installed, 0 to remove and 0 not upgraded.",
            "Setting up git (1:2.39) ...",
            "I: creating tarball...",
        ];
        let told: Vec<_> = lines.iter().filter_map(|line| watch.line(line)).collect();
        let messages: Vec<_> = told.iter().map(|(message, _)| message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "reading the package lists",
                "downloading libc6",
                "installing libc6",
                "installing git",
                "packing"
            ]
        );
        assert!(told.is_sorted_by(|a, b| a.1 <= b.1), "{told:?}");
    }
}
