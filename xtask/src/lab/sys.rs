//! The one place of this program with unsafe code: reading the processor's time-stamp counter.
#![allow(unsafe_code)]

/// The time-stamp counter's value.
pub fn time_stamp_counter() -> u64 {
    // SAFETY: RDTSC only reads a counter, and every x86-64 processor has it.
    unsafe { core::arch::x86_64::_rdtsc() }
}
