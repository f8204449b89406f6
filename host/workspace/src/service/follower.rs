//! The task beside an owner that listens to its guest's services: keeps what they become, in order,
//! each change once.

use std::{sync::Arc, time::Duration};

use pyro_core::WorkspaceId;
use pyro_link::Link;

use super::told;
use crate::{error::WorkspaceError, registry::Context, vm::Vm};

/// After a stream that broke though the VM lives: a guest that breaks it again and again must not
/// keep the node busy.
const AGAIN: Duration = Duration::from_millis(200);
/// The longest time between two tries of a guest that does not answer.
const LONGEST_AGAIN: Duration = Duration::from_secs(10);

/// Follows a guest's services.
pub(crate) struct ServiceFollower {
    pub(crate) context: Arc<Context>,
    pub(crate) workspace: WorkspaceId,
    pub(crate) link: Link,
    pub(crate) vm: Vm,
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
        while let Ok(Some(event)) = events.next().await {
            self.keep(&event);
        }
        Ok(())
    }

    fn keep(&self, event: &pyro_wire::ServiceEvent) {
        let Some(told) = told::event(event) else { return };
        let sequence = Some(event.sequence);
        match self.context.store.keep_service_event(self.workspace, sequence, &told) {
            Ok(true) => self.context.events.send_modify(|count| *count += 1),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(workspace = %self.workspace, %error, "could not keep an event");
            }
        }
    }
}
