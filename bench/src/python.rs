//! The Python SDK, which takes turns with the Rust client.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use crate::{Result, scene::Scene};

pub(crate) struct Turns {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Turns {
    /// Starts `python/bench/turns.py` for a workspace.
    pub(crate) fn new(scene: &Scene, script: &Path, workspace: &str) -> Result<Self> {
        let mut command = scene.command(Path::new("python3"));
        command.arg(script).arg(workspace).env("PYRO_PROGRAM", &scene.pyro);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().ok_or("stdin is a pipe")?;
        let stdout = BufReader::new(child.stdout.take().ok_or("stdout is a pipe")?);
        let mut turns = Self { child, stdin, stdout };
        // Imports are not part of an exec.
        for kind in ["threads", "asyncio"] {
            turns.turn(kind)?;
        }
        Ok(turns)
    }

    /// One exec; how long it took, milliseconds.
    pub(crate) fn turn(&mut self, kind: &str) -> Result<f64> {
        writeln!(self.stdin, "{kind}")?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    }

    pub(crate) fn end(self) -> Result<()> {
        let Self { mut child, stdin, stdout } = self;
        drop((stdin, stdout));
        if !child.wait()?.success() {
            return Err("the Python SDK's side failed".into());
        }
        Ok(())
    }
}
