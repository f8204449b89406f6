//! How many streams to one guest there may be at once.
//!
//! The keeper opens 512 and makes the next client wait; the agent serves as many. So that nobody who
//! follows a log or waits for a service holds up those who want an answer, such streams have a bound
//! of their own below that, and one too many is refused. Refuses to know what the calls are.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};

use crate::stream::LinkError;

/// Streams at once. Some of the keeper's are left for those of a node that was killed, which end when
/// the keeper has seen that.
const ALL: usize = 448;
/// Of these, streams that stay open for as long as somebody wants.
const STAYING: usize = 384;
/// Streams that are being opened at once: Firecracker gives one up whose guest has not taken it
/// within two seconds, which a slow guest does not where many come together. Such a stream is opened
/// again ([`Stream::open`](crate::stream::Stream::open)), at the cost of those seconds.
const OPENING: usize = 16;

/// The places of one guest.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    staying: Arc<Semaphore>,
    opening: Semaphore,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            all: Arc::new(Semaphore::new(ALL)),
            staying: Arc::new(Semaphore::new(STAYING)),
            opening: Semaphore::new(OPENING),
        }
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    _held: [Option<OwnedSemaphorePermit>; 2],
}

impl Places {
    /// A place for a call that is answered soon; waits until there is one.
    pub(crate) async fn passing(&self) -> Place {
        Place { _held: [self.all.clone().acquire_owned().await.ok(), None] }
    }

    /// The turn of a stream that is being opened, until it is dropped.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.opening.acquire().await.ok()
    }

    /// A place for a call that stays; an error where there are too many of these.
    pub(crate) async fn staying(&self) -> Result<Place, LinkError> {
        let crowded = |_| LinkError::Crowded(STAYING);
        let staying = self.staying.clone().try_acquire_owned().map_err(crowded)?;
        let Place { _held: [all, _] } = self.passing().await;
        Ok(Place { _held: [all, Some(staying)] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn those_who_stay_leave_room_for_those_who_pass() {
        let places = Places::default();
        let mut held = Vec::new();
        for _ in 0..STAYING {
            held.push(places.staying().await.unwrap());
        }
        assert!(matches!(places.staying().await, Err(LinkError::Crowded(STAYING))));
        for _ in STAYING..ALL {
            held.push(places.passing().await);
        }
        assert!(places.all.try_acquire().is_err(), "one more waits");
        held.clear();
        assert!(places.staying().await.is_ok());
    }
}
