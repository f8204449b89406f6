//! What services use: memory, processor time, ports; and what the agent itself does.
//!
//! Measuring reads many small files of the kernel's, more with each service and process. It is done
//! beside the agent's own thread, once at a time: who asks while it is done waits for the next time,
//! with all the others who do. Refuses to know what the figures mean.

use std::{collections::HashMap, fs, sync::Arc};

use pyro_wire::{ListeningPort, ServiceRecord};
use tokio::time::Instant;

use super::{listening::Tables, supervisor::Service};
use crate::agent::Agent;

/// What one run of a service uses.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Measured {
    /// The run.
    pub run: u64,
    /// Memory, bytes.
    pub memory_bytes: u64,
    /// Processor time, microseconds.
    pub cpu_micros: u64,
    /// Where it listens.
    pub listening: Vec<ListeningPort>,
}

#[derive(Debug, Default)]
struct Last {
    begun: Option<Instant>,
    of: HashMap<String, Measured>,
}

/// Measures for whoever asks.
#[derive(Debug, Default)]
pub struct Measuring(tokio::sync::Mutex<Last>);

impl Measuring {
    /// The records of these services, with what they use now. `all`: there are no others.
    pub async fn records(
        &self,
        agent: &Arc<Agent>,
        services: Vec<Arc<Service>>,
        all: bool,
    ) -> Vec<ServiceRecord> {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        let since = |last: &Last| last.begun.is_some_and(|begun| begun >= asked);
        let own = if since(&last) {
            None
        } else {
            let begun = Some(Instant::now());
            let (agent, services) = (agent.clone(), services.clone());
            let measured = tokio::task::spawn_blocking(move || {
                let mut tables = Tables::default();
                let one = |service: &Arc<Service>| {
                    Some((service.name.clone(), service.measure(&agent, &mut tables)?))
                };
                services.iter().filter_map(one).collect()
            });
            let of = measured.await.unwrap_or_default();
            Some(Last { begun, of })
        };
        let of = &own.as_ref().unwrap_or(&*last).of;
        let records =
            services.iter().map(|service| service.record(of.get(&service.name))).collect();
        if let Some(own) = own.filter(|_| all) {
            *last = own;
        }
        records
    }
}

/// What the agent itself holds in memory now, and the most it ever did, bytes (proc(5)).
pub fn agent_memory() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    (field(&status, "VmRSS:"), field(&status, "VmHWM:"))
}

fn field(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kibibytes.unwrap_or(0) << 10
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_knows_what_it_holds() {
        let (now, most) = agent_memory();
        assert!(now > 0 && most >= now, "{now} {most}");
        assert_eq!(field("VmPeak:\t 1 kB\nVmHWM:\t    2048 kB\n", "VmHWM:"), 2 << 20);
        assert_eq!(field("VmHWM: much\n", "VmHWM:"), 0);
    }
}
