//! How much one archive may hold.

use crate::Error;

/// The most that is taken from one archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members of any kind.
    pub entries: u64,
    /// Bytes of content of all members together.
    pub bytes: u64,
    /// Bytes of content of one member.
    pub file_bytes: u64,
}

/// Counts members against [`Limits`].
#[derive(Debug)]
pub struct Meter {
    limits: Limits,
    entries: u64,
    bytes: u64,
}

impl Meter {
    /// Nothing counted yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, entries: 0, bytes: 0 }
    }

    /// Counts one member of `size` bytes. Fails with [`Error::TooLarge`], before it is counted,
    /// where it would pass a limit; sizes that overflow pass every limit.
    pub fn admit(&mut self, name: &[u8], size: u64) -> Result<(), Error> {
        let too_large =
            |what, limit| Error::TooLarge { member: name.escape_ascii().to_string(), what, limit };
        if self.entries >= self.limits.entries {
            return Err(too_large("entries", self.limits.entries));
        }
        if size > self.limits.file_bytes {
            return Err(too_large("bytes in one file", self.limits.file_bytes));
        }
        let bytes = self
            .bytes
            .checked_add(size)
            .filter(|bytes| *bytes <= self.limits.bytes)
            .ok_or_else(|| too_large("bytes", self.limits.bytes))?;
        self.bytes = bytes;
        self.entries += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_reached_but_not_passed() {
        let limits = Limits { entries: 2, bytes: 10, file_bytes: 8 };
        let mut meter = Meter::new(limits);
        assert_eq!(meter.admit(b"a", 9).map_err(|e| e.code()), Err("archive_too_large"));
        assert_eq!(meter.admit(b"a", 8), Ok(()));
        assert!(meter.admit(b"b", 3).is_err());
        assert_eq!(meter.admit(b"b", 2), Ok(()));
        assert!(meter.admit(b"c", 0).is_err());
    }

    #[test]
    fn sizes_that_overflow_are_too_large() {
        let limits = Limits { entries: 9, bytes: u64::MAX, file_bytes: u64::MAX };
        let mut meter = Meter::new(limits);
        assert_eq!(meter.admit(b"a", u64::MAX), Ok(()));
        assert!(meter.admit(b"b", 1).is_err());
    }
}
