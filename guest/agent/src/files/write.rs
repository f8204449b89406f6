//! Regular files, written whole or not at all.

use std::{
    fs::File,
    io::{self, Read, Write},
};

use pyro_wire::{EditFile, FileEntry, WriteFile, file_outcome, reply::Result as Answer};
use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchmod, fchown, openat,
        renameat_with, unlinkat,
    },
    rand::GetRandomFlags,
};

use super::{
    conversation::{Ending, Input, Output},
    drafts::Drafting,
    list::entry_at,
    root::{Root, Spot, refused},
};
use crate::refusal::{FileProblem, Refusal, shown};

/// The longest file whose text is replaced, bytes.
const LONGEST_EDIT: u64 = 32 << 20;
/// Of a new file.
const USUAL_MODE: u32 = 0o644;

/// Takes a file's content from the host.
pub(super) fn write(
    root: &Root,
    call: &WriteFile,
    output: &Output,
    input: &mut Input,
) -> Result<Ending, Refusal> {
    let refused = refused(&call.path);
    root.make_parents(&call.path)?;
    let spot = root.target(&call.path).map_err(&refused)?;
    let there = spot.found().map_err(&refused)?;
    if call.create_only && there.is_some() {
        return Err(Refusal::File { path: shown(&call.path), problem: FileProblem::Exists });
    }
    let mut draft = Draft::new(spot, there.as_ref(), call.mode)
        .map_err(|problem| Refusal::File { path: shown(&call.path), problem })?;
    output.go_on()?;
    io::copy(input, &mut draft.file).map_err(&refused)?;
    draft.publish(!call.create_only).map_err(&refused)?;
    let written = entry_at(root, &call.path, true).map_err(&refused)?;
    Ok(Ending::outcome(file_outcome::Result::Written(written)))
}

/// Replaces text in a file.
pub(super) fn edit(root: &Root, call: &EditFile) -> Result<Ending, Refusal> {
    let refused = refused(&call.path);
    let told = |problem| Refusal::File { path: shown(&call.path), problem };
    let file = root.open_regular(&call.path).map_err(told)?;
    let mut content = Vec::new();
    file.take(LONGEST_EDIT + 1).read_to_end(&mut content).map_err(&refused)?;
    if content.len() as u64 > LONGEST_EDIT {
        return Err(told(FileProblem::TooLarge(LONGEST_EDIT)));
    }
    let (edited, places) = replaced(&content, call).map_err(told)?;
    let spot = root.target(&call.path).map_err(&refused)?;
    let there = spot.found().map_err(&refused)?;
    let mut draft = Draft::new(spot, there.as_ref(), None).map_err(told)?;
    draft.file.write_all(&edited).map_err(&refused)?;
    draft.publish(true).map_err(&refused)?;
    let written = entry_at(root, &call.path, true).map_err(&refused)?;
    Ok(Ending::answer(Answer::FileEntry(FileEntry { replaced: places as u64, ..written })))
}

fn replaced(content: &[u8], call: &EditFile) -> Result<(Vec<u8>, usize), FileProblem> {
    if call.old.is_empty() {
        return Err(FileProblem::TextNotFound);
    }
    let places: Vec<usize> = memchr::memmem::find_iter(content, &call.old).collect();
    match places.len() {
        0 => return Err(FileProblem::TextNotFound),
        1 => {}
        count if !call.replace_all => return Err(FileProblem::TextAmbiguous(count)),
        _ => {}
    }
    let grown = places.len() as u64 * call.new.len() as u64;
    if content.len() as u64 + grown > 2 * LONGEST_EDIT {
        return Err(FileProblem::TooLarge(2 * LONGEST_EDIT));
    }
    let mut edited = Vec::with_capacity(content.len());
    let mut rest = 0;
    for &place in &places {
        edited.extend_from_slice(&content[rest..place]);
        edited.extend_from_slice(&call.new);
        rest = place + call.old.len();
    }
    edited.extend_from_slice(&content[rest..]);
    Ok((edited, places.len()))
}

/// A file that is being written, beside where it will be: nobody takes its name for anything else, and it
/// goes where it is not published. Without a name (`O_TMPFILE`) it could not be: an overlay knows of no
/// such files. What a machine that is killed in the middle leaves is removed at the next start.
pub(super) struct Draft {
    pub(super) file: File,
    spot: Spot,
    name: Vec<u8>,
    published: bool,
    _drafting: Drafting,
}

impl Draft {
    /// For the spot where it will be. It takes mode and owner of the regular file that is there.
    pub(super) fn new(
        spot: Spot,
        there: Option<&Stat>,
        mode: Option<u32>,
    ) -> Result<Self, FileProblem> {
        match there.map(|there| FileType::from_raw_mode(there.st_mode)) {
            None | Some(FileType::RegularFile) => {}
            Some(FileType::Directory) => return Err(FileProblem::Directory),
            Some(_) => return Err(FileProblem::NotRegular),
        }
        let draft = Self::open(spot).map_err(FileProblem::of)?;
        let mode = mode.or(there.map(|there| there.st_mode)).unwrap_or(USUAL_MODE) & 0o7777;
        draft.own(there, mode).map_err(FileProblem::of)?;
        Ok(draft)
    }

    fn open(spot: Spot) -> io::Result<Self> {
        let mut chance = [0; 16];
        rustix::rand::getrandom(&mut chance, GetRandomFlags::empty())?;
        let name = pyro_archive::draft_name(&chance);
        let drafting = Drafting::begin();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
        let private = Mode::RUSR | Mode::WUSR;
        let file = openat(&spot.directory, &name, flags | OFlags::CLOEXEC, private)?.into();
        Ok(Self { file, spot, name, published: false, _drafting: drafting })
    }

    fn own(&self, there: Option<&Stat>, mode: u32) -> io::Result<()> {
        if let Some(there) = there {
            let (owner, group) = (Uid::from_raw(there.st_uid), Gid::from_raw(there.st_gid));
            fchown(&self.file, Some(owner), Some(group))?;
        }
        // After the owner, whose change takes set-user-id away.
        Ok(fchmod(&self.file, Mode::from_raw_mode(mode))?)
    }

    /// Puts it where it belongs.
    pub(super) fn publish(mut self, replace: bool) -> io::Result<()> {
        let Spot { directory, name } = &self.spot;
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        renameat_with(directory, &*self.name, directory, name, flags)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.published {
            let _ = unlinkat(&self.spot.directory, &*self.name, AtFlags::empty());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn draft(root: &Root, path: &str, mode: Option<u32>) -> Draft {
        let spot = root.target(path.as_bytes()).unwrap();
        let there = spot.found().unwrap();
        Draft::new(spot, there.as_ref(), mode).unwrap()
    }

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_mode() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), "old").unwrap();
        std::fs::set_permissions(at("file"), PermissionsExt::from_mode(0o4751)).unwrap();
        symlink("/file", at("link")).unwrap();
        let root = Root::new(File::open(directory.path()).unwrap().into());
        let mut new = draft(&root, "/link", None);
        new.file.write_all(b"new").unwrap();
        assert_eq!(std::fs::read(at("file")).unwrap(), b"old");
        new.publish(true).unwrap();
        assert_eq!(std::fs::read(at("file")).unwrap(), b"new");
        assert_eq!(std::fs::metadata(at("file")).unwrap().mode() & 0o7777, 0o4751);
        assert!(at("link").is_symlink());
        let refused = draft(&root, "/file", None).publish(false).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::AlreadyExists);
        drop(draft(&root, "/other", Some(0o600)));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2);
    }

    #[test]
    fn a_text_is_replaced_where_it_stands_once_or_everywhere() {
        let edit = |replace_all, old: &str| {
            let (path, new) = ("/f".into(), "xy".into());
            replaced(b"a b a", &EditFile { path, old: old.to_owned().into(), new, replace_all })
        };
        assert_eq!(edit(false, "b").unwrap(), (b"a xy a".to_vec(), 1));
        assert_eq!(edit(true, "a").unwrap(), (b"xy b xy".to_vec(), 2));
        assert!(matches!(edit(false, "a"), Err(FileProblem::TextAmbiguous(2))));
        for missing in ["c", ""] {
            assert!(matches!(edit(true, missing), Err(FileProblem::TextNotFound)));
        }
    }
}
