//! The read-only baseline of `/workspace`. So far only the empty one: every workspace has a seed
//! drive, so that one machine template fits all of them.

use std::{fs, path::PathBuf};

use crate::{Cache, Error, Job, Result, squashfs};

/// The image of a workspace without a seed: an empty squashfs, made unless it is there.
pub fn empty(cache: &Cache) -> Result<PathBuf> {
    let place = cache.path().join("seeds/empty");
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
