//! A record as it is told: without what nobody reads, and with bounded text, so that a list of all
//! services is one message and an event is small.
//!
//! Refuses to know whom it is told. The specification itself stays whole on the agent disk.

use bytes::Bytes;
use pyro_wire::{MAX_MESSAGE, Message, Probe, ServiceList, ServiceRecord, probe::Kind};

/// Of one text, bytes.
const LONGEST_TEXT: usize = 2048;
/// Of one text where there are so many services that the list would be too long; tried in order.
const SHORTER: [usize; 3] = [512, 128, 32];
/// Left for what surrounds a list.
const ENVELOPE: usize = 1024;

/// One record.
pub fn excerpt(record: &ServiceRecord) -> ServiceRecord {
    let spec = record.spec.as_ref().map(|spec| pyro_wire::ServiceSpec {
        environment: Vec::new(),
        arguments: Vec::new(),
        ..spec.clone()
    });
    let mut told = ServiceRecord { spec, ..record.clone() };
    shorten(&mut told, LONGEST_TEXT);
    told
}

/// All of them, in one message.
pub fn list(records: impl Iterator<Item = ServiceRecord>, sequence: u64) -> ServiceList {
    let records = records.map(|record| excerpt(&record)).collect();
    let mut list = ServiceList { records, sequence, ..ServiceList::default() };
    let fits = |list: &ServiceList| list.encoded_len() <= MAX_MESSAGE - ENVELOPE;
    for longest in SHORTER {
        if fits(&list) {
            return list;
        }
        list.records.iter_mut().for_each(|record| shorten(record, longest));
    }
    if !fits(&list) {
        // Each of hundreds waits for dozens: that is left out before any of them is.
        for record in &mut list.records {
            record.waiting_for.clear();
            record.listening.clear();
            if let Some(spec) = &mut record.spec {
                spec.depends_on.clear();
            }
        }
    }
    list
}

fn shorten(record: &mut ServiceRecord, longest: usize) {
    let ServiceRecord { spec, stop_reason, status_text, detail, last_probe, .. } = record;
    for text in [stop_reason, status_text, detail] {
        cut(text, longest);
    }
    if let Some(probe) = last_probe {
        cut(&mut probe.result, longest);
    }
    let Some(spec) = spec else { return };
    cut(&mut spec.command, longest);
    cut(&mut spec.user, longest);
    cut_bytes(&mut spec.working_directory, longest);
    let health = spec.health.as_mut().and_then(|health| health.probe.as_mut());
    for probe in spec.readiness.as_mut().into_iter().chain(health) {
        shorten_probe(probe, longest);
    }
}

fn shorten_probe(probe: &mut Probe, longest: usize) {
    match &mut probe.kind {
        Some(Kind::File(path)) => cut_bytes(path, longest),
        Some(Kind::Tcp(tcp)) => cut(&mut tcp.host, longest),
        Some(Kind::Http(http)) => {
            cut(&mut http.host, longest);
            cut(&mut http.target, longest);
        }
        Some(Kind::Command(command)) => {
            let mut left = longest;
            for argument in &mut command.arguments {
                cut_bytes(argument, left);
                // Each takes a few bytes besides its own.
                left = left.saturating_sub(argument.len() + 8);
            }
            command.arguments.truncate(longest / 8);
        }
        Some(Kind::Log(pattern)) => cut(pattern, longest),
        Some(Kind::Notify(_)) | None => {}
    }
}

fn cut(text: &mut String, longest: usize) {
    let mut end = longest.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

fn cut_bytes(bytes: &mut Bytes, longest: usize) {
    if bytes.len() > longest {
        // A copy: a slice would keep the whole of it.
        *bytes = Bytes::copy_from_slice(&bytes[..longest]);
    }
}

#[cfg(test)]
mod tests {
    use pyro_wire::{CommandProbe, Dependency, EnvironmentVariable, HealthCheck, ServiceSpec};

    use super::*;

    /// As large as a host may ask for.
    fn large(number: usize) -> ServiceRecord {
        let word = || Bytes::from("ä".repeat(30_000));
        let probe = || {
            let arguments = std::iter::repeat_with(word).take(3).collect();
            Probe { kind: Some(Kind::Command(CommandProbe { arguments })), timeout_millis: 0 }
        };
        let spec = ServiceSpec {
            name: format!("{number:0>64}"),
            command: "ä".repeat(30_000),
            arguments: vec![word()],
            environment: vec![EnvironmentVariable { name: word(), value: word() }],
            working_directory: word(),
            readiness: Some(probe()),
            health: Some(HealthCheck { probe: Some(probe()), ..HealthCheck::default() }),
            depends_on: (0..64)
                .map(|on| Dependency { name: format!("{on:0>64}"), condition: 0 })
                .collect(),
            ..ServiceSpec::default()
        };
        ServiceRecord {
            spec: Some(spec),
            waiting_for: (0..64).map(|on| format!("{on:0>64}")).collect(),
            status_text: "ä".repeat(4000),
            detail: "ä".repeat(4000),
            ..ServiceRecord::default()
        }
    }

    #[test]
    fn the_longest_list_is_one_message_and_the_largest_event_is_small() {
        let list = list((0..256).map(large), 7);
        assert_eq!(list.records.len(), 256);
        assert!(list.encoded_len() <= MAX_MESSAGE, "{}", list.encoded_len());
        assert!(excerpt(&large(1)).encoded_len() < 32 << 10);
    }

    #[test]
    fn what_is_usual_is_told_whole_but_for_what_nobody_reads() {
        let spec = ServiceSpec {
            name: "web".into(),
            command: "serve --port 80".into(),
            arguments: vec!["serve".into()],
            ..ServiceSpec::default()
        };
        let record = ServiceRecord { spec: Some(spec), run: 3, ..ServiceRecord::default() };
        let told = excerpt(&record);
        let spec = told.spec.unwrap();
        assert_eq!(
            (spec.command.as_str(), spec.arguments.len(), told.run),
            ("serve --port 80", 0, 3)
        );
    }
}
