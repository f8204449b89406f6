//! The guest agent: PID 1 of the microVM.
//!
//! Owns everything between the kernel and the workload: mounts, name spaces, commands, their output
//! and records, the machine's end. Refuses to know the host's side of anything: workspaces by name,
//! environments, policies.
//!
//! Four kinds of process are this one program. The *agent* (PID 1) serves calls. The *workload's
//! process* (`workload`) stands in the workload's name spaces, but for the PID name space, and forks
//! into it. The *workload's init* (`reaper`) is PID 1 there and only reaps. A *recruit* (`recruit`)
//! stands there too and waits to be told which command to become.
//!
//! **Invariants.** The agent never blocks on the workload: not on its output, its input, its file
//! systems or its processes' death. A lost stream never cancels an exec. Nothing the workload can do
//! to its own root, cgroups or processes reaches the agent's.

mod accounts;
mod agent;
mod boot;
mod call;
mod cgroup;
mod channel;
mod clerk;
mod clock;
mod console;
mod descriptor;
mod drives;
mod exec;
mod files;
mod forward;
mod frames;
mod freeze;
mod network;
mod personal;
mod power;
mod program;
mod reaper;
mod record;
mod recruit;
mod refusal;
mod service;
mod spawner;
mod spool;
mod sys;
mod workload;

use rustix::process::{Resource, Rlimit};

pub use agent::Agent;
pub use call::serve_stream;
pub use workload::main as workload_main;

/// The agent's main: boots the first phase and serves for ever.
pub fn agent_main() -> std::io::Result<()> {
    let started = clock::since_boot();
    boot::universal();
    drives::devices();
    // Every exec holds some, and 512 may run.
    let files = Rlimit { current: Some(65_536), maximum: Some(65_536) };
    if let Err(error) = rustix::process::setrlimit(Resource::Nofile, files) {
        console::note(&format!("open files: {error}"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(8)
        .thread_stack_size(256 << 10)
        .build()?;
    runtime.block_on(async {
        let agent = Agent::new(started);
        agent.prepare_workload().await;
        channel::serve(agent).await;
    });
    Ok(())
}
