//! All of a workspace by path, as its guest resolves one.

use std::{fmt, sync::Arc};

use pyro_change::{Kind, Meta};

use crate::{
    DiskError, Source,
    ext4::Ext4,
    overlay::{Overlay, Place, Top},
    squashfs::Squashfs,
    volume::Volume,
};

/// Where the seed and what was made of it is.
pub(crate) const WORKSPACE: &[u8] = b"/workspace";
/// Directories of the workspace disk that lie in the guest as they are.
const BARE: [(&[u8], &str); 2] =
    [(b"/var/lib/docker", "docker"), (b"/var/lib/containers", "containers")];

/// As in Linux.
const MOST_SYMLINKS: usize = 40;
const LONGEST_PATH: usize = 4096;
/// Paths and targets of one list, bytes.
const MOST_TEXT: usize = 64 << 20;

/// The disks of one workspace.
#[derive(Clone)]
pub struct Disks {
    /// The image of its environment.
    pub root_image: Arc<dyn Source>,
    /// That of its seed; one of zeros is as none.
    pub seed_image: Option<Arc<dyn Source>>,
    /// What its guest wrote.
    pub workspace_disk: Arc<dyn Source>,
}

impl fmt::Debug for Disks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Disks").finish_non_exhaustive()
    }
}

/// What is at a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Absolute, as it was asked for or found.
    pub path: Vec<u8>,
    /// What it is.
    pub meta: Meta,
}

/// A part of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// The file.
    pub found: Found,
    /// Of the first byte.
    pub offset: u64,
    /// The bytes.
    pub content: Vec<u8>,
}

/// What a guest would see.
#[derive(Debug)]
pub struct View {
    root: Overlay,
    pub(crate) workspace: Overlay,
    /// The lower layer of that alone.
    pub(crate) baseline: Overlay,
    bare: Vec<(&'static [u8], Overlay)>,
}

/// Is told of a place and its path; whether to go on.
type Visitor<'v, 'a> = dyn FnMut(&Spot<'a>, &[u8]) -> Result<bool, DiskError> + 'v;

/// A place with the overlay it is of, and its path without symlinks.
#[derive(Clone, Debug)]
pub(crate) struct Spot<'a> {
    pub(crate) overlay: &'a Overlay,
    pub(crate) place: Place,
    path: Vec<u8>,
}

impl Spot<'_> {
    fn found(&self, path: Vec<u8>) -> Found {
        Found { path, meta: self.place.node().meta.clone() }
    }
}

fn text(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

/// A directory of a volume; none where there is none.
fn directory(volume: &Arc<Volume>, path: &[&str]) -> Result<Option<Top>, DiskError> {
    let mut root = volume.root()?;
    for name in path {
        match volume.find(&root, name.as_bytes())? {
            Some(node) if node.is_directory() => root = node,
            _ => return Ok(None),
        }
    }
    Ok(Some(Top { volume: volume.clone(), root }))
}

impl View {
    /// Opens the disks, of which little is read now.
    pub fn open(disks: Disks) -> Result<Self, DiskError> {
        let image = |source, what| {
            let image = Squashfs::open(source, what)?.map(|image| Arc::new(Volume::new(image)));
            image.map(|image| directory(&image, &[])).transpose().map(Option::flatten)
        };
        let disk = Arc::new(Volume::new(Ext4::open(disks.workspace_disk)?));
        let root_lower = image(disks.root_image, "root image")?;
        let seed = match disks.seed_image {
            Some(source) => image(source, "seed image")?,
            None => None,
        };
        let overlay = |name, lower| {
            let overlay = Overlay::new(directory(&disk, &[name, "upper"])?, lower);
            Ok::<_, DiskError>(overlay.with_index(directory(&disk, &[name, "work", "index"])?))
        };
        let bare = |name| Ok::<_, DiskError>(Overlay::new(directory(&disk, &[name])?, None));
        Ok(Self {
            baseline: Overlay::new(None, seed.clone()),
            root: overlay("root", root_lower)?,
            workspace: overlay("workspace", seed)?,
            bare: BARE
                .into_iter()
                .map(|(path, name)| Ok((path, bare(name)?)))
                .collect::<Result<_, DiskError>>()?,
        })
    }

    /// What is mounted at a path.
    fn mounted(&self, path: &[u8]) -> Option<&Overlay> {
        if path == WORKSPACE {
            return Some(&self.workspace);
        }
        self.bare.iter().find(|(at, _)| *at == path).map(|(_, overlay)| overlay)
    }

    fn child<'a>(&'a self, parent: &Spot<'a>, name: &[u8]) -> Result<Option<Spot<'a>>, DiskError> {
        let mut path = parent.path.clone();
        if path != b"/" {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        if let Some(overlay) = self.mounted(&path)
            && let Some(place) = overlay.root()
        {
            return Ok(Some(Spot { overlay, place, path }));
        }
        let place = parent.overlay.child(&parent.place, name)?;
        Ok(place.map(|place| Spot { overlay: parent.overlay, place, path }))
    }

    /// What a path leads to, through symlinks; the last of them is followed if that is wanted.
    pub(crate) fn resolve(&self, path: &[u8], follow: bool) -> Result<Spot<'_>, DiskError> {
        let missing = || DiskError::NotFound(text(path));
        let place = self.root.root().ok_or_else(missing)?;
        let root = Spot { overlay: &self.root, place, path: b"/".to_vec() };
        let mut way = vec![root];
        let mut left = names_of(path);
        let must_be_directory = path.ends_with(b"/") || path.ends_with(b"/.");
        let mut symlinks = 0;
        while let Some(name) = left.pop() {
            let Some(here) = way.last() else { return Err(missing()) };
            if !here.place.is_directory() {
                return Err(DiskError::NotDirectory(text(path)));
            }
            if name == b".." {
                if way.len() > 1 {
                    way.pop();
                }
                continue;
            }
            let next = self.child(here, &name)?.ok_or_else(missing)?;
            let target = &next.place.node().meta.link_target;
            match target {
                Some(target) if follow || must_be_directory || !left.is_empty() => {
                    symlinks += 1;
                    let behind: usize = left.iter().map(|name| name.len() + 1).sum();
                    if symlinks > MOST_SYMLINKS || behind + target.len() > 2 * LONGEST_PATH {
                        return Err(DiskError::Loop(text(path)));
                    }
                    if target.first() == Some(&b'/') {
                        way.truncate(1);
                    }
                    left.extend(names_of(target));
                }
                _ => way.push(next),
            }
        }
        let spot = way.pop().ok_or_else(missing)?;
        if must_be_directory && !spot.place.is_directory() {
            return Err(DiskError::NotDirectory(text(path)));
        }
        Ok(spot)
    }

    /// What is at a path; with `follow`, what a symlink there leads to.
    pub fn stat(&self, path: &[u8], follow: bool) -> Result<Found, DiskError> {
        Ok(self.resolve(path, follow)?.found(path.to_vec()))
    }

    /// Up to `most` of what is in a directory, depth first, siblings sorted by their bytes; whether there is
    /// more. A path that is none lists itself. Symlinks are not gone into.
    pub fn list(
        &self,
        path: &[u8],
        recursive: bool,
        most: u64,
    ) -> Result<(Vec<Found>, bool), DiskError> {
        let top = self.resolve(path, true)?;
        if !top.place.is_directory() {
            return Ok((vec![top.found(path.to_vec())], false));
        }
        let mut found = Vec::new();
        let mut text = 0;
        let is_whole = self.walk(&top, path, recursive, &mut |spot, path| {
            let target = spot.place.node().meta.link_target.as_ref().map_or(0, Vec::len);
            text += path.len() + target;
            if found.len() as u64 >= most || text > MOST_TEXT {
                return Ok(false);
            }
            found.push(spot.found(path.to_vec()));
            Ok(true)
        })?;
        Ok((found, !is_whole))
    }

    /// Visits all in a directory until the visitor says false; whether it never did.
    pub(crate) fn walk<'a>(
        &'a self,
        top: &Spot<'a>,
        path: &[u8],
        recursive: bool,
        visit: &mut Visitor<'_, 'a>,
    ) -> Result<bool, DiskError> {
        struct Level<'a> {
            spot: Spot<'a>,
            path: Vec<u8>,
            names: std::vec::IntoIter<Box<[u8]>>,
        }
        let level = |spot: Spot<'a>, path: Vec<u8>| {
            let names = spot.overlay.names(&spot.place)?.into_iter();
            Ok::<_, DiskError>(Level { spot, path, names })
        };
        let mut levels = vec![level(top.clone(), path.to_vec())?];
        while let Some(here) = levels.last_mut() {
            let Some(name) = here.names.next() else {
                levels.pop();
                continue;
            };
            let mut path = here.path.clone();
            if !path.ends_with(b"/") {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            let spot = self.child(&here.spot.clone(), &name)?;
            let Some(spot) = spot else { continue };
            if !visit(&spot, &path)? {
                return Ok(false);
            }
            // A longer path is none that a guest could name at once.
            if recursive && spot.place.is_directory() && path.len() < LONGEST_PATH {
                let same = |level: &Level<'_>| {
                    std::ptr::eq(level.spot.overlay, spot.overlay)
                        && level.spot.place.identity() == spot.place.identity()
                };
                if levels.iter().any(same) {
                    let detail = "a directory lies in itself";
                    return Err(DiskError::Damaged { what: "workspace disk", detail });
                }
                levels.push(level(spot, path)?);
            }
        }
        Ok(true)
    }

    /// Up to `most` bytes of a regular file, from there. A symlink is followed.
    pub fn read(&self, path: &[u8], offset: u64, most: usize) -> Result<Part, DiskError> {
        let spot = self.resolve(path, true)?;
        let node = spot.place.node();
        match node.meta.kind {
            Kind::Regular => {}
            Kind::Directory => return Err(DiskError::IsDirectory(text(path))),
            _ => return Err(DiskError::NotRegular(text(path))),
        }
        let left = usize::try_from(node.meta.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut content = vec![0; left.min(most)];
        let length = spot.overlay.read(&spot.place, offset, &mut content)?;
        content.truncate(length);
        Ok(Part { found: spot.found(path.to_vec()), offset, content })
    }
}

/// The names of a path, the last of them first.
fn names_of(path: &[u8]) -> Vec<Vec<u8>> {
    let names = path.split(|byte| *byte == b'/').rev();
    names.filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec).collect()
}
