//! Running a program to its end, and naming it when that fails.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Directories in which Debian has programs, whatever the caller's PATH says.
const DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Whether a program, by name or absolute path, can be run.
pub fn is_installed(program: &str) -> bool {
    let runs = |path: &Path| {
        rustix::fs::access(path, rustix::fs::Access::EXEC_OK).is_ok() && path.is_file()
    };
    if program.starts_with('/') {
        return runs(Path::new(program));
    }
    DIRECTORIES.iter().any(|directory| runs(&Path::new(directory).join(program)))
        || Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok()
}

/// Runs a program to its end; its output is shown only when it fails, and then its last lines.
pub fn complete(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("run {name}"))?;
    if !output.status.success() {
        let said = [output.stdout, output.stderr].concat();
        bail!("{name} failed ({}):\n{}", output.status, last_lines(&said, 20));
    }
    Ok(output.stdout)
}

/// The last lines of what may not be text.
pub fn last_lines(output: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(output);
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
