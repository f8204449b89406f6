//! What one member of an archive is, apart from its bytes.

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link; its target is the guest's own business.
    Symlink,
    /// Another name of a regular file that came before.
    HardLink,
    /// A named pipe.
    Fifo,
    /// A socket or a device: never in an archive of ours.
    Other,
}

/// When content changed last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Mtime {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// A part of a sparse file that is stored; what lies between is a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// Stores the last bytes of a file that ends in a hole within a block, and tells how many zeros that takes:
/// mksquashfs 4.5 takes such a file for a truncated archive.
pub(crate) fn close(segments: &mut Vec<Segment>, size: u64) -> u64 {
    let end = segments.last().map_or(0, |last| last.offset + last.length);
    let offset = (size - size % 4096).max(end);
    if offset == size {
        return 0;
    }
    segments.push(Segment { offset, length: size - offset });
    size - offset
}

/// The most segments of one sparse file that are read or written.
pub(crate) const MAX_SEGMENTS: usize = 1 << 18;

/// One member.
#[derive(Debug)]
pub(crate) struct Member {
    /// As it stands in the archive.
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    /// Target of a symbolic or hard link.
    pub(crate) link: Vec<u8>,
    /// Permission bits with setuid, setgid and sticky: at most 0o7777.
    pub(crate) mode: u32,
    pub(crate) mtime: Mtime,
    /// Size of the file with its holes.
    pub(crate) size: u64,
    /// Bytes of content that follow.
    pub(crate) stored: u64,
    /// Where they belong, ascending; none for a file without holes.
    pub(crate) segments: Option<Vec<Segment>>,
}
