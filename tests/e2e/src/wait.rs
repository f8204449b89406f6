//! Waiting for what gives no event of its own: processes elsewhere, and states behind a command.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::backend::{Backend, backend, setting};

/// Between two looks at something that gives no event.
const LOOK: Duration = Duration::from_millis(50);

/// A deadline, stretched for slow places. It only says when to give up.
pub fn patience(seconds: u64) -> Duration {
    let usual = match backend() {
        Backend::Qemu => 1,
        Backend::Firecracker => 6,
    };
    let factor = match setting("PYRO_E2E_PATIENCE") {
        None => usual,
        Some(text) => text.to_str().and_then(|text| text.parse().ok()).unwrap(),
    };
    Duration::from_secs(seconds * factor)
}

/// Waits until the condition holds; fails after so many (stretched) seconds.
#[track_caller]
pub fn wait_until(seconds: u64, what: &str, condition: impl Fn() -> bool) {
    wait_until_some(seconds, what, || condition().then_some(()));
}

/// Waits until there is something; fails after so many (stretched) seconds.
#[track_caller]
pub fn wait_until_some<T>(seconds: u64, what: &str, look: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + patience(seconds);
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::park_timeout(LOOK);
    }
}
