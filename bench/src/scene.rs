//! Where a bench runs: its own state directory, gone afterwards with all its VMs.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use pyro_client::{Node, NodeLocation, api::CreateWorkspace};
use tempfile::TempDir;

use crate::{Arguments, Result};

pub(crate) struct Scene {
    pub(crate) pyro: PathBuf,
    pub(crate) backend: String,
    pub(crate) cache: PathBuf,
    pub(crate) environment: String,
    pub(crate) runs: usize,
    pub(crate) rounds: usize,
    pub(crate) python: Option<PathBuf>,
    state: TempDir,
}

impl Scene {
    pub(crate) fn new(arguments: &Arguments) -> Result<Self> {
        Ok(Self {
            pyro: std::path::absolute(&arguments.pyro)?,
            backend: arguments.backend.clone(),
            cache: std::path::absolute(&arguments.cache)?,
            environment: arguments.environment.clone(),
            runs: arguments.runs,
            rounds: arguments.rounds,
            python: arguments.python.clone(),
            state: tempfile::Builder::new().prefix("pyro-bench-").tempdir_in("/var/tmp")?,
        })
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    /// A pyro command on this scene.
    pub(crate) fn pyro(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(&self.pyro);
        command.args(arguments);
        command
    }

    /// A program that finds this scene's node.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env("PYRO_HOME", self.state.path())
            .env("PYRO_CACHE_DIR", &self.cache)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// What such a command prints.
    pub(crate) fn output(&self, arguments: &[&str]) -> Result<String> {
        let output = self.pyro(arguments).stdout(Stdio::piped()).output()?;
        if !output.status.success() {
            return Err(format!("pyro {} failed: {}", arguments.join(" "), output.status).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The node of this scene, started if need be.
    pub(crate) async fn node(&self) -> Result<Node> {
        let location = NodeLocation {
            state: self.state.path().to_owned(),
            cache: self.cache.clone(),
            program: Some(self.pyro.clone()),
        };
        Ok(Node::connect_or_start(location).await?)
    }

    /// What every workspace of the bench is made from.
    pub(crate) fn creation(&self) -> CreateWorkspace {
        CreateWorkspace {
            environment: Some(self.environment.clone()),
            backend: Some(self.backend.clone()),
            mem_mib: Some(512),
            ..CreateWorkspace::default()
        }
    }
}

/// Puts a program into a workspace.
pub(crate) fn put(scene: &Scene, id: &str, program: &[u8], path: &str) -> Result<()> {
    let line = format!("cat > {path} && chmod +x {path}");
    let mut child =
        scene.pyro(&["exec", "-i", id, "--", "sh", "-c", &line]).stdin(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().ok_or("stdin is a pipe")?;
    stdin.write_all(program)?;
    drop(stdin);
    if !child.wait()?.success() {
        return Err(format!("{path} could not be put into the guest").into());
    }
    Ok(())
}

impl Drop for Scene {
    fn drop(&mut self) {
        let list = self.pyro(&["ls", "-q"]).stdout(Stdio::piped()).output();
        for id in list.iter().flat_map(|list| list.stdout.split(|b| *b == b'\n')) {
            if let Ok(id) = std::str::from_utf8(id)
                && !id.is_empty()
            {
                let _ = self.pyro(&["delete", id]).status();
            }
        }
        let _ = self.pyro(&["node", "stop"]).status();
    }
}
