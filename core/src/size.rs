//! Sizes with their units and their limits.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A number is outside its range, or no number at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given} is not a valid {what}: {rule}")]
pub struct InvalidSize {
    /// What was asked for.
    pub what: &'static str,
    /// What was given.
    pub given: String,
    /// The allowed range.
    pub rule: &'static str,
}

/// An amount of memory or disk in MiB (2^20 bytes).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mebibytes(u32);

impl Mebibytes {
    /// Makes an amount without checking a range.
    pub const fn new(mebibytes: u32) -> Self {
        Self(mebibytes)
    }

    /// A guest's memory: 128 to 131072 MiB.
    pub fn memory(mebibytes: u32) -> Result<Self, InvalidSize> {
        if (128..=131_072).contains(&mebibytes) {
            Ok(Self(mebibytes))
        } else {
            Err(InvalidSize {
                what: "memory size",
                given: format!("{mebibytes} MiB"),
                rule: "128 to 131072 MiB",
            })
        }
    }

    /// A workspace disk: 1024 to 1048576 MiB.
    pub fn disk(mebibytes: u32) -> Result<Self, InvalidSize> {
        if (1024..=1_048_576).contains(&mebibytes) {
            Ok(Self(mebibytes))
        } else {
            Err(InvalidSize {
                what: "disk size",
                given: format!("{mebibytes} MiB"),
                rule: "1024 to 1048576 MiB",
            })
        }
    }

    /// The amount in MiB.
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The amount in bytes.
    pub const fn bytes(self) -> u64 {
        (self.0 as u64) << 20
    }
}

impl fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} MiB", self.0)
    }
}

/// Reads `512` (MiB), `512m`, `2g`, `2GiB`, `1t`.
impl FromStr for Mebibytes {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, InvalidSize> {
        let invalid = || InvalidSize {
            what: "size",
            given: format!("{text:?}"),
            rule: "a whole number of MiB, or with a unit as in 512m, 2g, 1t",
        };
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let shift = match unit.to_ascii_lowercase().as_str() {
            "" | "m" | "mb" | "mib" => 0,
            "g" | "gb" | "gib" => 10,
            "t" | "tb" | "tib" => 20,
            _ => return Err(invalid()),
        };
        let number: u64 = number.parse().map_err(|_| invalid())?;
        let mebibytes = number.checked_mul(1 << shift).ok_or_else(invalid)?;
        Ok(Self(u32::try_from(mebibytes).map_err(|_| invalid())?))
    }
}

/// How many virtual CPUs a guest has: 1 to 32.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct VcpuCount(u8);

impl VcpuCount {
    /// One virtual CPU.
    pub const ONE: Self = Self(1);

    /// The number of virtual CPUs.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u32> for VcpuCount {
    type Error = InvalidSize;

    fn try_from(count: u32) -> Result<Self, InvalidSize> {
        match u8::try_from(count) {
            Ok(small @ 1..=32) => Ok(Self(small)),
            _ => Err(InvalidSize { what: "vcpu count", given: count.to_string(), rule: "1 to 32" }),
        }
    }
}

impl From<VcpuCount> for u32 {
    fn from(count: VcpuCount) -> u32 {
        count.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, mebibytes) in [("512", 512), ("512m", 512), ("2g", 2048), ("2GiB", 2048)] {
            assert_eq!(text.parse(), Ok(Mebibytes(mebibytes)), "{text}");
        }
        for bad in ["", "g", "2x", "-1", "1.5g", "99999999999999999999", "4096t"] {
            assert!(bad.parse::<Mebibytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_hold_at_their_edges() {
        assert!(Mebibytes::memory(127).is_err() && Mebibytes::memory(128).is_ok());
        assert!(VcpuCount::try_from(0).is_err() && VcpuCount::try_from(33).is_err());
        assert!(VcpuCount::try_from(32).is_ok());
    }
}
