//! Kernel, initramfs, environments and disks: what a microVM boots from.
