//! The disks of a workspace that is stopped, read without mounting them and without root: what its
//! guest would see.
//!
//! ```text
//! source      where bytes of a disk come from
//! bytes       numbers in structures that a stranger wrote
//! volume      what is asked of a file system, and the directories that were read last
//! ext4        the workspace disk, with what its journal still holds
//! squashfs    the images
//! overlay     two layers as the kernel merges them
//! view        all of it by path, as the guest resolves one
//! workspace   `/workspace` as a tree and a layer, to find what changed
//! archive     out as tar
//! ```
//!
//! Everything here was written by a guest's root, or may have been: no number in it is believed, nothing
//! is reserved by a claim, every walk has a bound. What makes no sense is [`DiskError::Damaged`]. Refuses to
//! know what a workspace is, and to write.

mod archive;
mod bytes;
mod error;
mod ext4;
mod overlay;
mod source;
mod squashfs;
mod view;
mod volume;
mod workspace;

pub use archive::Archived;
pub use error::DiskError;
pub use pyro_change::{Kind, Meta};
pub use source::Source;
pub use view::{Disks, Found, Part, View};
pub use workspace::{Merged, Upper};
