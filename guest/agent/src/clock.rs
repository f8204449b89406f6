//! The guest's wall clock, set and corrected from the host's, and its random pool.

use std::{fs::File, io, time::Duration};

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

use crate::sys;

/// A difference over this is stepped, a smaller one slewed.
const STEP: Duration = Duration::from_secs(1);

/// The wall clock, since the Unix epoch.
pub fn now() -> Duration {
    let now = clock_gettime(ClockId::Realtime);
    Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec as u32)
}

/// Time since the kernel's start.
pub fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec as u32)
}

/// Sets the wall clock at once.
pub fn step(wall_clock: Duration) -> io::Result<()> {
    let time = Timespec {
        tv_sec: wall_clock.as_secs() as i64,
        tv_nsec: i64::from(wall_clock.subsec_nanos()),
    };
    Ok(clock_settime(ClockId::Realtime, time)?)
}

/// Brings the wall clock to the host's: at once where it is far off, else little by little.
pub fn correct(wall_clock: Duration) -> io::Result<()> {
    let now = now();
    if wall_clock.abs_diff(now) > STEP {
        return step(wall_clock);
    }
    sys::adjust_clock(wall_clock.as_micros() as i64 - now.as_micros() as i64)
}

/// Mixes the host's random bytes into the pool and takes a new key from it.
pub fn feed_entropy(bytes: &[u8]) -> io::Result<()> {
    let device = File::open("/dev/urandom")?;
    sys::feed_entropy(&device, bytes)?;
    sys::reseed(&device)
}
