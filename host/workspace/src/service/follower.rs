//! The task beside an owner that listens to its guest's services: keeps what they become, in order,
//! each change once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use pyro_core::WorkspaceId;
use pyro_link::Link;
use tokio::sync::mpsc;

use super::told;
use crate::{error::WorkspaceError, owner::Request, registry::Context, vm::Vm};

/// After a stream that broke though the VM lives: a guest that breaks it again and again must not
/// keep the node busy.
const AGAIN: Duration = Duration::from_millis(200);
/// The longest time between two tries of a guest that does not answer.
const LONGEST_AGAIN: Duration = Duration::from_secs(10);

/// Events that are taken at once, and how many a second after that.
const BURST: f64 = 2000.0;
const A_SECOND: f64 = 500.0;

/// How fast a guest's events are taken: each costs a write to the host's disk.
struct Pace {
    left: f64,
    at: Instant,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { left: BURST, at: now }
    }

    /// How long the next event has to wait, if it has to.
    fn delay(&mut self, now: Instant) -> Option<Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        self.left = (self.left + passed * A_SECOND).min(BURST) - 1.0;
        (self.left < 0.0).then(|| Duration::from_secs_f64(-self.left / A_SECOND))
    }
}

/// Follows a guest's services.
pub(crate) struct ServiceFollower {
    pub(crate) context: Arc<Context>,
    pub(crate) workspace: WorkspaceId,
    pub(crate) link: Link,
    pub(crate) vm: Vm,
    pub(crate) requests: mpsc::WeakUnboundedSender<Request>,
    /// Set while the owner has been told of changes and has not looked at them yet.
    pub(crate) told: Arc<AtomicBool>,
}

impl ServiceFollower {
    /// Goes on until the guest is gone.
    pub(crate) async fn run(self) {
        let mut again = AGAIN;
        while self.vm.lives() {
            match self.follow().await {
                Ok(()) => again = AGAIN,
                Err(error) => {
                    tracing::debug!(workspace = %self.workspace, %error, "could not follow the services");
                    again = (again * 2).min(LONGEST_AGAIN);
                }
            }
            tokio::time::sleep(again).await;
        }
    }

    /// Until the stream of events breaks.
    async fn follow(&self) -> Result<(), WorkspaceError> {
        let after = self.context.store.guest_sequence(self.workspace)?;
        let told = WorkspaceError::guest("follow the services");
        let (list, mut events) = self.link.service_events(after).await.map_err(told)?;
        // As they stand: what is told of them from here on is newer or leads to the same.
        let services = told::all_told(&list);
        if let Err(error) = self.context.store.save_services(self.workspace, &services, true) {
            tracing::warn!(workspace = %self.workspace, %error, "could not keep the services");
        }
        self.tell_owner();
        let mut pace = Pace::new(Instant::now());
        while let Ok(Some(event)) = events.next().await {
            if let Some(delay) = pace.delay(Instant::now()) {
                tokio::time::sleep(delay).await;
            }
            self.keep(&event);
        }
        Ok(())
    }

    fn tell_owner(&self) {
        // However many changes there are, one look is enough.
        if self.told.swap(true, Ordering::SeqCst) {
            return;
        }
        if let Some(requests) = self.requests.upgrade() {
            let _ = requests.send(Request::ServicesChanged { reply: None });
        }
    }

    fn keep(&self, event: &pyro_wire::ServiceEvent) {
        let Some(told) = told::event(event) else { return };
        let sequence = Some(event.sequence);
        match self.context.store.keep_service_event(self.workspace, sequence, &told) {
            Ok(true) => {
                self.context.events.send_modify(|count| *count += 1);
                self.tell_owner();
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(workspace = %self.workspace, %error, "could not keep an event");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_of_events_is_taken_at_once_and_a_flood_at_a_pace() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..BURST as usize {
            assert_eq!(pace.delay(now), None);
        }
        assert!(pace.delay(now).is_some());
        assert_eq!(pace.delay(now + Duration::from_secs(1)), None);
    }
}
