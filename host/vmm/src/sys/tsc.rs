//! Reading the time stamp counter against the system's clock.

use std::{
    arch::x86_64::_rdtsc,
    time::{Duration, Instant},
};

/// Measures its frequency in kHz over 300 ms, without steering from outside: a steady clock and
/// two reads of the counter, each the tightest of several tries.
pub fn measure_khz() -> u32 {
    let (begin, first) = read_both();
    #[expect(clippy::disallowed_methods, reason = "the time that passes is what is measured")]
    std::thread::sleep(Duration::from_millis(300));
    let (end, last) = read_both();
    let nanoseconds = end.duration_since(begin).as_nanos();
    let khz = u128::from(last.wrapping_sub(first)) * 1_000_000 / nanoseconds.max(1);
    u32::try_from(khz).unwrap_or(u32::MAX)
}

/// The clock and the counter at the same moment, as nearly as 64 tries find it.
fn read_both() -> (Instant, u64) {
    const TRIES: usize = 64;
    let one = || {
        let before = Instant::now();
        // SAFETY: every x86-64 processor has the instruction, and it touches no memory.
        let counter = unsafe { _rdtsc() };
        let width = before.elapsed();
        (width, before + width / 2, counter)
    };
    let (_, moment, counter) =
        (0..TRIES).map(|_| one()).min_by_key(|(width, ..)| *width).expect("there are tries");
    (moment, counter)
}
