//! The host's time stamp counter, which guests under emulation must be told.
//!
//! QEMU's `microvm` has no timer against which a guest could measure it: a guest that is not told
//! hangs at boot. It is measured once per boot of the host and kept, so that every guest of one
//! boot has the same command line.

use std::path::Path;

use pyro_directory::Directory;
use serde::{Deserialize, Serialize};

use crate::{VmmError, sys};

const FILE: &str = "host-clock.json";
const LOCK: &str = "host-clock.lock";

/// What guests are told of the host's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HostClock {
    /// The frequency of the time stamp counter in kHz.
    pub tsc_khz: u32,
}

#[derive(Serialize, Deserialize)]
struct Kept {
    boot_id: String,
    #[serde(flatten)]
    clock: HostClock,
}

impl HostClock {
    /// Measures, blocking for 300 ms.
    pub fn measure() -> Self {
        Self { tsc_khz: sys::tsc::measure_khz() }
    }

    /// What was measured since the host booted, else a measurement, which is then kept in the
    /// cache directory. Where the cache cannot be used it is measured each time. Blocking.
    pub fn of_this_boot(cache: &Path) -> Result<Self, VmmError> {
        let boot_id = boot_id()?;
        let Ok(cache) = Directory::create(cache) else { return Ok(Self::measure()) };
        // Two that measure at once would find two values: the second waits for the first.
        let _lock = cache.lock(LOCK);
        let kept = cache.read(FILE, 4096).ok().flatten();
        let kept = kept.and_then(|text| serde_json::from_slice::<Kept>(&text).ok());
        if let Some(kept) = kept.filter(|kept| kept.boot_id == boot_id && kept.clock.tsc_khz > 0) {
            return Ok(kept.clock);
        }
        let clock = Self::measure();
        let text = serde_json::to_vec_pretty(&Kept { boot_id, clock });
        if let Err(error) = cache.write_whole(FILE, &text.expect("text and a number")) {
            tracing::warn!(%error, "the measured clock cannot be kept");
        }
        Ok(clock)
    }
}

/// What tells this boot of the host from every other.
pub fn boot_id() -> Result<String, VmmError> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .map(|text| text.trim().to_owned())
        .map_err(|source| VmmError::BootId { source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_has_one_measurement() {
        let root = tempfile::tempdir().unwrap();
        let cache = root.path().join("cache");
        let clock = HostClock::of_this_boot(&cache).unwrap();
        assert!(clock.tsc_khz > 100_000);
        let path = cache.join(FILE);
        assert_eq!(HostClock::of_this_boot(&cache).unwrap(), clock);

        let kept = std::fs::read_to_string(&path).unwrap();
        let marked = kept.replace(&clock.tsc_khz.to_string(), "7");
        std::fs::write(&path, &marked).unwrap();
        assert_eq!(HostClock::of_this_boot(&cache).unwrap().tsc_khz, 7);
        std::fs::write(&path, marked.replace(&boot_id().unwrap(), "another boot")).unwrap();
        assert_ne!(HostClock::of_this_boot(&cache).unwrap().tsc_khz, 7);
        std::fs::write(&path, "nonsense").unwrap();
        assert_ne!(HostClock::of_this_boot(&cache).unwrap().tsc_khz, 7);
    }

    #[test]
    fn a_cache_that_cannot_be_used_only_costs_time() {
        assert!(HostClock::of_this_boot(Path::new("/dev/null/cache")).unwrap().tsc_khz > 100_000);
    }
}
