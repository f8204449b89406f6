//! What is different between two trees. Only what the layers of either were touched in is looked at; what
//! was not touched costs nothing, however much it is.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::{self, Read},
};

use sha2::{Digest, Sha256};

use crate::{
    tree::{Kind, Layer, Marker, Meta, Tree},
    unified::{Version, git_mode, is_binary, unified},
};

/// The longest text that a patch is made of, bytes.
const LONGEST_TEXT: u64 = 4 << 20;
/// The longest path that is gone into, bytes.
const LONGEST_PATH: usize = 4096;

/// One of the two trees: what is in it, and what was touched since it was the same as the other, where
/// that is known.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// All that is there.
    pub merged: &'a dyn Tree,
    /// None: this is what the other began as.
    pub layer: Option<&'a dyn Layer>,
}

/// What is wanted of a difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Only these and what is in them; none: all.
    pub paths: Vec<Vec<u8>>,
    /// One that went and one that came with the same content are one that was renamed.
    pub renames: bool,
    /// Patches of text.
    pub patches: bool,
    /// A longer patch of one file is left out.
    pub most_patch_bytes: u64,
    /// Of all patches together.
    pub most_patches_bytes: u64,
    /// SHA-256 of regular files, also where they are text.
    pub digests: bool,
    /// The most that is told.
    pub most_entries: u64,
}

/// What became of a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// It has other content, another mode, or leads elsewhere.
    Modified,
    /// It is new.
    Added,
    /// It is gone.
    Deleted,
    /// It is something else than it was.
    TypeChanged,
    /// It had another name.
    Renamed,
}

/// A path that is different.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Relative to the trees' root.
    pub path: Vec<u8>,
    /// What became of it.
    pub status: Status,
    /// As it is.
    pub now: Option<Meta>,
    /// As it was.
    pub was: Option<Meta>,
    /// The path it had, where it was renamed.
    pub old_path: Option<Vec<u8>>,
    /// SHA-256 of its content.
    pub now_digest: Option<[u8; 32]>,
    /// SHA-256 of what was its content.
    pub was_digest: Option<[u8; 32]>,
    /// Its content is, or was, no text.
    pub binary: bool,
    /// The patch from what was to what is.
    pub patch: Option<Vec<u8>>,
    /// There would be one, but for a limit.
    pub patch_left_out: bool,
}

/// How much was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Changes.
    pub entries: u64,
    /// There are more.
    pub truncated: bool,
}

/// Tells what is different: depth first, siblings sorted by their bytes; and after that untouched names of
/// files that changed by another of theirs. Directories are told where they
/// are new and empty, went and were empty, became something else, or have another mode. A change of time
/// alone is none.
pub fn changes(
    now: Side<'_>,
    was: Side<'_>,
    options: &Options,
    tell: &mut dyn FnMut(Change) -> io::Result<()>,
) -> io::Result<Tally> {
    if !options.renames {
        return walk(now, was, options, tell);
    }
    let mut all = Vec::new();
    let exact = Options { digests: true, ..options.clone() };
    let mut keep = |change| {
        all.push(change);
        Ok(())
    };
    let mut tally = walk(now, was, &exact, &mut keep)?;
    let all = renamed(all);
    tally.entries = all.len() as u64;
    for change in all {
        tell(change)?;
    }
    Ok(tally)
}

fn walk(
    now: Side<'_>,
    was: Side<'_>,
    options: &Options,
    tell: &mut dyn FnMut(Change) -> io::Result<()>,
) -> io::Result<Tally> {
    let (tally, shared) = (Tally::default(), Shared::default());
    Walk { now, was, options, patches: 0, tally, tell, shared }.go()
}

/// How a path is gone into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Only names that were touched.
    Touched,
    /// All names.
    Whole,
}

struct Walk<'a> {
    now: Side<'a>,
    was: Side<'a>,
    options: &'a Options,
    /// Bytes of patches so far.
    patches: u64,
    tally: Tally,
    tell: &'a mut dyn FnMut(Change) -> io::Result<()>,
    shared: Shared,
}

/// Files that had several names.
#[derive(Default)]
struct Shared {
    /// Those of which one was looked at.
    inodes: HashSet<u64>,
    /// The names that were.
    seen: HashSet<Vec<u8>>,
}

impl Walk<'_> {
    fn go(mut self) -> io::Result<Tally> {
        // What is still to be looked at; the last comes first.
        let unknown = self.now.layer.is_none() && self.was.layer.is_none();
        let mut rest = vec![(Vec::new(), if unknown { Way::Whole } else { Way::Touched })];
        while let Some((path, way)) = rest.pop() {
            if self.tally.truncated {
                break;
            }
            let inner = self.look(&path, way)?;
            rest.extend(inner.into_iter().rev());
        }
        self.others()?;
        Ok(self.tally)
    }

    /// Looks at the other names of files that may have changed by one. Among paths that are wanted, any
    /// may be such a name: of those that are not nothing was looked at.
    fn others(&mut self) -> io::Result<()> {
        let layers = [self.now.layer, self.was.layer];
        let any_inode = !self.options.paths.is_empty();
        if self.shared.inodes.is_empty() && !any_inode {
            return Ok(());
        }
        let mut may_be = false;
        for layer in layers.into_iter().flatten() {
            may_be |= layer.has_shared()?;
        }
        let mut rest = if may_be { vec![Vec::new()] } else { Vec::new() };
        while let Some(path) = rest.pop() {
            let Some(was) = self.was.merged.meta(&path)?.filter(|_| self.is_wanted(&path)) else {
                continue;
            };
            let is_one = was.kind == Kind::Regular && was.links > 1;
            if was.kind == Kind::Directory {
                let names = self.was.merged.names(&path)?;
                rest.extend(names.iter().rev().filter_map(|name| joined(&path, name)));
            } else if is_one
                && (any_inode || self.shared.inodes.contains(&was.inode))
                && !self.shared.seen.contains(&path)
            {
                self.look(&path, Way::Touched)?;
            }
            if self.tally.truncated {
                break;
            }
        }
        Ok(())
    }

    /// Whether a path may hold something that is wanted.
    fn is_wanted(&self, path: &[u8]) -> bool {
        let within = |path: &[u8], whole: &[u8]| {
            whole.is_empty()
                || path.strip_prefix(whole).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        };
        let paths = &self.options.paths;
        paths.is_empty() || paths.iter().any(|it| within(path, it) || within(it, path))
    }

    /// Whether a path is wanted itself, and not only what is in it.
    fn is_told(&self, path: &[u8]) -> bool {
        let paths = &self.options.paths;
        let within = |whole: &Vec<u8>| {
            path.strip_prefix(&**whole).is_some_and(|rest| matches!(rest, [] | [b'/', ..]))
        };
        paths.is_empty() || paths.iter().any(|it| it.is_empty() || within(it))
    }

    /// Looks at one path; gives those in it that are to be looked at.
    fn look(&mut self, path: &[u8], way: Way) -> io::Result<Vec<(Vec<u8>, Way)>> {
        if !self.is_wanted(path) {
            return Ok(Vec::new());
        }
        let is = self.now.merged.meta(path)?;
        let was = self.was.merged.meta(path)?;
        if let Some(was) = was.as_ref().filter(|was| was.kind == Kind::Regular && was.links > 1) {
            self.shared.inodes.insert(was.inode);
            self.shared.seen.insert(path.to_vec());
        }
        let directory =
            |meta: &Option<Meta>| meta.as_ref().is_some_and(|it| it.kind == Kind::Directory);
        let (is_directory, was_directory) = (directory(&is), directory(&was));
        let inner = match (is_directory, was_directory) {
            (false, false) => Vec::new(),
            (true, true) if way == Way::Touched => self.touched(path)?,
            _ => self.whole(path, is_directory, was_directory)?,
        };
        if !path.is_empty() && self.is_told(path) {
            let empty = |side: bool| side && inner.is_empty();
            match (is, was) {
                (Some(is), None) if !is_directory || empty(is_directory) => {
                    self.told(path, Status::Added, Some(is), None)?;
                }
                (None, Some(was)) if !was_directory || empty(was_directory) => {
                    self.told(path, Status::Deleted, None, Some(was))?;
                }
                (Some(is), Some(was)) if is.kind != was.kind => {
                    self.told(path, Status::TypeChanged, Some(is), Some(was))?;
                }
                (Some(is), Some(was)) if self.differ(path, &is, &was)? => {
                    self.told(path, Status::Modified, Some(is), Some(was))?;
                }
                _ => {}
            }
        }
        Ok(inner)
    }

    /// What was touched in a directory that is on both sides.
    fn touched(&self, path: &[u8]) -> io::Result<Vec<(Vec<u8>, Way)>> {
        let mut names = BTreeMap::new();
        for layer in [self.now.layer, self.was.layer].into_iter().flatten() {
            for (name, marker) in layer.touched(path)? {
                let way = if marker == Marker::Merged { Way::Touched } else { Way::Whole };
                let known = names.entry(name).or_insert(way);
                if way == Way::Whole {
                    *known = Way::Whole;
                }
            }
        }
        Ok(names.into_iter().filter_map(|(name, way)| Some((joined(path, &name)?, way))).collect())
    }

    /// All that is in a directory, on whichever side there is one.
    fn whole(&self, path: &[u8], is: bool, was: bool) -> io::Result<Vec<(Vec<u8>, Way)>> {
        let mut names = if is { self.now.merged.names(path)? } else { Vec::new() };
        if was {
            names.extend(self.was.merged.names(path)?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names.iter().filter_map(|name| Some((joined(path, name)?, Way::Whole))).collect())
    }

    fn differ(&self, path: &[u8], is: &Meta, was: &Meta) -> io::Result<bool> {
        if is.mode != was.mode && is.kind != Kind::Symlink {
            return Ok(true);
        }
        match is.kind {
            Kind::Directory | Kind::Other => Ok(false),
            Kind::Symlink => Ok(is.link_target != was.link_target),
            Kind::Regular if is.size != was.size => Ok(true),
            Kind::Regular => {
                let (now, was) = (self.now.merged.open(path)?, self.was.merged.open(path)?);
                Ok(!same(now, was)?)
            }
        }
    }

    fn told(
        &mut self,
        path: &[u8],
        status: Status,
        now: Option<Meta>,
        was: Option<Meta>,
    ) -> io::Result<()> {
        if self.tally.entries >= self.options.most_entries {
            self.tally.truncated = true;
            return Ok(());
        }
        self.tally.entries += 1;
        let mut change = Change {
            path: path.to_vec(),
            status,
            now,
            was,
            old_path: None,
            now_digest: None,
            was_digest: None,
            binary: false,
            patch: None,
            patch_left_out: false,
        };
        self.content(&mut change)?;
        (self.tell)(change)
    }

    /// Patch and digests.
    fn content(&mut self, change: &mut Change) -> io::Result<()> {
        let is = Content::of(self.now.merged, &change.path, change.now.as_ref())?;
        let was = Content::of(self.was.merged, &change.path, change.was.as_ref())?;
        change.binary = [&is, &was].iter().any(|content| content.is_binary());
        if change.binary || self.options.digests {
            change.now_digest = is.digest(self.now.merged, &change.path)?;
            change.was_digest = was.digest(self.was.merged, &change.path)?;
        }
        if change.binary || !self.options.patches {
            return Ok(());
        }
        if [&is, &was].iter().any(|content| matches!(content, Content::Long { .. })) {
            change.patch_left_out = true;
            return Ok(());
        }
        let patch = unified(&change.path, was.version(), is.version());
        let length = patch.len() as u64;
        if length > self.options.most_patch_bytes
            || self.patches + length > self.options.most_patches_bytes
        {
            change.patch_left_out = true;
        } else if length > 0 {
            self.patches += length;
            change.patch = Some(patch);
        }
        Ok(())
    }
}

/// A path's content, as a patch needs it.
enum Content {
    /// Nothing is there that has any.
    None,
    /// It is short enough.
    Known { mode: u32, content: Vec<u8>, is_file: bool },
    /// It is too long to be looked at whole.
    Long { start: Vec<u8> },
}

impl Content {
    fn of(tree: &dyn Tree, path: &[u8], meta: Option<&Meta>) -> io::Result<Self> {
        let Some(meta) = meta else { return Ok(Self::None) };
        match meta.kind {
            Kind::Directory | Kind::Other => Ok(Self::None),
            Kind::Symlink => Ok(Self::Known {
                mode: git_mode(meta.mode, true),
                content: meta.link_target.clone().unwrap_or_default(),
                is_file: false,
            }),
            Kind::Regular => {
                let mut content = Vec::new();
                let long = meta.size > LONGEST_TEXT;
                let most = if long { 8000 } else { LONGEST_TEXT };
                tree.open(path)?.take(most).read_to_end(&mut content)?;
                if long {
                    return Ok(Self::Long { start: content });
                }
                Ok(Self::Known { mode: git_mode(meta.mode, false), content, is_file: true })
            }
        }
    }

    fn is_binary(&self) -> bool {
        match self {
            Self::None => false,
            Self::Known { content, is_file, .. } => *is_file && is_binary(content),
            Self::Long { start } => is_binary(start),
        }
    }

    fn digest(&self, tree: &dyn Tree, path: &[u8]) -> io::Result<Option<[u8; 32]>> {
        match self {
            Self::None | Self::Known { is_file: false, .. } => Ok(None),
            Self::Known { content, .. } => Ok(Some(Sha256::digest(content).into())),
            Self::Long { .. } => {
                let (mut file, mut hash) = (tree.open(path)?, Sha256::new());
                let mut buffer = vec![0; 64 << 10];
                loop {
                    match file.read(&mut buffer)? {
                        0 => return Ok(Some(hash.finalize().into())),
                        length => hash.update(&buffer[..length]),
                    }
                }
            }
        }
    }

    /// As a patch has it; none where it is not known, or nothing.
    fn version(&self) -> Option<Version<'_>> {
        match self {
            Self::Known { mode, content, .. } => Some(Version { mode: *mode, content }),
            Self::None | Self::Long { .. } => None,
        }
    }
}

fn joined(path: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let joined = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
    (joined.len() <= LONGEST_PATH).then_some(joined)
}

/// Whether two files hold the same.
fn same(mut one: Box<dyn Read + '_>, mut other: Box<dyn Read + '_>) -> io::Result<bool> {
    let (mut a, mut b) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let (x, y) = (fill(&mut one, &mut a)?, fill(&mut other, &mut b)?);
        if a[..x] != b[..y] {
            return Ok(false);
        }
        if x == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < buffer.len() {
        match file.read(&mut buffer[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

/// Joins each file that came with one of the same content that went.
fn renamed(changes: Vec<Change>) -> Vec<Change> {
    let key = |digest: Option<[u8; 32]>, meta: &Option<Meta>| {
        let meta = meta.as_ref()?;
        (meta.kind == Kind::Regular && meta.size > 0).then_some((digest?, meta.size))
    };
    let mut gone: HashMap<_, Vec<usize>> = HashMap::new();
    for (at, change) in changes.iter().enumerate().rev() {
        if change.status == Status::Deleted
            && let Some(key) = key(change.was_digest, &change.was)
        {
            gone.entry(key).or_default().push(at);
        }
    }
    let mut pairs = HashMap::new();
    for (at, change) in changes.iter().enumerate() {
        if change.status == Status::Added
            && let Some(old) =
                key(change.now_digest, &change.now).and_then(|key| gone.get_mut(&key)?.pop())
        {
            pairs.insert(at, old);
        }
    }
    let mut kept = Vec::new();
    let mut olds: HashMap<usize, Change> = HashMap::new();
    let are_old: HashSet<usize> = pairs.values().copied().collect();
    for (at, change) in changes.into_iter().enumerate() {
        if are_old.contains(&at) {
            olds.insert(at, change);
        } else {
            kept.push((at, change));
        }
    }
    let joined = kept.into_iter().map(|(at, mut change)| {
        if let Some(old) = pairs.get(&at).and_then(|old| olds.remove(old)) {
            change.status = Status::Renamed;
            change.patch =
                rename_patch(&old.path, &change.path, old.was.as_ref(), change.now.as_ref());
            change.patch_left_out = false;
            (change.was, change.was_digest) = (old.was, old.was_digest);
            change.old_path = Some(old.path);
        }
        change
    });
    joined.collect()
}

fn rename_patch(from: &[u8], to: &[u8], was: Option<&Meta>, now: Option<&Meta>) -> Option<Vec<u8>> {
    let mode = |meta: Option<&Meta>| meta.map(|meta| git_mode(meta.mode, false));
    Some(crate::unified::renamed(from, to, mode(was)?, mode(now)?))
}
