//! The machine's end: in order, with everything on disk.

use std::{sync::Arc, time::Duration};

use rustix::{
    mount::{MountFlags, UnmountFlags, mount_remount, unmount},
    process::{Pid, Signal},
    system::RebootCommand,
};
use tokio::time::timeout;

use crate::{agent::Agent, cgroup::Cgroup, console, drives};

/// How long processes may take to die once killed, and execs to write their records.
const DYING: Duration = Duration::from_secs(5);

/// Ends the workload (TERM, grace, KILL), writes everything to the disks and lets go of them.
pub async fn shut_down(agent: &Arc<Agent>, grace: Duration) {
    agent.freezer.close().await;
    agent.services.stop_with_workspace(Some(grace)).await;
    let workload = agent.begin_shut_down();
    if let Ok(group) = Cgroup::workload() {
        for pid in group.processes() {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, Signal::TERM);
            }
        }
        if timeout(grace, group.emptied()).await.is_err() {
            let _ = group.kill();
            let _ = timeout(DYING, group.emptied()).await;
        }
    }
    for exec in agent.execs.running() {
        let _ = timeout(DYING, exec.ended()).await;
    }
    if let Some(workload) = workload {
        let _ = timeout(DYING, workload.end()).await;
    }
    agent.clerk.catch_up().await;
    let let_go = tokio::task::spawn_blocking(|| {
        rustix::fs::sync();
        for target in drives::UNMOUNT_ORDER {
            if unmount(target, UnmountFlags::empty()).is_err() {
                // Held by something that does not die: read-only is as good for the disk.
                let _ = mount_remount(target, MountFlags::RDONLY, c"");
            }
        }
        rustix::fs::sync();
    });
    let _ = let_go.await;
}

/// Ends the machine. A restart, because it is what ends every machine monitor: QEMU's with
/// `-no-reboot`, Firecracker's by the keyboard controller.
pub fn end_machine() {
    if let Err(error) = rustix::system::reboot(RebootCommand::Restart) {
        console::note(&format!("restart: {error}"));
    }
}
