//! Files of a workspace, by its guest: what it tells is a stranger's, so it is bounded here.

use std::{io, time::Duration};

use bytes::Bytes;
use pyro_change::Status;
use pyro_link::{FilePiece, FileReader, Link};
use pyro_wire::{
    ApplyPatch, ChangeStatus, EditFile, FileEntry, ListChanges, ListFiles, MakeDirectory, MoveFile,
    PackFiles, ReadFile, RemoveFile, SearchFiles, StatFile, UnpackFiles, WriteFile, call::Verb,
    file_outcome,
};

use tokio::sync::mpsc;

use crate::{LinkError, compare::in_order, error::WorkspaceError, exec::InUseGuard, owner::Handle};

/// Names and texts that are kept of one answer, bytes.
pub(crate) const MOST_TEXT: usize = 64 << 20;

/// How long a guest that broke a stream off may take to say why.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileKind {
    /// A regular file.
    Regular,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A pipe, a socket, a device.
    Other,
}

/// What is known of a name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Absolute, as it was asked for or found.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
    /// Of its content.
    pub size_bytes: u64,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since the Unix epoch, and nanoseconds.
    pub modified: (i64, u32),
    /// Of a symlink.
    pub link_target: Option<Vec<u8>>,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// A part of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FilePart {
    /// The file.
    pub found: Found,
    /// Of the first byte.
    pub offset: u64,
    /// The bytes.
    pub content: Vec<u8>,
}

/// What to look for in files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Search {
    /// A regular expression, of lines.
    pub pattern: String,
    /// A file or a directory, absolute.
    pub path: Vec<u8>,
    /// The pattern is a text.
    pub literal: bool,
    /// Upper and lower case are alike.
    pub ignore_case: bool,
    /// Names, as in a .gitignore.
    pub globs: Vec<String>,
    /// Lines before and after.
    pub context: u32,
    /// The most lines.
    pub most_matches: u64,
    /// Also what .gitignore names, and what is hidden.
    pub all: bool,
    /// Names of files only.
    pub names_only: bool,
}

/// What was found in files.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Searched {
    /// By path and line.
    pub lines: Vec<SearchedLine>,
    /// How many of them were looked for.
    pub count: u64,
    /// Files that were looked into.
    pub files: u64,
    /// There may be more.
    pub truncated: bool,
}

/// A line that was found, or one beside it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SearchedLine {
    /// Absolute.
    pub path: Vec<u8>,
    /// None: only the name.
    pub number: Option<u64>,
    /// Without its end.
    pub line: Vec<u8>,
    /// It only stands beside one that was found.
    pub is_context: bool,
}

/// A file that a patch changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PatchedFile {
    /// Absolute.
    pub path: Vec<u8>,
    /// What became of it.
    pub status: Status,
    /// Of a renamed one.
    pub old_path: Option<Vec<u8>>,
    /// Hunks that needed mending.
    pub mended_hunks: u64,
}

/// What is wanted of a difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// Relative to `/workspace`; none: all of it.
    pub paths: Vec<Vec<u8>>,
    /// Files that only have another name are told as that.
    pub renames: bool,
    /// Patches of text.
    pub patches: bool,
    /// Of one file, bytes.
    pub most_patch_bytes: u64,
    /// Of all, bytes.
    pub most_patches_bytes: u64,
    /// Digests of all regular files.
    pub digests: bool,
    /// The most that is told.
    pub most_entries: u64,
}

/// A path that is different.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    /// Relative to `/workspace`.
    pub path: Vec<u8>,
    /// What became of it.
    pub status: Status,
    /// As it is.
    pub now: Option<Found>,
    /// As it was; its path is another where it was renamed.
    pub was: Option<Found>,
    /// SHA-256 of what is.
    pub now_digest: Option<Vec<u8>>,
    /// SHA-256 of what was.
    pub was_digest: Option<Vec<u8>>,
    /// It is no text.
    pub binary: bool,
    /// From what was to what is.
    pub patch: Option<Vec<u8>>,
    /// There would be one, but for a limit.
    pub patch_left_out: bool,
}

/// A tar that is on its way out of a workspace.
#[derive(Debug)]
pub struct Packed {
    /// What is packed.
    pub found: Found,
    reader: FileReader,
    /// The workspace is in use for as long as this lives.
    _files: Files,
}

impl Packed {
    /// The next bytes; none at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, WorkspaceError> {
        const DOING: &str = "export the files";
        match self.reader.next().await.map_err(WorkspaceError::guest(DOING))? {
            FilePiece::Data(bytes) => Ok(Some(bytes)),
            FilePiece::Told(told) => match *told {
                file_outcome::Result::Packed(_) => Ok(None),
                _ => Err(mismatch(DOING)),
            },
        }
    }
}

/// What came of a tar that was taken in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unpacked {
    /// Names.
    pub entries: u64,
    /// Bytes of content.
    pub bytes: u64,
    /// Names that were removed, because they did not come.
    pub removed: u64,
}

/// The files of a workspace that runs, in use for as long as this lives.
#[derive(Debug)]
pub struct Files {
    pub(crate) link: Link,
    /// Whether the workspace was started for it.
    pub started_workspace: bool,
    _in_use: InUseGuard,
}

fn found(entry: FileEntry) -> Found {
    let kind = kind_of(&entry);
    Found {
        kind,
        size_bytes: entry.size_bytes,
        mode: entry.mode & 0o7777,
        modified: (entry.mtime_seconds, entry.mtime_nanos.min(999_999_999)),
        link_target: (kind == FileKind::Symlink).then(|| entry.link_target.to_vec()),
        uid: entry.uid,
        gid: entry.gid,
        path: entry.path.into(),
    }
}

pub(crate) fn kind_of(entry: &FileEntry) -> FileKind {
    match entry.kind() {
        pyro_wire::FileKind::FileRegular => FileKind::Regular,
        pyro_wire::FileKind::FileDirectory => FileKind::Directory,
        pyro_wire::FileKind::FileSymlink => FileKind::Symlink,
        pyro_wire::FileKind::FileOther => FileKind::Other,
    }
}

pub(crate) fn mismatch(operation: &'static str) -> WorkspaceError {
    WorkspaceError::Guest { operation, source: LinkError::Mismatch("a call about files") }
}

impl Handle {
    /// Its files; it is started for them if need be and allowed.
    pub async fn files(&self, no_start: bool) -> Result<Files, WorkspaceError> {
        let in_use = InUseGuard::new(self);
        let (link, started_workspace) = self.guest(no_start).await?;
        Ok(Files { link, started_workspace, _in_use: in_use })
    }
}

impl Files {
    /// What is known of a path; where it is a symlink, of that, or of what it leads to.
    pub async fn stat(&self, path: Vec<u8>, follow: bool) -> Result<Found, WorkspaceError> {
        let call = StatFile { path: path.into(), follow };
        let entry = self.link.stat_file(call).await.map_err(WorkspaceError::guest("look"))?;
        Ok(found(entry))
    }

    /// What is in a directory, and whether there is more than was told.
    pub async fn list(
        &self,
        path: Vec<u8>,
        recursive: bool,
        most_entries: u64,
    ) -> Result<(Vec<Found>, bool), WorkspaceError> {
        const DOING: &str = "list the files";
        let failed = || WorkspaceError::guest(DOING);
        let call = ListFiles { path: path.into(), recursive, most_entries };
        let mut answer = self.link.begin_files(Verb::ListFiles(call)).await.map_err(failed())?;
        let (mut listed, mut bytes) = (Vec::new(), 0);
        loop {
            match answer.told().await.map_err(failed())? {
                file_outcome::Result::Entries(told) => {
                    for entry in told.entries {
                        bytes += entry.path.len() + entry.link_target.len();
                        if listed.len() as u64 >= most_entries || bytes > MOST_TEXT {
                            return Ok((listed, true));
                        }
                        listed.push(found(entry));
                    }
                }
                file_outcome::Result::Listed(tally) => return Ok((listed, tally.truncated)),
                _ => return Err(mismatch(DOING)),
            }
        }
    }

    /// A part of a regular file: from an offset, or, with `lines`, from a line (1 for the first) and so
    /// many of them (0: as many as fit).
    pub async fn read(
        &self,
        path: Vec<u8>,
        offset: u64,
        lines: Option<(u64, u64)>,
        max_bytes: u64,
    ) -> Result<FilePart, WorkspaceError> {
        const DOING: &str = "read the file";
        let (first_line, most_lines) = lines.unwrap_or_default();
        let call =
            ReadFile { path: path.into(), max_bytes, offset, part: true, first_line, most_lines };
        let read = self.link.read_part(call).await.map_err(WorkspaceError::guest(DOING))?;
        let (about, content) = read;
        let entry = about.entry.ok_or_else(|| mismatch(DOING))?;
        Ok(FilePart { found: found(entry), offset: about.offset, content })
    }

    /// Writes a file, whole or not at all. Its directories are made.
    pub async fn write(
        &self,
        path: Vec<u8>,
        content: Bytes,
        mode: Option<u32>,
        create_only: bool,
    ) -> Result<Found, WorkspaceError> {
        const DOING: &str = "write the file";
        let call = Verb::WriteFile(WriteFile { path: path.into(), mode, create_only });
        match self.send(DOING, call, content).await?.0 {
            file_outcome::Result::Written(entry) => Ok(found(entry)),
            _ => Err(mismatch(DOING)),
        }
    }

    /// Sends bytes, and gives what the guest tells first.
    pub(crate) async fn send(
        &self,
        doing: &'static str,
        call: Verb,
        content: Bytes,
    ) -> Result<(file_outcome::Result, FileReader), WorkspaceError> {
        let failed = || WorkspaceError::guest(doing);
        let (mut reader, mut writer) = self.link.send_files(call).await.map_err(failed())?;
        let sending = async {
            writer.send(content).await?;
            writer.end().await
        };
        // A guest that wants no more says why, and then the stream may break.
        let (sent, told) = tokio::join!(sending, reader.told());
        match told {
            Err(LinkError::Ended | LinkError::Lost(_)) => {
                sent.map_err(failed())?;
                Err(failed()(LinkError::Ended))
            }
            told => Ok((told.map_err(failed())?, reader)),
        }
    }

    /// Replaces text in a file; gives it as it is now, and in how many places.
    pub async fn edit(
        &self,
        path: Vec<u8>,
        old: String,
        new: String,
        replace_all: bool,
    ) -> Result<(Found, u64), WorkspaceError> {
        let call = EditFile { path: path.into(), old: old.into(), new: new.into(), replace_all };
        let edited = self.link.edit_file(call).await;
        let entry = edited.map_err(WorkspaceError::guest("edit the file"))?;
        let places = entry.replaced;
        Ok((found(entry), places))
    }

    /// Renames a file or a directory.
    pub async fn rename(
        &self,
        from: Vec<u8>,
        to: Vec<u8>,
        replace: bool,
    ) -> Result<Found, WorkspaceError> {
        let call = MoveFile { from: from.into(), to: to.into(), replace };
        let moved = self.link.move_file(call).await;
        Ok(found(moved.map_err(WorkspaceError::guest("move the file"))?))
    }

    /// Removes a file or a directory.
    pub async fn remove(&self, path: Vec<u8>, recursive: bool) -> Result<(), WorkspaceError> {
        let call = RemoveFile { path: path.into(), recursive };
        self.link.remove_file(call).await.map_err(WorkspaceError::guest("remove the file"))
    }

    /// Makes a directory.
    pub async fn make_directory(
        &self,
        path: Vec<u8>,
        mode: Option<u32>,
    ) -> Result<Found, WorkspaceError> {
        let made = self.link.make_directory(MakeDirectory { path: path.into(), mode }).await;
        Ok(found(made.map_err(WorkspaceError::guest("make the directory"))?))
    }

    /// Looks for lines.
    pub async fn search(&self, search: Search) -> Result<Searched, WorkspaceError> {
        const DOING: &str = "search the files";
        let failed = || WorkspaceError::guest(DOING);
        let most = search.most_matches;
        let call = SearchFiles {
            path: search.path.into(),
            pattern: search.pattern,
            literal: search.literal,
            ignore_case: search.ignore_case,
            globs: search.globs,
            context: search.context,
            most_matches: most,
            all: search.all,
            names_only: search.names_only,
        };
        let mut answer = self.link.begin_files(Verb::SearchFiles(call)).await.map_err(failed())?;
        let (mut searched, mut bytes) = (Searched::default(), 0);
        loop {
            match answer.told().await.map_err(failed())? {
                file_outcome::Result::Line(line) => {
                    bytes += line.path.len() + line.line.len();
                    searched.count += u64::from(!line.is_context);
                    if searched.count > most || bytes > MOST_TEXT {
                        searched.truncated = true;
                        return Ok(searched);
                    }
                    searched.lines.push(SearchedLine {
                        path: line.path.into(),
                        number: Some(line.line_number).filter(|number| *number > 0),
                        line: line.line.into(),
                        is_context: line.is_context,
                    });
                }
                file_outcome::Result::Searched(tally) => {
                    searched.files = tally.entries;
                    searched.truncated = tally.truncated;
                    return Ok(searched);
                }
                _ => return Err(mismatch(DOING)),
            }
        }
    }

    /// Changes files as a patch says, all or nothing; with `check`, only says what would be.
    pub async fn patch(
        &self,
        base: Vec<u8>,
        patch: Bytes,
        check: bool,
    ) -> Result<Vec<PatchedFile>, WorkspaceError> {
        const DOING: &str = "apply the patch";
        let call = Verb::ApplyPatch(ApplyPatch { base: base.into(), check });
        let file_outcome::Result::Patched(patched) = self.send(DOING, call, patch).await?.0 else {
            return Err(mismatch(DOING));
        };
        let files = patched.files.into_iter().map(|file| PatchedFile {
            status: status_of(file.status()),
            path: file.path.into(),
            old_path: Some(Vec::from(file.old_path)).filter(|path| !path.is_empty()),
            mended_hunks: file.mended_hunks.into(),
        });
        Ok(files.collect())
    }

    /// What is different in `/workspace` from what it began with, and whether there is more than is told.
    pub async fn changes(
        &self,
        wanted: Difference,
    ) -> Result<(Vec<Changed>, bool), WorkspaceError> {
        const DOING: &str = "compare the workspace";
        let failed = || WorkspaceError::guest(DOING);
        let most = wanted.most_entries;
        let call = Verb::ListChanges(ListChanges {
            paths: wanted.paths.into_iter().map(Into::into).collect(),
            renames: wanted.renames,
            patches: wanted.patches,
            most_patch_bytes: wanted.most_patch_bytes,
            most_patches_bytes: wanted.most_patches_bytes,
            digests: wanted.digests,
            most_entries: most,
        });
        let mut answer = self.link.begin_files(call).await.map_err(failed())?;
        let mut changes: Vec<Changed> = Vec::new();
        let (mut text, mut patches) = (0, 0);
        // Bytes of the last one's patch that are still to come.
        let mut open = 0_u64;
        loop {
            let piece = answer.next().await.map_err(failed())?;
            match piece {
                FilePiece::Data(bytes) if bytes.len() as u64 <= open => {
                    open -= bytes.len() as u64;
                    let patch = changes.last_mut().and_then(|change| change.patch.as_mut());
                    patch.ok_or_else(|| mismatch(DOING))?.extend_from_slice(&bytes);
                }
                FilePiece::Data(_) => return Err(mismatch(DOING)),
                FilePiece::Told(told) => match *told {
                    _ if open > 0 => return Err(mismatch(DOING)),
                    file_outcome::Result::Change(change) => {
                        text += change.path.len() + 200;
                        patches += change.patch_bytes;
                        open = change.patch_bytes;
                        if changes.len() as u64 >= most
                            || text > MOST_TEXT
                            || patches > wanted.most_patches_bytes
                        {
                            return Ok((changes, true));
                        }
                        changes.push(changed(change));
                    }
                    file_outcome::Result::Changes(tally) => {
                        in_order(&mut changes);
                        return Ok((changes, tally.truncated));
                    }
                    _ => return Err(mismatch(DOING)),
                },
            }
        }
    }
}

impl Files {
    /// Gives a file or a directory as a tar: all of it, or only some paths in it, or what is different.
    pub async fn pack(
        self,
        path: Vec<u8>,
        changed: bool,
        paths: Vec<Vec<u8>>,
    ) -> Result<Packed, WorkspaceError> {
        let paths = paths.into_iter().map(Into::into).collect();
        let call = PackFiles { path: path.into(), changed, paths };
        let packed = self.link.pack_files(call).await;
        let (entry, reader) = packed.map_err(WorkspaceError::guest("export the files"))?;
        Ok(Packed { found: found(entry), reader, _files: self })
    }

    /// Takes a tar into a directory, each file whole or not at all. `body` gives its bytes, piece by piece.
    pub async fn unpack(
        &self,
        path: Vec<u8>,
        delete: bool,
        body: &mut mpsc::Receiver<io::Result<Bytes>>,
    ) -> Result<Unpacked, WorkspaceError> {
        const DOING: &str = "take the files in";
        let failed = || WorkspaceError::guest(DOING);
        let call = Verb::UnpackFiles(UnpackFiles { path: path.into(), delete });
        let (mut reader, mut writer) = self.link.send_files(call).await.map_err(failed())?;
        let sending = async {
            while let Some(piece) = body.recv().await {
                match piece {
                    Ok(bytes) => writer.send(bytes).await?,
                    // Who sent it has gone: the guest sees that by a stream without an end.
                    Err(error) => return Err(LinkError::Lost(error)),
                }
            }
            writer.end().await
        };
        let told = tokio::select! {
            biased;
            told = reader.told() => told,
            sent = sending => match sent {
                Ok(()) => reader.told().await,
                Err(error) => {
                    // A guest that wants no more says why.
                    let told = tokio::time::timeout(LAST_WORD, reader.told()).await;
                    let refused = told.ok().filter(|told| matches!(told, Err(LinkError::Guest { .. })));
                    refused.unwrap_or(Err(error))
                }
            },
        };
        match told.map_err(failed())? {
            file_outcome::Result::Unpacked(tally) => {
                Ok(Unpacked { entries: tally.entries, bytes: tally.bytes, removed: tally.removed })
            }
            _ => Err(mismatch(DOING)),
        }
    }
}

fn status_of(status: ChangeStatus) -> Status {
    match status {
        ChangeStatus::ChangeModified => Status::Modified,
        ChangeStatus::ChangeAdded => Status::Added,
        ChangeStatus::ChangeDeleted => Status::Deleted,
        ChangeStatus::ChangeType => Status::TypeChanged,
        ChangeStatus::ChangeRenamed => Status::Renamed,
    }
}

fn changed(change: pyro_wire::Change) -> Changed {
    let digest = |digest: Bytes| Some(Vec::from(digest)).filter(|digest| digest.len() == 32);
    Changed {
        status: status_of(change.status()),
        path: change.path.into(),
        now: change.now.map(found),
        was: change.was.map(found),
        now_digest: digest(change.now_digest),
        was_digest: digest(change.was_digest),
        binary: change.binary,
        patch: (change.patch_bytes > 0).then(Vec::new),
        patch_left_out: change.patch_left_out,
    }
}
