//! The frequency of the host's time-stamp counter, which the VM's kernel cannot measure itself
//! under emulation and without which its boot can hang.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{cache::Cache, sys};

/// Shorter measurements were off by more than 100 parts in a million.
const INTERVAL: Duration = Duration::from_millis(250);

/// The frequency in kHz: measured once per boot of the host.
pub fn cached_khz(cache: &Cache) -> Result<u64> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").context("read the boot id")?;
    let path = cache.path().join("tsc");
    if let Ok(text) = fs::read_to_string(&path)
        && let Some((measured_boot, khz)) = text.split_once(' ')
        && measured_boot == boot.trim()
        && let Ok(khz) = khz.trim().parse()
    {
        return Ok(khz);
    }
    let khz = measure();
    let mut file = tempfile::NamedTempFile::new_in(cache.path())?;
    std::io::Write::write_all(&mut file, format!("{} {khz}\n", boot.trim()).as_bytes())?;
    file.persist(&path).with_context(|| format!("write {}", path.display()))?;
    Ok(khz)
}

fn measure() -> u64 {
    let (start, first) = (Instant::now(), sys::time_stamp_counter());
    #[allow(clippy::disallowed_methods, reason = "the time that passes is what is measured")]
    std::thread::sleep(INTERVAL);
    let (elapsed, last) = (start.elapsed(), sys::time_stamp_counter());
    let ticks = u128::from(last.wrapping_sub(first));
    (ticks * 1_000_000 / elapsed.as_nanos()) as u64
}
