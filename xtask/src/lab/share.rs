//! One directory of the host as the VM sees it.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

/// What the VM may do with a shared directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub enum Mode {
    /// Read it.
    #[serde(rename = "ro")]
    ReadOnly,
    /// Read and write it.
    #[serde(rename = "rw")]
    ReadWrite,
    /// Read it, and write to a layer of the VM's own that is thrown away.
    #[serde(rename = "overlay")]
    Overlay,
}

impl Mode {
    /// How long the VM trusts what it has read: for as long as it runs where it alone could change
    /// it. Whatever is opened under `auto` is read anew, a program each time it is started.
    pub fn cache(self) -> &'static str {
        match self {
            Self::ReadOnly | Self::Overlay => "always",
            Self::ReadWrite => "auto",
        }
    }
}

/// One directory of the host as the VM sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Share {
    /// The host's directory.
    pub host: PathBuf,
    /// Its absolute path in the VM.
    pub guest: String,
    /// What the VM may do with it.
    pub mode: Mode,
    /// Further absolute paths in the VM at which the same directory stands.
    pub aliases: Vec<String>,
}

impl Share {
    /// A share of a directory that exists.
    pub fn new(host: &Path, guest: &str, mode: Mode) -> Result<Self> {
        let host = host.canonicalize().with_context(|| format!("share {}", host.display()))?;
        Ok(Self { host, guest: guest.to_owned(), mode, aliases: Vec::new() })
    }

    /// The same, also visible at the host's own path: programs have such paths built in.
    pub fn also_at_host_path(mut self) -> Self {
        match self.host.to_str() {
            Some(path) if path != self.guest => self.aliases.push(path.to_owned()),
            _ => {}
        }
        self
    }
}

/// `HOST:GUEST`, `HOST:GUEST:ro`, `HOST:GUEST:rw` or `HOST:GUEST:overlay`.
impl FromStr for Share {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (paths, mode) = match text.rsplit_once(':') {
            Some((paths, "ro")) => (paths, Mode::ReadOnly),
            Some((paths, "rw")) => (paths, Mode::ReadWrite),
            Some((paths, "overlay")) => (paths, Mode::Overlay),
            _ => (text, Mode::ReadWrite),
        };
        let Some((host, guest)) = paths.rsplit_once(':') else {
            bail!("{text:?} is not HOST:GUEST[:ro|rw|overlay]");
        };
        ensure!(guest.starts_with('/'), "{guest:?} is not an absolute path in the VM");
        Self::new(Path::new(host), guest, mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_reads_as_host_guest_and_mode() {
        let share: Share = "/usr:/mnt/usr:ro".parse().unwrap();
        assert_eq!((share.guest.as_str(), share.mode), ("/mnt/usr", Mode::ReadOnly));
        let share: Share = "/usr:/mnt".parse().unwrap();
        assert_eq!((share.host.as_path(), share.mode), (Path::new("/usr"), Mode::ReadWrite));
        for bad in ["/usr", "/usr:mnt", "/nowhere/at/all:/mnt"] {
            assert!(bad.parse::<Share>().is_err(), "{bad}");
        }
    }
}
