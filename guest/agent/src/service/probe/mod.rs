//! Probes: questions to a service from inside its workload.
//!
//! What answers is a stranger: whatever it says, sends or keeps back, a try ends in time and in
//! bounded memory, and anything but a clear yes is "not yet". Refuses to know what follows from it.

mod command;
mod file;
mod http;
mod line;
mod notify;
mod place;
mod tcp;

use std::{net::SocketAddr, time::Duration};

use pyro_wire::{Probe, ServiceSpec, probe::Kind};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};

pub use line::{LineWatch, compile};
pub use notify::Notify;
pub use place::Place;
pub use tcp::connect;

/// The shortest time between two tries.
const SHORTEST: Duration = Duration::from_millis(10);
/// Of one try, where the probe names none.
const TRY: Duration = Duration::from_secs(2);
/// The same for a command, which has more to do.
const COMMAND_TRY: Duration = Duration::from_secs(10);
/// Characters of what is told of a try.
const LONGEST_RESULT: usize = 200;

/// What came of a try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Whether it was a yes.
    pub passed: bool,
    /// In words, one line.
    pub result: String,
    /// Where something accepted a connection.
    pub peer: Option<SocketAddr>,
}

impl Seen {
    /// A yes.
    pub fn yes(result: impl Into<String>) -> Self {
        Self { passed: true, result: line(&result.into()), peer: None }
    }

    fn not_yet(result: impl Into<String>) -> Self {
        Self { passed: false, result: line(&result.into()), peer: None }
    }

    fn by(self, peer: Option<SocketAddr>) -> Self {
        Self { peer, ..self }
    }

    /// The same with a remark.
    #[must_use]
    pub fn adding(mut self, remark: &str) -> Self {
        self.result += remark;
        self
    }
}

/// One line of what may be a stranger's text.
fn line(text: &str) -> String {
    let cut: String = text.chars().take(LONGEST_RESULT).collect();
    cut.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// How long after this much time the next try comes.
pub fn interval(probe: &Probe, elapsed: Duration, longest: Duration) -> Duration {
    let share = if matches!(probe.kind, Some(Kind::Command(_))) { 4 } else { 20 };
    (elapsed / share).max(SHORTEST).min(longest.max(SHORTEST))
}

/// One try, ended in time.
pub async fn try_once(probe: &Probe, spec: &ServiceSpec, place: &Place) -> Seen {
    let usual = if matches!(probe.kind, Some(Kind::Command(_))) { COMMAND_TRY } else { TRY };
    let limit = match probe.timeout_millis {
        0 => usual,
        millis => Duration::from_millis(millis),
    };
    let tried = async {
        match &probe.kind {
            Some(Kind::Tcp(tcp)) => tcp::try_once(tcp, place).await,
            Some(Kind::Http(http)) => http::try_once(http, place).await,
            Some(Kind::Command(command)) => {
                return command::try_once(command, spec, place, limit).await;
            }
            Some(Kind::File(path)) => file::try_once(path.to_vec(), place).await,
            Some(Kind::Log(_) | Kind::Notify(_)) | None => Seen::not_yet("it tells by itself"),
        }
    };
    match tokio::time::timeout(limit + Duration::from_millis(500), tried).await {
        Ok(seen) => seen,
        Err(_) => Seen::not_yet(format!("no answer within {limit:?}")),
    }
}

/// Tries until it passes; tells each result. Ends with the task that runs it.
pub async fn until_ready(
    probe: Probe,
    spec: ServiceSpec,
    place: Place,
    longest: Duration,
    tell: mpsc::Sender<Seen>,
) {
    if let Some(Kind::File(path)) = &probe.kind {
        return file::until_there(path.to_vec(), &place, longest, tell).await;
    }
    let begun = Instant::now();
    loop {
        let seen = try_once(&probe, &spec, &place).await;
        let passed = seen.passed;
        if tell.send(seen).await.is_err() || passed {
            return;
        }
        sleep(interval(&probe, begun.elapsed(), longest)).await;
    }
}

#[cfg(test)]
mod tests {
    use pyro_wire::{CommandProbe, TcpProbe};

    use super::*;

    #[test]
    fn tries_come_often_at_first_and_never_too_often() {
        let tcp = Probe { kind: Some(Kind::Tcp(TcpProbe::default())), timeout_millis: 0 };
        let command =
            Probe { kind: Some(Kind::Command(CommandProbe::default())), timeout_millis: 0 };
        let longest = Duration::from_millis(500);
        let after =
            |probe, millis| interval(probe, Duration::from_millis(millis), longest).as_millis();
        assert_eq!([0, 100, 1000, 60_000].map(|at| after(&tcp, at)), [10, 10, 50, 500]);
        assert_eq!([0, 100, 1000, 60_000].map(|at| after(&command, at)), [10, 25, 250, 500]);
    }

    #[test]
    fn what_a_stranger_says_is_one_short_line() {
        let seen = Seen::not_yet(format!("a\n\x1b[31m{}", "x".repeat(1000)));
        assert_eq!(seen.result.chars().count(), LONGEST_RESULT);
        assert!(!seen.result.contains(char::is_control));
    }
}
