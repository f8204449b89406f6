//! The read-only baseline of `/workspace`: an image of the caller's tree, or the empty one. Every
//! workspace has a seed drive, so that one machine template fits all of them.
//!
//! A seed is named by the SHA-256 of its canonical archive: equal trees share one image, wherever they
//! came from. A fingerprint is what a caller knows before it has read a single file; which seed it led
//! to is remembered, so that an unchanged tree is not sent again.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use pyro_archive::Limits;
use rustix::fs::fstatvfs;
use serde::{Deserialize, Serialize};

use crate::{
    Cache, Digest, Error, Job, Result,
    build::now,
    cache::{as_json, write_synced},
    digest::Digesting,
    squashfs,
};

/// The kind of directory that seeds stand in.
pub(crate) const KIND: &str = "seeds";
pub(crate) const IMAGE: &str = "seed.squashfs";
const MANIFEST: &str = "manifest.json";
/// Changed with how an archive becomes an image: one archive made otherwise is another seed.
const FORM: &[u8] = b"seed 1";

/// The most fingerprints that are remembered; the oldest go first.
const MOST_FINGERPRINTS: usize = 1000;

/// What must stay free where the cache is, bytes: disks of workspaces grow there too.
const RESERVE: u64 = 256 << 20;
/// How many bytes are packed between two looks at what is free.
const LOOK_EVERY: u64 = 32 << 20;

/// The most that is taken for one seed. Holes count in no other limit than that of one file.
const LIMITS: Limits = Limits {
    entries: 5_000_000,
    name_bytes: 1 << 30,
    bytes: squashfs::READ_ONLY_IMAGE_BYTES / 2,
    file_bytes: 1 << 40,
};

/// A seed that is in the cache.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seed {
    /// The SHA-256 of its canonical archive.
    pub digest: Digest,
    /// The image.
    pub image: PathBuf,
    /// What is in it.
    pub manifest: SeedManifest,
}

/// What is known of a seed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SeedManifest {
    /// Files, directories and links.
    pub entry_count: u64,
    /// Bytes of their content, without holes.
    pub bytes: u64,
    /// The length of the image's data in bytes.
    pub size_bytes: u64,
    /// When it was made, in seconds since 1970.
    pub created: u64,
}

/// Which seed a fingerprint led to.
#[derive(Serialize, Deserialize)]
struct FingerprintRecord {
    digest: Digest,
}

/// The seed of this digest; `None` where it is not in the cache.
pub fn find(cache: &Cache, digest: &Digest) -> Result<Option<Seed>> {
    let place = cache.place(KIND, digest);
    let manifest = Cache::read_record(&place.join(MANIFEST))?;
    let image = place.join(IMAGE);
    Ok(manifest.map(|manifest| Seed { digest: digest.clone(), image, manifest }))
}

/// The seed that came of this fingerprint before; `None` where it did not, or is gone.
pub fn find_by_fingerprint(cache: &Cache, fingerprint: &Digest) -> Result<Option<Seed>> {
    let path = cache.fingerprints.path().join(record_file(fingerprint));
    match Cache::read_record::<FingerprintRecord>(&path)? {
        Some(record) => find(cache, &record.digest),
        None => Ok(None),
    }
}

/// Makes a seed of a tar stream (not compressed), which is checked, and read to its end mark. Whether
/// it was made now: the same may have been there.
pub fn make(
    cache: &Cache,
    fingerprint: Option<&Digest>,
    mut source: impl Read,
    job: &Job,
) -> Result<(Seed, bool)> {
    let building = cache.start_building()?;
    let content = building.make_content()?;
    let image = content.join(IMAGE);
    let full = |source| Error::Write { path: image.clone(), source };
    let directory = File::open(&content).map_err(full)?;
    let mut digest = None;
    let tally = squashfs::pack(job, &image, |packer| {
        let mut sink = Watched { packer, directory: &directory, until_look: 0, failed: None };
        let mut sink_digesting = Digesting::new(&mut sink);
        let rewritten = pyro_archive::rewrite(&mut source, &mut sink_digesting, &LIMITS);
        digest = Some(sink_digesting.into_digest());
        match (sink.failed, rewritten) {
            (Some(error), _) => Err(full(error)),
            // What the packer says about it is more than that its pipe broke.
            (None, Err(pyro_archive::Error::Sink { .. })) => Ok(None),
            (None, Err(source)) => Err(Error::Seed { source }),
            (None, Ok(tally)) => Ok(Some(tally)),
        }
    })?;
    let (Some(tally), Some(archive)) = (tally, digest) else {
        let source = io::ErrorKind::BrokenPipe.into();
        return Err(full(source));
    };
    let digest = Digest::of_parts(&[FORM, archive.as_str().as_bytes()]);
    let is_new = find(cache, &digest)?.is_none();
    if is_new {
        let size_bytes = squashfs::seal(&image)?;
        let manifest = SeedManifest {
            entry_count: tally.entries,
            bytes: tally.bytes,
            size_bytes,
            created: now(),
        };
        write_synced(&content.join(MANIFEST), &as_json(&manifest))?;
        cache.publish(&building, KIND, &digest)?;
    }
    if let Some(fingerprint) = fingerprint {
        remember(cache, fingerprint, &digest)?;
    }
    let place = cache.place(KIND, &digest);
    match find(cache, &digest)? {
        Some(seed) => Ok((seed, is_new)),
        None => Err(Error::Read { path: place, source: io::ErrorKind::NotFound.into() }),
    }
}

/// The bytes that seeds take on disk.
pub fn occupied_bytes(cache: &Cache) -> u64 {
    crate::prune::allocated(&cache.path().join(KIND))
}

fn record_file(fingerprint: &Digest) -> String {
    format!("{fingerprint}.json")
}

fn remember(cache: &Cache, fingerprint: &Digest, digest: &Digest) -> Result<()> {
    let record = FingerprintRecord { digest: digest.clone() };
    cache
        .fingerprints
        .write_whole(&record_file(fingerprint), &as_json(&record))
        .map_err(|source| cache.unusable(source))?;
    forget_oldest(cache.fingerprints.path());
    Ok(())
}

/// What cannot be forgotten is a small file too many, and nothing worse.
fn forget_oldest(directory: &Path) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    let age = |entry: fs::DirEntry| {
        let written = entry.metadata().and_then(|metadata| metadata.modified());
        (written.unwrap_or(SystemTime::UNIX_EPOCH), entry.path())
    };
    let mut records: Vec<_> = entries.flatten().map(age).collect();
    let surplus = records.len().saturating_sub(MOST_FINGERPRINTS);
    if surplus > 0 {
        records.sort_unstable();
        for (_, path) in &records[..surplus] {
            let _ = fs::remove_file(path);
        }
    }
}

/// Passes on to the packer for as long as the disk has room.
struct Watched<'a> {
    packer: &'a mut dyn Write,
    directory: &'a File,
    until_look: u64,
    failed: Option<io::Error>,
}

impl Write for Watched<'_> {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.until_look == 0 {
            let there = fstatvfs(self.directory)?;
            if there.f_bavail.saturating_mul(there.f_frsize) < RESERVE {
                let full = rustix::io::Errno::NOSPC;
                self.failed = Some(full.into());
                return Err(full.into());
            }
            self.until_look = LOOK_EVERY;
        }
        let length = self.packer.write(piece)?;
        self.until_look = self.until_look.saturating_sub(length as u64);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.packer.flush()
    }
}

/// Where the empty image stands. The number is raised when it is made otherwise, so that one in an
/// older cache is not used: 2 has file handles, which the overlay of `/workspace` needs for its
/// index.
const EMPTY: &str = "seeds/empty-2";

/// The image of a workspace without a seed: an empty squashfs, made unless it is there.
pub fn empty(cache: &Cache) -> Result<PathBuf> {
    let place = cache.path().join(EMPTY);
    let image = place.join(IMAGE);
    if image.exists() {
        return Ok(image);
    }
    let building = cache.start_building()?;
    let made = building.make_content()?;
    squashfs::empty(&Job::silent(), &made.join(IMAGE))?;
    squashfs::seal(&made.join(IMAGE))?;
    match fs::rename(&made, &place) {
        // Another process was faster.
        Err(_) if image.exists() => Ok(image),
        Err(source) => Err(Error::Write { path: place, source }),
        Ok(()) => Ok(image),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_overlay_can_index_the_empty_seed_whatever_an_older_cache_holds() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path()).unwrap();
        let older = home.path().join("seeds/empty");
        fs::create_dir(&older).unwrap();
        fs::write(older.join("seed.squashfs"), "made without file handles").unwrap();
        let mut start = [0; 26];
        let mut image = File::open(empty(&cache).unwrap()).unwrap();
        image.read_exact(&mut start).unwrap();
        // The superblock's flags, and in them "exportable":
        // https://dr-emann.github.io/squashfs/squashfs.html#_the_superblock
        let flags = u16::from_le_bytes([start[24], start[25]]);
        assert_eq!((&start[..4], flags & 0x0080), (&b"hsqs"[..], 0x0080));
    }

    #[test]
    fn the_empty_seed_is_one_small_image_of_the_fixed_size() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path()).unwrap();
        let image = empty(&cache).unwrap();
        assert_eq!(empty(&cache).unwrap(), image);
        let metadata = fs::metadata(&image).unwrap();
        assert_eq!(metadata.len(), crate::READ_ONLY_IMAGE_BYTES);
        assert!(std::os::unix::fs::MetadataExt::blocks(&metadata) <= 16);
        assert!(fs::read_dir(home.path().join("building")).unwrap().count() == 1);
    }
}
