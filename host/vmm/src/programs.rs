//! Finding the VMMs' programs on the host.

use std::{
    ffi::OsStr,
    io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::process::Command;

use crate::VmmError;

/// Where programs may stand: the directories of `PATH`, then others.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct HostPrograms {
    directories: Vec<PathBuf>,
}

impl HostPrograms {
    /// Takes the value of `PATH`, if there is one, and further directories to look into after it.
    /// Relative directories are passed over.
    pub fn new(path: Option<&OsStr>, further: impl IntoIterator<Item = PathBuf>) -> Self {
        let directories = path.into_iter().flat_map(std::env::split_paths).chain(further);
        Self { directories: directories.filter(|directory| directory.is_absolute()).collect() }
    }

    /// The first executable file of this name.
    pub fn find(&self, name: &str) -> Option<PathBuf> {
        let mut candidates = self.directories.iter().map(|directory| directory.join(name));
        candidates.find(|path| {
            std::fs::metadata(path)
                .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
        })
    }

    /// What a program says when asked for its version: the first line.
    pub async fn version(program: &Path) -> Result<String, VmmError> {
        const LIMIT: Duration = Duration::from_secs(10);
        let failed = |source| VmmError::Version { program: program.into(), source };
        let mut command = Command::new(program);
        command.arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output())
            .await
            .map_err(|_| failed(io::ErrorKind::TimedOut.into()))?
            .map_err(failed)?;
        let text = String::from_utf8_lossy(&output.stdout);
        match text.lines().next() {
            Some(line) if output.status.success() => Ok(line.trim().chars().take(200).collect()),
            _ => Err(failed(io::Error::other(format!("it ended with {}", output.status)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_executable_of_the_name_is_found() {
        let root = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| root.path().join(name));
        for directory in [&first, &second] {
            std::fs::create_dir(directory).unwrap();
            std::fs::write(directory.join("vmm"), "").unwrap();
        }
        let path = std::env::join_paths([Path::new("relative"), &first]).unwrap();
        let programs = HostPrograms::new(Some(&path), [second.clone()]);
        assert_eq!(programs.find("vmm"), None);
        for directory in [&second, &first] {
            let executable = PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(directory.join("vmm"), executable).unwrap();
            assert_eq!(programs.find("vmm"), Some(directory.join("vmm")));
        }
        assert_eq!(HostPrograms::new(None, []).find("vmm"), None);
    }

    #[tokio::test]
    async fn a_version_is_one_line_or_an_error() {
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("vmm");
        std::fs::write(&program, "#!/bin/sh\necho vmm 1.2.3\necho more\n").unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        assert_eq!(HostPrograms::version(&program).await.unwrap(), "vmm 1.2.3");
        assert!(HostPrograms::version(Path::new("/bin/false")).await.is_err());
        assert!(HostPrograms::version(Path::new("/nonexistent")).await.is_err());
    }
}
