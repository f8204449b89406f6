//! Whether this host's KVM can run a guest: measured, not believed.
//!
//! A `/dev/kvm` that opens and creates VMs may still be emulated and thousands of times too slow,
//! or lack an instruction that kernels use. So a loop and a `cmpxchg16b` run in a throw-away VM
//! and are timed against the same loop on the host. That may hang, so it runs in a process of its
//! own, and the verdict is kept until the host boots again.

use std::{fs::File, io, path::Path, process::Stdio, time::Duration};

use pyro_directory::Directory;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::{boot_id, sys};

const FILE: &str = "kvm.json";
/// The device.
pub const DEVICE: &str = "/dev/kvm";
/// Steps of the loop: 0.1 ms on a host, 0.4 s in a KVM that is 4,000 times slower.
const STEPS: u32 = 400_000;
/// A VM may take this many times the host's time.
const LIMIT: f64 = 20.0;
/// How long the probe's process may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was found out about KVM.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct KvmReport {
    /// The verdict.
    pub verdict: KvmVerdict,
    /// What it rests on, as a clause.
    pub detail: String,
    /// How much longer the loop took in the VM than on the host, where it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

/// Whether KVM can be used, and if not, why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvmVerdict {
    /// Guests run.
    Usable,
    /// There is no `/dev/kvm`.
    NotPresent,
    /// This user may not open it.
    NoPermission,
    /// Guests would run, but for too long.
    TooSlow,
    /// A guest does not run.
    Failed,
}

impl KvmReport {
    /// Whether guests run.
    pub fn is_usable(&self) -> bool {
        self.verdict == KvmVerdict::Usable
    }

    /// What a user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self.verdict {
            KvmVerdict::Usable => None,
            KvmVerdict::NotPresent => Some(
                "enable virtualisation in the firmware or, in a VM, nested virtualisation; then \
                 modprobe kvm_intel or kvm_amd",
            ),
            KvmVerdict::NoPermission => Some("sudo usermod -aG kvm $USER, then log in again"),
            KvmVerdict::TooSlow | KvmVerdict::Failed => Some(
                "this host's KVM is emulated itself; use a host with hardware virtualisation, or \
                 stay with qemu",
            ),
        }
    }

    fn new(verdict: KvmVerdict, detail: impl Into<String>) -> Self {
        Self { verdict, detail: detail.into(), ratio: None }
    }
}

/// Runs the probe in this process, which it may hang: the process `pyro probe-kvm` prints the
/// report as JSON.
pub fn probe() -> KvmReport {
    if let Err(report) = look() {
        return report;
    }
    let host = sys::kvm::time_loop_on_host(STEPS);
    match sys::kvm::run_in_guest(STEPS) {
        Ok(seen) => judge(seen.time, host, seen.exchange),
        Err(reason) => KvmReport::new(KvmVerdict::Failed, reason),
    }
}

/// The report on this host: what was kept since it booted, else what the probe finds, run as
/// `program probe-kvm`. Without a cache nothing is kept. Never fails: what goes wrong is the report.
pub async fn report(program: &Path, cache: Option<&Path>) -> KvmReport {
    if let Err(report) = look() {
        // May change at any time, and costs nothing to find out.
        return report;
    }
    let boot_id = boot_id().unwrap_or_default();
    let cache = cache.and_then(|cache| Directory::create(cache).ok());
    if let Some(report) = cache.as_ref().and_then(|cache| recall(cache, &boot_id)) {
        return report;
    }
    let report = probe_apart(program).await;
    if let (Some(cache), Ok(report)) = (&cache, &report) {
        let text = serde_json::to_vec_pretty(&Kept { boot_id, report: report.clone() });
        if let Err(error) = cache.write_whole(FILE, &text.expect("text and numbers")) {
            tracing::warn!(%error, "the verdict on KVM cannot be kept");
        }
    }
    report.unwrap_or_else(|report| report)
}

#[derive(Serialize, Deserialize)]
struct Kept {
    boot_id: String,
    report: KvmReport,
}

fn recall(cache: &Directory, boot_id: &str) -> Option<KvmReport> {
    let text = cache.read(FILE, 64 << 10).ok()??;
    let kept: Kept = serde_json::from_slice(&text).ok()?;
    (kept.boot_id == boot_id).then_some(kept.report)
}

/// Whether there is anything to probe.
fn look() -> Result<(), KvmReport> {
    match File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::NotFound => {
                KvmReport::new(KvmVerdict::NotPresent, format!("there is no {DEVICE}"))
            }
            io::ErrorKind::PermissionDenied => {
                KvmReport::new(KvmVerdict::NoPermission, format!("this user may not open {DEVICE}"))
            }
            _ => KvmReport::new(KvmVerdict::Failed, format!("cannot open {DEVICE}: {error}")),
        }),
    }
}

/// Runs the probe in a process of its own. An error is a report that is not worth keeping.
async fn probe_apart(program: &Path) -> Result<KvmReport, KvmReport> {
    let failed = |detail: String| KvmReport::new(KvmVerdict::Failed, detail);
    let mut command = Command::new(program);
    command
        .arg("probe-kvm")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    match tokio::time::timeout(PATIENCE, command.output()).await {
        Err(_) => Ok(KvmReport::new(
            KvmVerdict::TooSlow,
            format!("the probe did not end within {} s", PATIENCE.as_secs()),
        )),
        Ok(Err(error)) => Err(failed(format!("cannot run the probe: {error}"))),
        Ok(Ok(output)) => serde_json::from_slice(&output.stdout)
            .map_err(|_| failed(format!("the probe ended with {}", output.status))),
    }
}

fn judge(guest: Duration, host: Duration, exchange: Result<(), String>) -> KvmReport {
    let ratio = guest.as_secs_f64() / host.as_secs_f64().max(1e-9);
    let mut detail = format!(
        "a loop takes {:.2} ms in a VM and {:.2} ms on the host",
        guest.as_secs_f64() * 1e3,
        host.as_secs_f64() * 1e3
    );
    let mut verdict = KvmVerdict::Usable;
    if ratio >= LIMIT {
        verdict = KvmVerdict::TooSlow;
        detail = format!("{detail}, {ratio:.0} times as long");
    }
    if let Err(reason) = exchange {
        verdict = KvmVerdict::Failed;
        detail = format!("{detail}; cmpxchg16b, which kernels need, fails in a VM: {reason}");
    }
    KvmReport { verdict, detail, ratio: Some((ratio * 10.0).round() / 10.0) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_ratio_decides() {
        let host = Duration::from_micros(100);
        let quick = judge(Duration::from_micros(110), host, Ok(()));
        assert_eq!(quick.verdict, KvmVerdict::Usable);
        let slow = judge(Duration::from_millis(400), host, Ok(()));
        assert_eq!(slow.verdict, KvmVerdict::TooSlow);
        assert_eq!(slow.ratio, Some(4000.0));
        assert!(slow.detail.ends_with("4000 times as long"));
        let broken = judge(Duration::from_micros(110), host, Err("why".into()));
        assert_eq!(broken.verdict, KvmVerdict::Failed);
    }

    #[tokio::test]
    async fn a_verdict_is_kept_and_a_broken_probe_is_not() {
        if look().is_err() {
            // Without the device nothing is probed or kept.
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let program = root.path().join("pyro");
        let script = |text: &str| {
            std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
        };
        script("exit 3");
        let broken = report(&program, Some(root.path())).await;
        assert_eq!(broken.verdict, KvmVerdict::Failed);
        assert!(broken.detail.contains("exit status: 3"), "{}", broken.detail);
        script(r#"echo '{"verdict": "usable", "detail": "quick", "ratio": 1.5}'"#);
        let usable = report(&program, Some(root.path())).await;
        assert!(usable.is_usable());
        script("exit 3");
        assert_eq!(report(&program, Some(root.path())).await, usable);
    }

    #[test]
    fn the_probe_comes_to_a_verdict() {
        let report = probe();
        println!("{report:?}");
        assert!(!report.is_usable() || report.ratio.is_some_and(|ratio| ratio < LIMIT));
        assert!(!report.detail.is_empty());
    }
}
