//! A private directory: sockets by any path length, whole-file writes, locks.
