//! Kernel, initramfs, environments and disks: what a microVM boots from.
//!
//! Owns the image cache and whatever is put into it: how a kernel is fetched and taken apart, how
//! an environment is built from Debian packages or read from a tar, how disks are formatted.
//! Refuses to know: workspaces (they name digests; see [`Cache::prune`]), how a machine is
//! started, terminals and environment variables. Every function blocks; progress and cancellation
//! go through a [`Job`].
//!
//! # The cache
//!
//! | Path | Holds |
//! |---|---|
//! | `environments/DIGEST/root.squashfs` | a root file system, named by the SHA-256 of its data, sparse up to [`READ_ONLY_IMAGE_BYTES`] |
//! | `environments/DIGEST/manifest.json` | what is in it |
//! | `names/NAME.json` | which digest an environment's name means now |
//! | `kernels/DIGEST/` | `vmlinux`, `modules/NN-NAME.ko` in loading order, `manifest.json` |
//! | `kernel.json` | which kernel is used now |
//! | `boot/DIGEST/initramfs.cpio` | the agent and a kernel's modules |
//! | `disks/DIGEST/disk.ext4` | empty disks to copy from |
//! | `seeds/DIGEST/` | `seed.squashfs`, what a workspace begins with, named by the digest of its canonical archive; `manifest.json` |
//! | `fingerprints/` | which seed came of which fingerprint, the newest thousand |
//! | `seeds/empty-2/seed.squashfs` | the seed of a workspace that has none |
//! | `templates/DIGEST/` | a saved machine that others are started from, named by the digest of its shape |
//! | `building/` | what is being made; each entry is locked by its maker for as long as it lives |
//! | `locks/` | one build of a name at a time |
//!
//! A digest's directory appears whole, by a rename, and is never changed afterwards: who holds a
//! path below it holds what it was.

mod archive;
mod bootstrap;
mod build;
mod bzimage;
mod cache;
mod catalogue;
mod cpio;
mod digest;
pub mod disk;
pub mod environment;
mod error;
mod import;
pub mod initramfs;
mod job;
pub mod kernel;
mod modinfo;
mod module;
mod program;
mod prune;
pub mod seed;
mod squashfs;
pub mod template;

pub use cache::Cache;
pub use catalogue::{CATALOGUE_VERSION, Recipe, catalogue};
pub use digest::{Digest, InvalidDigest};
pub use environment::{
    Built, EnvironmentManifest, EnvironmentSource, EnvironmentSummary, InstalledEnvironment,
    Package,
};
pub use error::{Error, Result};
pub use job::{Job, Progress};
pub use kernel::{Kernel, KernelManifest};
pub use prune::{InUse, Pruned};
pub use seed::{Seed, SeedManifest};
pub use squashfs::READ_ONLY_IMAGE_BYTES;
