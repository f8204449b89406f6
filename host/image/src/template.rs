//! Saved machines that others are started from. They are made again when they are needed, so that
//! any may go at any time: a few are kept, those that were used last.
//!
//! Refuses to know what a template's files mean: a backend makes and reads them.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use pyro_directory::Lock;
use serde::{Deserialize, Serialize};

use crate::{
    Cache, Digest, Error, Result,
    cache::{Building, as_json, write_synced},
};

pub(crate) const KIND: &str = "templates";
const MANIFEST: &str = "manifest.json";
/// How many are kept.
const MOST: usize = 4;
/// What they may take on disk together, in bytes; the newest stays in any case.
const MOST_BYTES: u64 = 2 << 30;
/// One is made at a time, by whatever process: making one takes a processor.
const LOCK: &str = "template.lock";

/// What a template's files were when it was made. One that differs is damaged.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
struct Manifest {
    files: Vec<Entry>,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Entry {
    name: String,
    bytes: u64,
    modified: i64,
    modified_nanos: i64,
}

impl Manifest {
    fn of(directory: &Path) -> std::io::Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let (name, metadata) = (entry.file_name(), entry.metadata()?);
            if name != MANIFEST && metadata.is_file() {
                files.push(Entry {
                    name: name.to_string_lossy().into_owned(),
                    bytes: metadata.len(),
                    modified: metadata.mtime(),
                    modified_nanos: metadata.mtime_nsec(),
                });
            }
        }
        files.sort();
        Ok(Self { files })
    }
}

/// The name of the template for machines of this shape.
pub fn key(shape: &str) -> Digest {
    Digest::of_parts(&[b"template", shape.as_bytes()])
}

/// The directory of a template, if it is there as it was made. One that is damaged is removed.
pub fn find(cache: &Cache, key: &Digest) -> Result<Option<PathBuf>> {
    let place = cache.place(KIND, key);
    if !place.exists() {
        return Ok(None);
    }
    let made = Cache::read_record::<Manifest>(&place.join(MANIFEST));
    let found = Manifest::of(&place);
    match (made, found) {
        (Ok(Some(made)), Ok(found)) if made == found => {
            // When it was used last.
            let used = File::open(place.join(MANIFEST));
            let _ = used.and_then(|manifest| manifest.set_modified(SystemTime::now()));
            Ok(Some(place))
        }
        _ => remove(cache, key).map(|()| None),
    }
}

/// Removes a template. Machines that were started from it go on.
pub fn remove(cache: &Cache, key: &Digest) -> Result<()> {
    let place = cache.place(KIND, key);
    let building = cache.start_building()?;
    match fs::rename(&place, building.content()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Remove { path: place, source: error })
        }
        _ => Ok(()),
    }
}

/// Begins to make a template; none where it is there already, or where somebody makes one now.
pub fn begin(cache: &Cache, key: &Digest) -> Result<Option<Draft>> {
    let Some(lock) = cache.try_lock(LOCK)? else { return Ok(None) };
    if cache.place(KIND, key).exists() {
        return Ok(None);
    }
    let building = cache.start_building()?;
    let content = building.make_content()?;
    let scratch = building.make_scratch()?;
    Ok(Some(Draft { building, content, scratch, key: key.clone(), _lock: lock }))
}

/// A template that is being made. Dropped, it leaves nothing; what a maker that was killed leaves
/// is removed when the cache is next opened.
pub struct Draft {
    building: Building,
    content: PathBuf,
    scratch: PathBuf,
    key: Digest,
    _lock: Lock,
}

impl Draft {
    /// Where the template's files are put.
    pub fn content(&self) -> &Path {
        &self.content
    }

    /// A directory for whatever making them needs.
    pub fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// Puts it in its place, and removes those that are too many.
    pub fn publish(self, cache: &Cache) -> Result<()> {
        let content = &self.content;
        let synced = || {
            for entry in fs::read_dir(content)? {
                let entry = entry?;
                if entry.metadata()?.is_file() {
                    File::open(entry.path())?.sync_all()?;
                }
            }
            Manifest::of(content)
        };
        let manifest = synced().map_err(|source| Error::Write { path: content.clone(), source })?;
        write_synced(&content.join(MANIFEST), &as_json(&manifest))?;
        cache.publish(&self.building, KIND, &self.key)?;
        bound(cache, MOST, MOST_BYTES)
    }
}

/// Removes the templates that were used longest ago, beyond so many or so many bytes.
fn bound(cache: &Cache, most: usize, most_bytes: u64) -> Result<()> {
    let directory = cache.path().join(KIND);
    let unreadable = |source| Error::Read { path: directory.clone(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(&directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        // What is not ours is left alone.
        let Some(key) = name.and_then(|name| name.parse::<Digest>().ok()) else { continue };
        let used = fs::metadata(path.join(MANIFEST)).and_then(|manifest| manifest.modified());
        found.push((used.unwrap_or(SystemTime::UNIX_EPOCH), crate::prune::allocated(&path), key));
    }
    found.sort_by_key(|(used, ..)| std::cmp::Reverse(*used));
    let mut bytes = 0;
    for (number, (_, taken, key)) in found.into_iter().enumerate() {
        bytes += taken;
        if number >= most || number > 0 && bytes > most_bytes {
            remove(cache, &key)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make(cache: &Cache, shape: &str) -> Digest {
        let key = key(shape);
        let draft = begin(cache, &key).unwrap().unwrap();
        fs::write(draft.content().join("memory"), shape).unwrap();
        draft.publish(cache).unwrap();
        key
    }

    #[test]
    fn a_template_is_found_whole_or_not_at_all() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path()).unwrap();
        let wanted = key("one");
        assert_eq!(find(&cache, &wanted).unwrap(), None);
        let draft = begin(&cache, &wanted).unwrap().unwrap();
        assert!(begin(&cache, &key("two")).unwrap().is_none(), "one is made at a time");
        fs::write(draft.content().join("memory"), "half").unwrap();
        drop(draft);
        assert_eq!(fs::read_dir(home.path().join(KIND)).unwrap().count(), 0);

        let place = home.path().join(KIND).join(make(&cache, "one").as_str());
        assert_eq!(find(&cache, &wanted).unwrap(), Some(place.clone()));
        assert!(begin(&cache, &wanted).unwrap().is_none(), "it is there");
        fs::write(place.join("memory"), "damaged").unwrap();
        assert_eq!(find(&cache, &wanted).unwrap(), None);
        assert!(!place.exists(), "a damaged one goes");
    }

    #[test]
    fn those_that_were_used_last_stay() {
        let home = tempfile::tempdir().unwrap();
        let cache = Cache::open(home.path()).unwrap();
        let keys: Vec<_> = (0..MOST).map(|number| make(&cache, &number.to_string())).collect();
        assert!(find(&cache, &keys[0]).unwrap().is_some());
        make(&cache, "one more");
        assert!(find(&cache, &keys[1]).unwrap().is_none(), "it was used longest ago");
        assert!(find(&cache, &keys[0]).unwrap().is_some());
        bound(&cache, MOST, 1).unwrap();
        assert!(find(&cache, &keys[0]).unwrap().is_some());
        assert!(find(&cache, &keys[2]).unwrap().is_none());
    }
}
