//! Does a command end with 0? It runs as the service does: its user, directory and environment.

use std::{sync::Arc, time::Duration};

use pyro_core::ExitStatus;
use pyro_wire::{CommandProbe, ServiceSpec, StartExec};
use tokio::{sync::oneshot, time::timeout};

use super::{Place, Seen};
use crate::{agent::Agent, service::process::launch, spawner::StandardStreams};

/// One try. Its process tree ends with it, also when nobody waits for the answer any more.
pub async fn try_once(
    probe: &CommandProbe,
    spec: &ServiceSpec,
    place: &Place,
    limit: Duration,
) -> Seen {
    let request = StartExec {
        arguments: probe.arguments.clone(),
        environment: spec.environment.clone(),
        working_directory: spec.working_directory.clone(),
        user: spec.user.clone(),
        ..StartExec::default()
    };
    // Dropped with this future, which tells the task.
    let (_wanted, unwanted) = oneshot::channel::<()>();
    let task = tokio::spawn(run(place.agent.clone(), request, limit, unwanted));
    task.await.unwrap_or_else(|_| Seen::not_yet("the probe was interrupted"))
}

async fn run(
    agent: Arc<Agent>,
    request: StartExec,
    limit: Duration,
    unwanted: oneshot::Receiver<()>,
) -> Seen {
    let nothing = StandardStreams::default();
    let (process, cgroup, _spawner) = match launch(&agent, &request, nothing).await {
        Ok(launched) => launched,
        Err(refusal) => return Seen::not_yet(format!("the probe's command: {refusal}")),
    };
    let ended = async {
        loop {
            let readable = process.pidfd.readable().await;
            match (readable, agent.children.take_status(process.pid, &process.pidfd)) {
                (Ok(()), Ok(None)) => process.pidfd.clear_readable(),
                (_, Ok(status)) => break status,
                _ => break None,
            }
        }
    };
    tokio::pin!(ended);
    let seen = tokio::select! {
        waited = timeout(limit, &mut ended) => match waited {
            Ok(Some(ExitStatus::Code(0))) => Seen::yes("the probe's command ended with 0"),
            Ok(Some(ExitStatus::Code(code))) => {
                Seen::not_yet(format!("the probe's command ended with {code}"))
            }
            Ok(Some(ExitStatus::Signal(signal))) => {
                Seen::not_yet(format!("the probe's command was ended by signal {signal}"))
            }
            Ok(None) => Seen::not_yet("the probe's command was lost"),
            Err(_) => {
                let _ = cgroup.kill();
                ended.as_mut().await;
                Seen::not_yet(format!("the probe's command did not end within {limit:?}"))
            }
        },
        _ = unwanted => {
            let _ = cgroup.kill();
            ended.as_mut().await;
            Seen::not_yet("nobody asks any more")
        }
    };
    if cgroup.is_populated() {
        let _ = cgroup.kill();
        let _ = cgroup.emptied().await;
    }
    let done = agent.clone();
    agent.clerk.put_off(move || {
        done.cgroups.tidy(Some(cgroup));
        done.restock();
    });
    seen
}
