//! The read-only baseline of `/workspace`. So far only the empty one: every workspace has a seed
//! drive, so that one machine template fits all of them.

use std::{fs, path::PathBuf};

use crate::{Cache, Error, Job, Result, squashfs};

/// Where the empty image stands. The number is raised when it is made otherwise, so that one in an
/// older cache is not used: 2 has file handles, which the overlay of `/workspace` needs for its
/// index.
const EMPTY: &str = "seeds/empty-2";

/// The image of a workspace without a seed: an empty squashfs, made unless it is there.
pub fn empty(cache: &Cache) -> Result<PathBuf> {
    let place = cache.path().join(EMPTY);
    let image = place.join("seed.squashfs");
    if image.exists() {
        return Ok(image);
    }
    let building = cache.start_building()?;
    let made = building.make_content()?;
    squashfs::empty(&Job::silent(), &made.join("seed.squashfs"))?;
    squashfs::seal(&made.join("seed.squashfs"))?;
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
        let mut image = fs::File::open(empty(&cache).unwrap()).unwrap();
        std::io::Read::read_exact(&mut image, &mut start).unwrap();
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
