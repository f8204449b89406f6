//! The contract between host and guest: frames and messages; no I/O.
