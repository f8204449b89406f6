//! The second phase of the boot: identity, clock, entropy, drives, the workload.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use pyro_wire::{Personalize, Personalized, Span};

use crate::{
    agent::{Agent, Personal},
    clock, console, drives,
    refusal::Refusal,
    service::Place,
    workload::{self, MAX_HOSTNAME},
};

/// Does it, or gives the answer of the first time. What failed half-way can be asked for again.
pub async fn personalize(agent: &Arc<Agent>, call: Personalize) -> Result<Personalized, Refusal> {
    let mut personal = agent.personal.lock().await;
    if let Some(personal) = &*personal {
        return if personal.workspace_id == call.workspace_id {
            Ok(personal.reply.clone())
        } else {
            Err(Refusal::AlreadyPersonal(personal.workspace_id.clone()))
        };
    }
    if !is_hostname(&call.hostname) {
        return Err(Refusal::InvalidHostname(call.hostname.chars().take(64).collect()));
    }
    let mut spans = Spans::default();
    clock::step(Duration::from_nanos(call.wall_clock_nanos)).map_err(Refusal::Clock)?;
    spans.close("clock");
    if let Err(error) = clock::feed_entropy(&call.entropy) {
        console::note(&format!("entropy: {error}"));
    }
    spans.close("entropy");
    drives::mount_agent_disk()?;
    agent.execs.load(Path::new(drives::AGENT_DISK).join("execs"));
    spans.close("agent_disk");
    drives::mount_workspace_disk()?;
    spans.close("workspace_disk");
    drives::mount_images()?;
    spans.close("images");
    drives::mount_overlays()?;
    spans.close("overlays");
    agent.keep_workload(&call.hostname).await?;
    spans.close("workload");
    if call.network {
        agent.network.set(true, agent).await?;
        spans.close("network");
    }
    agent.services.load(agent, Path::new(drives::AGENT_DISK), !call.hold_services).await;
    spans.close("services");
    let reply = Personalized { spans: spans.closed };
    agent.became(&call.workspace_id);
    *personal = Some(Personal {
        workspace_id: call.workspace_id,
        hostname: call.hostname,
        reply: reply.clone(),
    });
    Ok(reply)
}

/// Gives the machine another name, as if it had been personalized with it.
pub async fn rename(agent: &Arc<Agent>, hostname: String) -> Result<(), Refusal> {
    if !is_hostname(&hostname) {
        return Err(Refusal::InvalidHostname(hostname.chars().take(64).collect()));
    }
    let mut personal = agent.personal.lock().await;
    let (Some(personal), Some(workload)) = (&mut *personal, agent.workload_there()) else {
        return Err(Refusal::NoWorkload);
    };
    let process = workload.process_id();
    let place = Place::new(agent.clone(), workload);
    let (was, name) = (personal.hostname.clone(), hostname.clone());
    let renamed = place.with_files(move |root| workload::rename(process, &root, &was, &name)).await;
    renamed.map_err(Refusal::Hostname)?;
    agent.set_hostname(&hostname);
    personal.hostname = hostname;
    Ok(())
}

/// RFC 1123, one label or several.
fn is_hostname(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= MAX_HOSTNAME && name.split('.').all(label)
}

struct Spans {
    closed: Vec<Span>,
    opened: Instant,
}

impl Default for Spans {
    fn default() -> Self {
        Self { closed: Vec::new(), opened: Instant::now() }
    }
}

impl Spans {
    fn close(&mut self, name: &str) {
        let micros = self.opened.elapsed().as_micros() as u64;
        self.closed.push(Span { name: name.to_owned(), micros });
        self.opened = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_keep_to_their_rules() {
        for name in ["a", "box-1", "a.b", &"x".repeat(63)] {
            assert!(is_hostname(name), "{name}");
        }
        for name in ["", "-a", "a-", "a..b", "a b", "a\n", "ä", &"x".repeat(64)] {
            assert!(!is_hostname(name), "{name}");
        }
    }
}
