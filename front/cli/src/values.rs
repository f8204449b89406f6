//! How values of flags are read: durations, sizes, pairs; and the nearest right spelling.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pyro_core::Mebibytes;

/// Reads `30`, `30s`, `1.5`, `5m`, `2h`, `7d`; a bare number counts seconds.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let rule = "a time is a number of seconds, or with a unit as in 30s, 5m, 2h, 7d";
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err(rule.to_owned()),
    };
    let number: f64 = number.parse().map_err(|_| rule.to_owned())?;
    Duration::try_from_secs_f64(number * seconds).map_err(|_| rule.to_owned())
}

/// Reads a moment: a time before now, as in `30s`, `5m`, or a Unix second from the year 2001 on.
pub(crate) fn moment(text: &str) -> Result<f64, String> {
    let time = duration(text)?.as_secs_f64();
    Ok(if time >= 1e9 { time } else { now() - time })
}

/// Reads a size in MiB as [`Mebibytes`] does.
pub(crate) fn mebibytes(text: &str) -> Result<u32, String> {
    text.parse::<Mebibytes>().map(Mebibytes::get).map_err(|error| error.to_string())
}

/// Reads `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE".to_owned()),
    }
}

/// A port of this host and the port of a workspace that it reaches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Forward {
    /// None: the guest's number; 0: any.
    pub(crate) host: Option<u16>,
    pub(crate) guest: u16,
}

/// Reads `GUEST` or `HOST:GUEST`.
pub(crate) fn forward(text: &str) -> Result<Forward, String> {
    let rule = "it is GUEST or HOST:GUEST, ports from 1 to 65535; a HOST of 0 is any that is free";
    let port = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| is_number).ok_or_else(|| rule.to_owned())
    };
    let (host, guest) = match text.split_once(':') {
        Some((host, guest)) => (Some(port(host)?), port(guest)?),
        None => (None, port(text)?),
    };
    if guest == 0 {
        return Err(rule.to_owned());
    }
    Ok(Forward { host, guest })
}

/// A port to publish, and the address of this host that was named with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Publication {
    pub(crate) bind: Option<Bind>,
    pub(crate) port: Forward,
}

/// Reads `GUEST`, `HOST:GUEST`, and either after an address and a colon.
pub(crate) fn publication(text: &str) -> Result<Publication, String> {
    let is_address =
        |text: &str| text.contains(['.', '[']) || text.eq_ignore_ascii_case("localhost");
    let at = match text.find(']') {
        Some(end) => (text.get(end + 1..end + 2) == Some(":")).then_some(end + 1),
        None => text.find(':'),
    };
    let named = at.map(|at| (&text[..at], &text[at + 1..]));
    match named.filter(|(address, _)| is_address(address)) {
        Some((address, port)) => {
            Ok(Publication { bind: Some(bind(address)?), port: forward(port)? })
        }
        None => Ok(Publication { bind: None, port: forward(text)? }),
    }
}

/// An address of this host to listen on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Bind(Option<IpAddr>);

impl Bind {
    /// None: `localhost`, v4 and v6.
    pub(crate) fn address(self) -> Option<IpAddr> {
        self.0
    }

    /// Whether others than this host may connect.
    pub(crate) fn is_open(self) -> bool {
        self.0.is_some_and(|address| !address.to_canonical().is_loopback())
    }
}

/// Reads an address, or `localhost`.
pub(crate) fn bind(text: &str) -> Result<Bind, String> {
    if text.eq_ignore_ascii_case("localhost") {
        return Ok(Bind(None));
    }
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().map(|address| Bind(Some(address))).map_err(|_| {
        "it is an IPv4 or IPv6 address of this host, such as 192.0.2.1, 0.0.0.0 or ::1".to_owned()
    })
}

/// This moment in Unix seconds.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// The candidate that is so near that it was probably meant.
pub(crate) fn nearest<'a>(
    text: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let allowed = text.chars().count() / 3;
    let near = candidates.into_iter().map(|candidate| (distance(text, candidate), candidate));
    near.filter(|(distance, _)| *distance <= allowed).min().map(|(_, candidate)| candidate)
}

/// How many characters must be inserted, removed or replaced (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(row[j + 1] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_and_without_units() {
        for (text, seconds) in [
            ("30", 30.0),
            ("30s", 30.0),
            ("5m", 300.0),
            ("0", 0.0),
            ("1.5", 1.5),
            ("7d", 604_800.0),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_secs_f64(seconds)), "{text}");
        }
        for bad in ["", "s", "-1", "5x", "1m30s", "1.2.3", "99999999999999999999999999d", "٣"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_port_to_publish_may_name_an_address() {
        let port = |bind: Option<&str>, host, guest| {
            let bind = bind.map(|text| super::bind(text).unwrap());
            Ok(Publication { bind, port: Forward { host, guest } })
        };
        assert_eq!(publication("8000"), port(None, None, 8000));
        assert_eq!(publication("0:8000"), port(None, Some(0), 8000));
        assert_eq!(publication("0.0.0.0:8000"), port(Some("0.0.0.0"), None, 8000));
        assert_eq!(publication("[::1]:8080:8000"), port(Some("::1"), Some(8080), 8000));
        assert_eq!(publication("localhost:1:2"), port(Some("localhost"), Some(1), 2));
        for bad in
            ["", ":", "0", "1:0", "1:2:3", "::1:2", "[::1]", "[::1]8000", "x:1", "1.2:3", "65536"]
        {
            assert!(publication(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_is_near_was_meant() {
        assert_eq!(nearest("mem_mb", ["mem_mib", "backend"]), Some("mem_mib"));
        assert_eq!(nearest("colour", ["mem_mib", "backend"]), None);
    }
}
