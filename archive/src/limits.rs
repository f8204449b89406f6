//! How much one archive may hold, and how much it held.

use crate::Error;
use crate::error::shown;

/// The most that is taken from one archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members of any kind.
    pub entries: u64,
    /// Bytes of all names and link targets together: what has to be remembered.
    pub name_bytes: u64,
    /// Bytes of content of all members together, as stored: holes do not count.
    pub bytes: u64,
    /// Bytes of one file, with its holes.
    pub file_bytes: u64,
}

impl Default for Limits {
    /// Five million members, 1 GiB of names, 1 TiB of content, 1 TiB in one file.
    fn default() -> Self {
        Self { entries: 5_000_000, name_bytes: 1 << 30, bytes: 1 << 40, file_bytes: 1 << 40 }
    }
}

/// What was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Members written or made.
    pub entries: u64,
    /// Bytes of content, without holes.
    pub bytes: u64,
    /// Entries that were removed because the archive does not have them.
    pub removed: u64,
    /// Sockets and devices that were left out.
    pub skipped: u64,
    /// Files whose size changed while they were read.
    pub changed: u64,
}

/// Counts members against [`Limits`].
#[derive(Debug)]
pub(crate) struct Meter {
    limits: Limits,
    entries: u64,
    name_bytes: u64,
    bytes: u64,
}

impl Meter {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, entries: 0, name_bytes: 0, bytes: 0 }
    }

    /// Counts one member of `stored` bytes that becomes a file of `size`, before it is made. Sizes
    /// that overflow pass every limit.
    pub(crate) fn admit(
        &mut self,
        name: &[u8],
        link: &[u8],
        stored: u64,
        size: u64,
    ) -> Result<(), Error> {
        let too_large = |what, limit| Error::TooLarge { member: shown(name), what, limit };
        let Limits { entries, name_bytes, bytes, file_bytes } = self.limits;
        if self.entries >= entries {
            return Err(too_large("entries", entries));
        }
        if size > file_bytes {
            return Err(too_large("bytes in one file", file_bytes));
        }
        let add = |sum: u64, more: u64, limit| sum.checked_add(more).filter(|sum| *sum <= limit);
        self.name_bytes = add(self.name_bytes, (name.len() + link.len()) as u64, name_bytes)
            .ok_or_else(|| too_large("bytes of names", name_bytes))?;
        self.bytes = add(self.bytes, stored, bytes).ok_or_else(|| too_large("bytes", bytes))?;
        self.entries += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_reached_but_not_passed() {
        let limits = Limits { entries: 2, name_bytes: 3, bytes: 10, file_bytes: 8 };
        let mut meter = Meter::new(limits);
        assert!(meter.admit(b"a", b"", 0, 9).is_err());
        assert!(meter.admit(b"abcd", b"", 0, 0).is_err());
        assert!(meter.admit(b"a", b"", 8, 8).is_ok());
        assert!(meter.admit(b"b", b"", 3, 3).is_err());
        let mut meter = Meter::new(limits);
        assert!(meter.admit(b"a", b"", 0, 0).is_ok());
        assert!(meter.admit(b"b", b"", 0, 0).is_ok());
        assert_eq!(meter.admit(b"", b"", 0, 0).unwrap_err().code(), "archive_too_large");
    }

    #[test]
    fn sizes_that_overflow_are_too_large() {
        let limits = Limits { entries: 9, name_bytes: 99, bytes: u64::MAX, file_bytes: u64::MAX };
        let mut meter = Meter::new(limits);
        assert!(meter.admit(b"a", b"", u64::MAX, 0).is_ok());
        assert!(meter.admit(b"b", b"", 1, 0).is_err());
    }
}
