//! The records of commands: their beginning, their end, and how many are kept.

use pyro_core::{ExecId, ExitStatus};
use pyro_store::{ExecRecord, ExecState, LastCommand};

use super::{handle::Begun, task::Owner};
use crate::{error::WorkspaceError, exec::settle, network::denied_since, registry::now_millis};

/// Finished execs kept per workspace.
const MAX_EXECS: usize = 1000;

/// Bytes of finished execs' output kept per workspace.
const MAX_OUTPUT: u64 = 256 << 20;

impl Owner {
    pub(super) async fn begin_exec(
        &mut self,
        id: ExecId,
        command: String,
        cwd: String,
        detached: bool,
        no_start: bool,
    ) -> Result<Begun, WorkspaceError> {
        if no_start && self.live.is_none() {
            return Err(WorkspaceError::Stopped(self.record.id));
        }
        let started_workspace = self.ensure_started(true).await?;
        let live = self.live.as_ref().ok_or(WorkspaceError::Stopped(self.record.id))?;
        let link = live.link.clone();
        let exec = ExecRecord {
            id,
            workspace: self.record.id,
            sequence: self.record.command_count + 1,
            command,
            cwd,
            detached,
            state: ExecState::Running,
            timed_out: false,
            cancelled: false,
            oom_killed: false,
            started_at: now_millis(),
            ended_at: None,
            duration_micros: 0,
            stdout_bytes: 0,
            stderr_bytes: 0,
            dropped_from: 0,
            dropped_to: 0,
            left_behind: 0,
            memory_peak_bytes: 0,
            cpu_micros: 0,
            output_kept: false,
            network_denied: Vec::new(),
        };
        self.context.store.save_exec(&exec)?;
        self.running.insert(id, self.activity.begin());
        self.record.command_count += 1;
        self.save();
        Ok(Begun { link, record: exec, started_workspace })
    }

    /// Settles an exec by what the guest says of it; the second time changes nothing.
    pub(super) fn finish_exec(
        &mut self,
        ended: &pyro_wire::ExecRecord,
    ) -> Result<ExecRecord, WorkspaceError> {
        let not_found = || WorkspaceError::ExecNotFound {
            workspace: self.record.id,
            reference: ended.exec_id.chars().take(64).collect(),
        };
        let id: ExecId = ended.exec_id.parse().map_err(|_| not_found())?;
        let mut exec = self
            .context
            .store
            .exec(id)?
            .filter(|exec| exec.workspace == self.record.id)
            .ok_or_else(not_found)?;
        if exec.state != ExecState::Running {
            return Ok(exec);
        }
        self.running.remove(&id);
        settle(&mut exec, ended, now_millis());
        if exec.state != ExecState::Ended(ExitStatus::Code(0)) {
            exec.network_denied = denied_since(&self.relay, exec.started_at);
        }
        self.context.store.save_exec(&exec)?;
        let newest = self.record.last_command.as_ref().map_or(0, |last| last.sequence);
        if exec.sequence >= newest {
            self.record.last_command = Some(LastCommand {
                sequence: exec.sequence,
                command: exec.command.clone(),
                cwd: exec.cwd.clone(),
                exit_code: match &exec.state {
                    ExecState::Ended(status) => Some(status.shell_code()),
                    _ => None,
                },
                duration_ms: exec.duration_micros / 1000,
            });
        }
        self.activity.touch();
        self.save();
        self.exec_ends.send_modify(|ends| *ends += 1);
        Ok(exec)
    }

    /// Whoever looked on left it running: nothing ends it now but what ends a detached one.
    pub(super) fn leave_exec(&mut self, id: ExecId) -> Result<(), WorkspaceError> {
        if let Some(mut exec) = self.context.store.exec(id)? {
            exec.detached = true;
            self.context.store.save_exec(&exec)?;
        }
        Ok(())
    }

    pub(super) fn note_output(&mut self, id: ExecId) -> Result<(), WorkspaceError> {
        if let Some(mut exec) = self.context.store.exec(id)? {
            exec.output_kept = true;
            self.context.store.save_exec(&exec)?;
            if exec.sequence % 32 == 0 {
                self.bound_history()?;
            }
        }
        Ok(())
    }

    /// Drops the oldest finished execs and the oldest outputs beyond what is kept.
    fn bound_history(&mut self) -> Result<(), WorkspaceError> {
        let execs = self.context.store.execs(self.record.id)?;
        let mut kept = 0;
        let mut kept_bytes = 0;
        for mut exec in execs.into_iter().rev().filter(|exec| exec.state != ExecState::Running) {
            let copy = self.context.layout.output(self.record.id, exec.id);
            kept += 1;
            if kept > MAX_EXECS {
                let _ = std::fs::remove_file(copy);
                self.context.store.remove_exec(exec.id)?;
                if let Some(live) = &self.live {
                    let link = live.link.clone();
                    self.context.tasks.spawn(async move {
                        let _ = link.forget_exec(exec.id.to_string()).await;
                    });
                }
            } else if exec.output_kept {
                kept_bytes += std::fs::metadata(&copy).map_or(0, |metadata| metadata.len());
                if kept_bytes > MAX_OUTPUT {
                    let _ = std::fs::remove_file(copy);
                    exec.output_kept = false;
                    self.context.store.save_exec(&exec)?;
                }
            }
        }
        Ok(())
    }
}
