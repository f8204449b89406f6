//! The kernel's random pool (random(4)).

use std::{fs::File, io, os::fd::AsRawFd};

const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;

/// The longest piece that is fed.
pub const MAX_ENTROPY: usize = 512;

#[repr(C)]
struct RandPoolInfo {
    entropy_count: libc::c_int,
    buf_size: libc::c_int,
    buf: [u8; MAX_ENTROPY],
}

/// Mixes the bytes into the pool and counts them as random. Bytes over 512 are left out.
pub fn feed_entropy(device: &File, bytes: &[u8]) -> io::Result<()> {
    let length = bytes.len().min(MAX_ENTROPY);
    let mut info = RandPoolInfo {
        entropy_count: length as i32 * 8,
        buf_size: length as i32,
        buf: [0; MAX_ENTROPY],
    };
    info.buf[..length].copy_from_slice(&bytes[..length]);
    // SAFETY: the structure is the kernel's rand_pool_info with room for `buf_size` bytes, and
    // lives across the call, which only reads it.
    let result =
        unsafe { libc::ioctl(device.as_raw_fd(), RNDADDENTROPY, std::ptr::from_ref(&info)) };
    super::check(libc::c_long::from(result)).map(drop)
}

/// Makes the generator take its key from the pool at once.
pub fn reseed(device: &File) -> io::Result<()> {
    // SAFETY: this request takes no argument.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG) };
    super::check(libc::c_long::from(result)).map(drop)
}
