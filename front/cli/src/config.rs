//! Defaults that a person keeps in `config.toml`.

use std::{io, path::Path};

use pyro_core::{Mebibytes, Problem};
use toml::{Table, Value};

use crate::values::nearest;

const KEYS: [&str; 5] = ["backend", "disk_mib", "environment", "mem_mib", "vcpu_count"];

/// Defaults; whatever stands on the command line goes before them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Defaults {
    pub(crate) backend: Option<String>,
    pub(crate) environment: Option<String>,
    pub(crate) vcpu_count: Option<u32>,
    pub(crate) mem_mib: Option<u32>,
    pub(crate) disk_mib: Option<u32>,
}

impl Defaults {
    /// Reads the file; there are no defaults where there is no file.
    pub(crate) fn read(path: Option<&Path>) -> Result<Self, Problem> {
        let Some(path) = path else { return Ok(Self::default()) };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(Self::default());
            }
            Err(error) => {
                let message = format!("cannot read {}", path.display());
                return Err(Problem::failed("config_unreadable", message).cause(error));
            }
        };
        Self::parse(&text).map_err(|reason| {
            let message = format!("{}: {reason}", path.display());
            Problem::invalid("invalid_config", message)
                .hint(format!("it may hold: {}", KEYS.join(", ")))
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
            format!("line {line}: {}", error.message())
        })?;
        let mut defaults = Self::default();
        for (key, value) in table {
            match key.as_str() {
                "backend" => defaults.backend = Some(string(&key, &value)?),
                "environment" => defaults.environment = Some(string(&key, &value)?),
                "vcpu_count" => defaults.vcpu_count = Some(number(&key, &value)?),
                "mem_mib" => defaults.mem_mib = Some(size(&key, &value)?),
                "disk_mib" => defaults.disk_mib = Some(size(&key, &value)?),
                _ => {
                    let meant = nearest(&key, KEYS).map(|key| format!("; did you mean {key:?}?"));
                    return Err(format!("unknown key {key:?}{}", meant.unwrap_or_default()));
                }
            }
        }
        Ok(defaults)
    }
}

fn string(key: &str, value: &Value) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{key} must be a text"))
}

fn number(key: &str, value: &Value) -> Result<u32, String> {
    let number = value.as_integer().and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| format!("{key} must be a whole number"))
}

fn size(key: &str, value: &Value) -> Result<u32, String> {
    match value.as_str() {
        Some(text) => match text.parse::<Mebibytes>() {
            Ok(size) => Ok(size.get()),
            Err(error) => Err(format!("{key}: {error}")),
        },
        None => number(key, value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_may_have_units() {
        let defaults = Defaults::parse("mem_mib = \"2g\"\ndisk_mib = 4096\n").unwrap();
        assert_eq!((defaults.mem_mib, defaults.disk_mib), (Some(2048), Some(4096)));
    }

    #[test]
    fn mistakes_are_told_with_their_place_or_what_was_meant() {
        for (text, told) in [
            ("mem_mb = 5", "unknown key \"mem_mb\"; did you mean \"mem_mib\"?"),
            ("zzzzzzzz = 5", "unknown key \"zzzzzzzz\""),
            ("backend = 5", "backend must be a text"),
            ("\nmem_mib =", "line 2: "),
            ("mem_mib = \"2x\"", "mem_mib: \"2x\" is not a valid size"),
            ("vcpu_count = -1", "vcpu_count must be a whole number"),
        ] {
            let error = Defaults::parse(text).unwrap_err();
            assert!(error.starts_with(told), "{text:?}: {error}");
        }
    }
}
