//! One VM: its keeper, its link, its end.

use std::{path::Path, sync::Arc, time::Duration};

use pyro_core::ExitRecord;
use pyro_directory::Directory;
use pyro_link::Link;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A VM that runs, or ran a moment ago.
#[derive(Clone, Debug)]
pub(crate) struct Vm {
    pub(crate) directory: Arc<Directory>,
    pub(crate) link: Link,
}

/// How a VM ended that nobody asked to end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Ending {
    /// `guest_crashed`, `vm_killed`, `keeper_killed`, `host_restarted`.
    pub(crate) reason: &'static str,
    /// One line more.
    pub(crate) detail: Option<String>,
}

/// The file that tells under which boot of the host a VM was started.
const BOOT: &str = "host_boot_id";

/// How long an ended VMM may keep its keeper.
const END: Duration = Duration::from_secs(20);

impl Vm {
    /// The VM whose keeper's directory this is.
    pub(crate) fn at(directory: Directory) -> Self {
        let directory = Arc::new(directory);
        Self { link: Link::new(directory.clone()), directory }
    }

    /// The VM at `path`, if its keeper lives.
    pub(crate) fn adopt(path: &Path) -> Option<Self> {
        let directory = Directory::open(path).ok()?;
        directory.is_locked("keeper.lock").ok()?.then(|| Self::at(directory))
    }

    /// Whether its keeper lives, and so the VM.
    pub(crate) fn lives(&self) -> bool {
        self.directory.is_locked("keeper.lock").unwrap_or(false)
    }

    /// Waits until the keeper has ended, and the VM with it.
    pub(crate) async fn ended(&self) {
        if let Ok(mut control) = self.directory.connect_async("keeper.sock").await {
            let mut nothing = [0; 16];
            while matches!(control.read(&mut nothing).await, Ok(1..)) {}
        }
        // The kernel closes the sockets of a dying process before it releases its locks.
        let directory = self.directory.clone();
        let released =
            tokio::task::spawn_blocking(move || directory.wait_until_unlocked("keeper.lock"));
        let _ = tokio::time::timeout(END, released).await;
    }

    /// Ends the VM at once and waits until it is gone.
    pub(crate) async fn kill(&self) {
        if let Ok(mut control) = self.directory.connect_async("keeper.sock").await {
            let _ = control.write_all(b"kill\n").await;
        }
        self.ended().await;
    }

    /// Notes the host's boot, so that a VM that ended with the host is told from one that crashed.
    pub(crate) fn note_boot(directory: &Directory) -> Result<(), pyro_directory::DirectoryError> {
        directory.write_whole(BOOT, host_boot_id().as_bytes())
    }

    /// Why the VM whose directory this was has ended.
    pub(crate) fn ending(path: &Path) -> Ending {
        let unknown = Ending { reason: "keeper_killed", detail: None };
        let Ok(directory) = Directory::open(path) else { return unknown };
        let read = |name: &str| directory.read(name, 1 << 20).ok().flatten();
        if read(BOOT).is_some_and(|boot| boot != host_boot_id().as_bytes()) {
            return Ending { reason: "host_restarted", detail: None };
        }
        let exit: Option<ExitRecord> =
            read("exit.json").and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let Some(exit) = exit else {
            return Ending {
                reason: "keeper_killed",
                detail: Some("its keeper left no exit record".into()),
            };
        };
        let last = exit.last_output.lines().rev().find(|line| !line.trim().is_empty());
        match exit.status.signal() {
            Some(signal) if !exit.killed_on_request => Ending {
                reason: "vm_killed",
                detail: Some(format!("signal {signal} ended the VMM")),
            },
            _ => Ending {
                reason: "guest_crashed",
                detail: last.map(|line| line.trim().chars().take(300).collect()),
            },
        }
    }

    /// The last lines of the guest's console, for an error.
    pub(crate) fn console_tail(&self) -> Vec<String> {
        let Ok(Some(log)) = self.directory.read("serial.log", 1 << 20) else { return Vec::new() };
        let text = String::from_utf8_lossy(&log);
        let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(5)..]
            .iter()
            .map(|line| line.trim_end().chars().take(300).collect())
            .collect()
    }
}

/// Identifies this boot of the host.
fn host_boot_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}
