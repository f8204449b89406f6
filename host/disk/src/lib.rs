//! The disks of a workspace that is stopped, read without mounting them and without root.
