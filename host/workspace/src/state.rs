//! Where a workspace may go from where it is. Pure.
//!
//! ```text
//!            create                 start requested            ready
//!   (none) ---------> Creating --.   .----------> Starting ----------.
//!                       |        |   |               | failed        v
//!                       |  ready |   |               v             Started
//!                       |        '---|-----------> Stopped <--------. |  | died
//!                       | failed     '---------------' ^   shut down| |  |
//!                       v                              '-- Stopping<-' <-'
//!                    Deleting <--- delete requested --- (any but Creating)
//! ```

use pyro_store::Phase;

/// What happens to a workspace.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// Somebody wants it started.
    StartRequested,
    /// Its guest answers and is personal.
    Ready,
    /// It could not be started.
    StartFailed,
    /// Somebody wants it stopped.
    StopRequested,
    /// Its VM ended, asked or unasked.
    VmEnded,
    /// Somebody wants it gone, or its making failed.
    DeleteRequested,
}

/// What follows from an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transition {
    /// The workspace is now in this phase.
    To(Phase),
    /// It already is as asked.
    Already,
}

/// Why an event has no place in a phase.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// It is being deleted: nothing else happens to it.
    #[error("the workspace is being deleted")]
    Deleting,
    /// It is still being made.
    #[error("the workspace is still being created")]
    Creating,
    /// The event cannot happen here; a fault of ours.
    #[error("{event:?} cannot happen to a workspace that is {phase:?}")]
    Impossible {
        /// Where it stands.
        phase: Phase,
        /// What was said to happen.
        event: Event,
    },
}

/// Decides what an event does in a phase.
#[expect(clippy::match_same_arms, reason = "grouped by phase, as the diagram reads")]
pub fn next(phase: Phase, event: Event) -> Result<Transition, Refusal> {
    use Event::{DeleteRequested, Ready, StartFailed, StartRequested, StopRequested, VmEnded};
    use Phase::{Creating, Deleting, Started, Starting, Stopped, Stopping};
    Ok(match (phase, event) {
        (Deleting, DeleteRequested | VmEnded) => Transition::Already,
        (Deleting, _) => return Err(Refusal::Deleting),

        (Creating | Starting, Ready) => Transition::To(Started),
        (Creating, StartFailed | DeleteRequested) => Transition::To(Deleting),
        (Creating, VmEnded) => Transition::Already,
        (Creating, StartRequested | StopRequested) => return Err(Refusal::Creating),

        (Stopped, StartRequested) => Transition::To(Starting),
        (Stopped, StopRequested | VmEnded) => Transition::Already,

        (Starting, StartFailed) => Transition::To(Stopped),
        (Starting, StartRequested | VmEnded) => Transition::Already,

        (Started, StartRequested) => Transition::Already,
        (Started | Starting, StopRequested) => Transition::To(Stopping),
        (Started | Stopping, VmEnded) => Transition::To(Stopped),

        (Stopping, StopRequested) => Transition::Already,

        (Stopped | Starting | Started | Stopping, DeleteRequested) => Transition::To(Deleting),
        (Stopped | Started, Ready | StartFailed)
        | (Stopping, StartRequested | Ready | StartFailed) => {
            return Err(Refusal::Impossible { phase, event });
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn events() -> impl Strategy<Value = Event> {
        prop::sample::select(vec![
            Event::StartRequested,
            Event::Ready,
            Event::StartFailed,
            Event::StopRequested,
            Event::VmEnded,
            Event::DeleteRequested,
        ])
    }

    proptest! {
        #[test]
        fn a_deleted_workspace_never_comes_back(script in prop::collection::vec(events(), 0..40)) {
            let mut phase = Phase::Creating;
            let mut deleting = false;
            for event in script {
                if let Ok(Transition::To(to)) = next(phase, event) {
                    prop_assert!(!deleting, "left Deleting for {to:?}");
                    phase = to;
                }
                deleting |= phase == Phase::Deleting;
            }
        }

        #[test]
        fn it_is_started_only_by_becoming_ready(script in prop::collection::vec(events(), 0..40)) {
            let mut phase = Phase::Creating;
            for event in script {
                if let Ok(Transition::To(to)) = next(phase, event) {
                    prop_assert!(to != Phase::Started || event == Event::Ready);
                    phase = to;
                }
            }
        }

        #[test]
        fn a_delete_is_never_refused_for_good(script in prop::collection::vec(events(), 0..40)) {
            let mut phase = Phase::Creating;
            for event in script {
                if let Ok(Transition::To(to)) = next(phase, event) {
                    phase = to;
                }
            }
            prop_assert!(next(phase, Event::DeleteRequested).is_ok());
        }
    }
}
