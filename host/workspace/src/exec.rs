//! Running commands: starting, attaching, signalling, waiting, and the records of it.

use std::{path::PathBuf, time::Duration};

use pyro_core::{Command, ExecId, ExitStatus};
use pyro_link::{ExecStream, OutputReader};
use pyro_store::{ExecRecord, ExecState};
use pyro_wire::{AttachExec, EnvironmentVariable, ReadOutput, SignalExec, StartExec, Terminal};

use crate::{
    activity::InUse,
    error::WorkspaceError,
    owner::{Handle, Request},
    registry::random_bits,
};

/// A terminal's size in characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExecTerminal {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// A command to run, every value parsed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExecSpec {
    /// What to run.
    pub command: Command,
    /// Absolute.
    pub cwd: String,
    /// Added to the fixed environment.
    pub env: Vec<(String, String)>,
    /// Empty: root.
    pub user: String,
    /// Ends the whole process tree; none: never.
    pub timeout: Option<Duration>,
    /// A terminal instead of pipes.
    pub terminal: Option<ExecTerminal>,
    /// Whether stdin will be fed.
    pub stdin: bool,
    /// Outlives its caller.
    pub detached: bool,
    /// Do not start a stopped workspace for it.
    pub no_start: bool,
}

/// Between TERM and KILL when an exec is cancelled or times out.
pub(crate) const GRACE: Duration = Duration::from_secs(5);

/// A command that runs.
#[derive(Debug)]
pub struct StartedExec {
    /// Its record.
    pub record: ExecRecord,
    /// Its stream; none when it is detached.
    pub stream: Option<ExecStream>,
    /// Whether the workspace was started for it.
    pub started_workspace: bool,
    /// The workspace is in use for as long as this lives.
    pub in_use: InUseGuard,
}

/// The workspace is in use for as long as this lives.
#[derive(Debug)]
pub struct InUseGuard(#[allow(dead_code, reason = "held, not read")] InUse);

impl InUseGuard {
    pub(crate) fn new(handle: &Handle) -> Self {
        Self(handle.activity.begin())
    }
}

/// What an attach finds.
#[derive(Debug)]
pub enum Attached {
    /// The guest has it: its stream.
    Live {
        /// Its record.
        record: Box<ExecRecord>,
        /// Its stream.
        stream: ExecStream,
        /// The workspace is in use for as long as this lives.
        in_use: InUseGuard,
    },
    /// It ended, and the host has a copy of its output (none where it had no output).
    Kept {
        /// Its record.
        record: Box<ExecRecord>,
        /// The copy.
        copy: Option<PathBuf>,
    },
}

impl Handle {
    /// Starts a command; starts the workspace for it where need be and allowed.
    pub async fn start_exec(&self, spec: ExecSpec) -> Result<StartedExec, WorkspaceError> {
        let in_use = InUseGuard(self.activity.begin());
        let id = ExecId::from_random(random_bits());
        let begun = self
            .ask(|reply| Request::BeginExec {
                id,
                command: spec.command.to_string(),
                cwd: spec.cwd.clone(),
                detached: spec.detached,
                no_start: spec.no_start,
                reply,
            })
            .await?;
        self.context.crash.reached("exec:announced");
        let call = StartExec {
            exec_id: id.to_string(),
            arguments: spec
                .command
                .arguments()
                .into_iter()
                .map(|a| a.into_bytes().into())
                .collect(),
            environment: spec
                .env
                .into_iter()
                .map(|(name, value)| EnvironmentVariable {
                    name: name.into_bytes().into(),
                    value: value.into_bytes().into(),
                })
                .collect(),
            working_directory: spec.cwd.into_bytes().into(),
            user: spec.user,
            terminal: spec.terminal.map(|terminal| Terminal {
                columns: terminal.columns.into(),
                rows: terminal.rows.into(),
            }),
            stdin: spec.stdin,
            timeout_millis: spec.timeout.map_or(0, |timeout| timeout.as_millis() as u64),
            grace_millis: GRACE.as_millis() as u64,
            attach: !spec.detached,
            detached: spec.detached,
        };
        match begun.link.start_exec(call).await {
            Ok((_, stream)) => {
                self.context.crash.reached("exec:started");
                Ok(StartedExec {
                    record: begun.record,
                    stream: (!spec.detached).then_some(stream),
                    started_workspace: begun.started_workspace,
                    in_use,
                })
            }
            Err(error) => {
                // Where it was refused, nothing runs; where the guest did not answer, its death is told
                // by its keeper, and the record is settled then.
                if error.is_refusal() {
                    self.ask(|reply| Request::AbandonExec { id, reply }).await?;
                }
                Err(WorkspaceError::guest("start the command")(error))
            }
        }
    }

    /// Finds an exec by its id or a unique prefix of it (4 characters or more).
    pub fn find_exec(&self, reference: &str) -> Result<ExecRecord, WorkspaceError> {
        let not_found = || WorkspaceError::ExecNotFound {
            workspace: self.id,
            reference: reference.chars().take(64).collect(),
        };
        if let Ok(id) = reference.parse::<ExecId>() {
            let found = self.context.store.exec(id)?;
            return found.filter(|exec| exec.workspace == self.id).ok_or_else(not_found);
        }
        if reference.len() < 4 {
            return Err(not_found());
        }
        let mut fitting = self.execs()?;
        fitting.retain(|exec| exec.id.to_string().starts_with(reference));
        match fitting.len() {
            0 => Err(not_found()),
            1 => Ok(fitting.remove(0)),
            _ => Err(WorkspaceError::ExecAmbiguous {
                workspace: self.id,
                reference: reference.to_owned(),
                candidates: fitting.iter().map(|exec| exec.id.to_string()).collect(),
            }),
        }
    }

    /// Every exec there is a record of, oldest first.
    pub fn execs(&self) -> Result<Vec<ExecRecord>, WorkspaceError> {
        Ok(self.context.store.execs(self.id)?)
    }

    /// Follows an exec from a combined offset, or finds the copy of a finished one's output.
    pub async fn attach(
        &self,
        exec: ExecId,
        offset: u64,
        stdin: bool,
    ) -> Result<Attached, WorkspaceError> {
        let record = self.find_exec(&exec.to_string())?;
        let finished = record.state != ExecState::Running;
        let copy = self.context.layout.output(self.id, exec);
        if finished && record.output_kept {
            return Ok(Attached::Kept { record: Box::new(record), copy: Some(copy) });
        }
        if let Some(live) = self.snapshot().live.clone() {
            let in_use = InUseGuard(self.activity.begin());
            let call = AttachExec { exec_id: exec.to_string(), offset, stdin };
            match live.link.attach_exec(call).await {
                Ok((_, stream)) => {
                    return Ok(Attached::Live { record: Box::new(record), stream, in_use });
                }
                Err(error) if finished && error.is_answer() => {}
                Err(error) => return Err(WorkspaceError::guest("attach to the exec")(error)),
            }
        } else if !finished {
            // Its VM ended a moment ago; the owner settles the record.
            return Err(WorkspaceError::Stopped(self.id));
        }
        Ok(Attached::Kept { record: Box::new(record), copy: None })
    }

    /// The copy of a finished exec's output, where the host has one.
    pub fn kept_output(&self, record: &ExecRecord) -> Option<PathBuf> {
        record.output_kept.then(|| self.context.layout.output(self.id, record.id))
    }

    /// Reads output from the guest's spool; none where no guest runs or it has none.
    pub async fn read_output(
        &self,
        exec: ExecId,
        offset: u64,
        length: Option<u64>,
    ) -> Result<Option<OutputReader>, WorkspaceError> {
        let Some(live) = self.snapshot().live.clone() else { return Ok(None) };
        let range =
            ReadOutput { exec_id: exec.to_string(), offset, length: length.unwrap_or(u64::MAX) };
        match live.link.read_output(range).await {
            Ok((_, reader)) => Ok(Some(reader)),
            Err(error) if error.is_answer() => Ok(None),
            Err(error) => Err(WorkspaceError::guest("read the output")(error)),
        }
    }

    /// Sends a signal (its number) to a running exec; none: TERM to the tree, grace, KILL.
    pub async fn signal_exec(
        &self,
        exec: ExecId,
        signal: Option<u32>,
    ) -> Result<ExecRecord, WorkspaceError> {
        let record = self.find_exec(&exec.to_string())?;
        if record.state != ExecState::Running {
            return Err(WorkspaceError::ExecEnded(exec));
        }
        let live = self.snapshot().live.clone().ok_or(WorkspaceError::Stopped(self.id))?;
        let call = SignalExec {
            exec_id: exec.to_string(),
            signal: signal.unwrap_or_default(),
            whole_tree: false,
            cancel: signal.is_none(),
        };
        live.link.signal_exec(call).await.map_err(WorkspaceError::guest("signal the exec"))?;
        self.activity.touch();
        Ok(record)
    }

    /// Waits until an exec has ended, or the time is over; returns how it stands then.
    pub async fn wait_exec(
        &self,
        exec: ExecId,
        limit: Option<Duration>,
    ) -> Result<ExecRecord, WorkspaceError> {
        let mut ends = self.exec_ends();
        let settled = async {
            loop {
                let record = self.find_exec(&exec.to_string())?;
                if record.state != ExecState::Running || ends.changed().await.is_err() {
                    return Ok(record);
                }
            }
        };
        match limit {
            None => settled.await,
            Some(limit) => match tokio::time::timeout(limit, settled).await {
                Ok(settled) => settled,
                Err(_) => self.find_exec(&exec.to_string()),
            },
        }
    }

    /// Takes note that whoever started an exec, or attached to it, left it running.
    pub async fn leave_exec(&self, exec: ExecId) -> Result<(), WorkspaceError> {
        self.ask(|reply| Request::LeaveExec { id: exec, reply }).await
    }

    /// Takes note of an exec's end as its stream told it, and returns the settled record.
    pub async fn finish_exec(
        &self,
        ended: Box<pyro_wire::ExecRecord>,
    ) -> Result<ExecRecord, WorkspaceError> {
        self.ask(|reply| Request::FinishExec { ended, reply: Some(reply) }).await
    }
}

/// Writes into a record what the guest says of an exec that ended.
pub(crate) fn settle(record: &mut ExecRecord, ended: &pyro_wire::ExecRecord, now: u64) {
    record.state = match (ended.exit_code, ended.signal) {
        _ if ended.workload_restarted => ExecState::Lost("workload_restarted".into()),
        (_, Some(signal)) => ExecState::Ended(ExitStatus::Signal(signal)),
        (Some(code), None) => ExecState::Ended(ExitStatus::Code(code)),
        (None, None) => ExecState::Lost("guest_lost_track".into()),
    };
    record.timed_out = ended.timed_out;
    record.cancelled = ended.cancelled;
    record.oom_killed = ended.oom_killed;
    record.duration_micros = ended.duration_micros;
    record.ended_at = Some(record.started_at.saturating_add(ended.duration_micros / 1000).min(now));
    record.stdout_bytes = ended.stdout_bytes;
    record.stderr_bytes = ended.stderr_bytes;
    record.dropped_from = ended.dropped_from;
    record.dropped_to = ended.dropped_to;
    record.left_behind = ended.left_behind;
    record.memory_peak_bytes = ended.memory_peak_bytes;
    record.cpu_micros = ended.cpu_micros;
}
