//! Read-only images: squashfs made from a tar stream by `mksquashfs`, without root or mounts.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    Error, Job, Result,
    archive::{self, PassError, Survey},
    program::Program,
};

/// The apparent size of every read-only image, so that one machine template fits all of them.
pub const READ_ONLY_IMAGE_BYTES: u64 = 64 << 30;

/// Times in images that would say when something was built say this instead: 2025-01-01.
pub(crate) const EPOCH: u64 = 1_735_689_600;

pub(crate) const MKSQUASHFS: Program = Program { name: "mksquashfs", packages: "squashfs-tools" };

/// How images are compressed: a third smaller than lz4, a twentieth larger than the best level
/// at a fifth of its time.
pub(crate) const COMPRESSION: [&str; 4] = ["-comp", "zstd", "-Xcompression-level", "9"];

/// How seeds are: somebody waits for each of them.
const SEED_COMPRESSION: [&str; 4] = ["-comp", "zstd", "-Xcompression-level", "1"];

/// Whose times the files of an image have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Times {
    /// The archive's; but those after [`EPOCH`] become it, so that one build is like another.
    Clamped,
    /// The archive's. (Those of the root, and of directories without an entry, are those of the import:
    /// mksquashfs 4.5 cannot be told them.)
    Kept,
}

/// Makes an image of a tar. `moved` is told the number of bytes read now and then.
pub(crate) fn from_tar(
    job: &Job,
    source: impl Read,
    image: &Path,
    times: Times,
    moved: &dyn Fn(u64),
) -> Result<Survey> {
    let mut packer = MKSQUASHFS.start(job, |command| configure(command, image, times), |_| ())?;
    let sink = packer.take_stdin();
    match archive::pass(job, source, sink, READ_ONLY_IMAGE_BYTES, EPOCH, moved) {
        Ok(survey) => {
            packer.finish()?;
            Ok(survey)
        }
        Err(PassError::Source(error)) => Err(error),
        Err(PassError::Sink) => {
            packer.finish()?;
            let reason = "it could not be packed".to_owned();
            Err(Error::NotARoot { reason, hint: "make the archive with GNU tar" })
        }
    }
}

/// Makes an image of the tar that `feed` writes. Where `feed` fails, its error counts; where it says
/// that it could not write, the packer's.
pub(crate) fn pack<T>(
    job: &Job,
    image: &Path,
    feed: impl FnOnce(&mut dyn Write) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut packer = MKSQUASHFS.start(
        job,
        |command| {
            configure_form(command, image, SEED_COMPRESSION);
            command.args(["-mkfs-time", &EPOCH.to_string(), "-all-root", "-no-xattrs"]);
        },
        |_| (),
    )?;
    let mut sink = packer.take_stdin();
    let fed = feed(&mut sink)?;
    drop(sink);
    packer.finish()?;
    Ok(fed)
}

/// Makes an image with nothing in it.
pub(crate) fn empty(job: &Job, image: &Path) -> Result<()> {
    let mut packer =
        MKSQUASHFS.start(job, |command| configure(command, image, Times::Clamped), |_| ())?;
    let mut sink = packer.take_stdin();
    // An archive's end mark.
    let _ = Write::write_all(&mut sink, &[0; 10240]);
    drop(sink);
    packer.finish()
}

fn configure(command: &mut Command, image: &Path, times: Times) {
    let epoch = EPOCH.to_string();
    configure_form(command, image, COMPRESSION);
    match times {
        Times::Clamped => command.env("SOURCE_DATE_EPOCH", &epoch),
        Times::Kept => command.args(["-mkfs-time", &epoch]),
    };
}

fn configure_form(command: &mut Command, image: &Path, compression: [&str; 4]) {
    command.arg("-").arg(image).args(["-tar", "-noappend", "-quiet", "-no-progress"]);
    // File handles, which an overlay needs to keep hard links and inode numbers (index=on).
    command.arg("-exports").args(compression);
    command.args(["-root-mode", "755", "-root-uid", "0", "-root-gid", "0"]);
    command.stdin(Stdio::piped());
}

/// Puts an image into its final form on disk; returns the length of its data.
pub(crate) fn seal(image: &Path) -> Result<u64> {
    let write = || {
        let file: File = OpenOptions::new().write(true).open(image)?;
        let length = file.metadata()?.len();
        file.set_len(READ_ONLY_IMAGE_BYTES)?;
        file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o444))?;
        file.sync_all()?;
        Ok(length)
    };
    write().map_err(|source| Error::Write { path: image.to_owned(), source })
}
