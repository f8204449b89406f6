//! Backends that turn a machine description into a running VMM: Firecracker and QEMU.
