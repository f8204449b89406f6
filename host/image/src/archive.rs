//! A root file system on its way from a tar to an image: passed on byte for byte, looked at on the
//! way, and completed at the end with the directories a guest mounts over.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, Read, Write},
    rc::Rc,
};

use tar::{Archive, EntryType, Header};

use crate::{Error, Job, Result};

const BLOCK: usize = 512;

/// How much of the package database is read: that of a full desktop has about 5 MiB.
const STATUS_LIMIT: u64 = 32 << 20;
const OS_RELEASE_LIMIT: u64 = 64 << 10;

/// The directories every guest needs, and their modes. Those an archive lacks are added to it, so
/// that the guest can mount over them without writing to its root first.
const NEEDED: [(&str, u32); 9] = [
    ("dev", 0o755),
    ("etc", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("var", 0o755),
    ("workspace", 0o755),
];

/// What was seen in a root file system.
#[derive(Default, Debug)]
pub(crate) struct Survey {
    /// The length of the tar in bytes.
    pub bytes: u64,
    pub entries: u64,
    pub has_shell: bool,
    pub has_executable: bool,
    /// Whether it looks like `docker save` or an OCI layout: layers, not a root.
    pub has_image_manifest: bool,
    /// Debian's package database.
    pub dpkg_status: Vec<u8>,
    pub os_release: Vec<u8>,
    top: BTreeMap<Vec<u8>, Top>,
}

/// What a name in the root directory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Top {
    Directory,
    Symlink,
    Other,
}

/// Whether passing an archive on failed because of where it comes from or where it goes.
#[derive(Debug)]
pub(crate) enum PassError {
    /// The source.
    Source(Error),
    /// The sink ended early: its own error is the one to tell.
    Sink,
}

/// Passes a tar on and tells what it held. `moved` is told the number of bytes now and then.
pub(crate) fn pass(
    job: &Job,
    source: impl Read,
    sink: impl Write,
    limit: u64,
    mtime: u64,
    moved: &dyn Fn(u64),
) -> Result<Survey, PassError> {
    let sink = Rc::new(RefCell::new(Sink::new(sink)));
    let tee = Tee { source, sink: Rc::clone(&sink), bytes: 0, limit, told: 0, job, moved };
    let mut archive = Archive::new(tee);
    let mut survey = Survey::default();
    let looked = look(&mut archive, &mut survey);
    let mut tee = archive.into_inner();
    let end = match looked {
        Ok(end) => end,
        Err(error) => return Err(tee.explain(error)),
    };
    // What follows the end mark is read, so that the writer of a pipe is not cut off, and dropped.
    sink.borrow_mut().closed = true;
    if let Err(error) = io::copy(&mut tee, &mut io::sink()) {
        return Err(tee.explain(error));
    }
    survey.bytes = tee.bytes;
    survey.check().map_err(PassError::Source)?;
    let missing = survey.missing_directories().map_err(PassError::Source)?;
    let finished = sink.borrow_mut().finish(end, &missing, mtime);
    finished.map_err(|_| PassError::Sink)?;
    Ok(survey)
}

/// Reads all entries; returns where the last one ends.
fn look(archive: &mut Archive<impl Read>, survey: &mut Survey) -> io::Result<u64> {
    let mut end = 0;
    for entry in archive.entries()? {
        let mut entry = entry?;
        survey.entries += 1;
        let stored = entry.header().entry_size()?;
        let stored =
            if entry.header().entry_type() == EntryType::GNUSparse { stored } else { entry.size() };
        end = entry.raw_file_position() + stored.next_multiple_of(BLOCK as u64);
        let path = clean(&entry.path_bytes());
        let kind = entry.header().entry_type();
        survey.see(&path, kind, entry.header().mode().unwrap_or(0));
        match &*path {
            b"var/lib/dpkg/status" => {
                entry.by_ref().take(STATUS_LIMIT).read_to_end(&mut survey.dpkg_status)?;
            }
            b"etc/os-release" | b"usr/lib/os-release" if kind == EntryType::Regular => {
                survey.os_release.clear();
                entry.by_ref().take(OS_RELEASE_LIMIT).read_to_end(&mut survey.os_release)?;
            }
            _ => {}
        }
    }
    Ok(end)
}

/// A path as the root's own: without a leading `/` or `./` and without an ending `/`.
fn clean(path: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> =
        path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
    parts.join(&b'/')
}

impl Survey {
    fn see(&mut self, path: &[u8], kind: EntryType, mode: u32) {
        if path.is_empty() {
            return;
        }
        let top = match path.iter().position(|&b| b == b'/') {
            Some(length) => (&path[..length], Top::Directory),
            None => match kind {
                EntryType::Directory => (path, Top::Directory),
                EntryType::Symlink => (path, Top::Symlink),
                _ => (path, Top::Other),
            },
        };
        if NEEDED.iter().any(|(name, _)| name.as_bytes() == top.0) {
            self.top.insert(top.0.to_vec(), top.1);
        }
        if matches!(path, b"bin/sh" | b"usr/bin/sh") {
            self.has_shell = true;
        }
        if matches!(path, b"manifest.json" | b"oci-layout") {
            self.has_image_manifest = true;
        }
        if matches!(kind, EntryType::Regular | EntryType::Link) && mode & 0o111 != 0 {
            self.has_executable = true;
        }
    }

    fn check(&self) -> Result<()> {
        if self.has_shell || self.has_executable {
            return Ok(());
        }
        let (reason, hint) = if self.entries == 0 {
            ("it is empty", "docker export CONTAINER | pyro env import NAME -")
        } else if self.has_image_manifest {
            (
                "it holds an image's layers, as `docker save` writes them",
                "docker create IMAGE, then docker export CONTAINER | pyro env import NAME -",
            )
        } else {
            (
                "it has neither /bin/sh nor any executable file",
                "its paths must begin at the root: tar -C ROOT -c . | pyro env import NAME -",
            )
        };
        Err(Error::NotARoot { reason: reason.to_owned(), hint })
    }

    fn missing_directories(&self) -> Result<Vec<(&'static str, u32)>> {
        let mut missing = Vec::new();
        for (name, mode) in NEEDED {
            match self.top.get(name.as_bytes()) {
                None => missing.push((name, mode)),
                Some(Top::Directory | Top::Symlink) => {}
                Some(Top::Other) => {
                    return Err(Error::NotARoot {
                        reason: format!("its /{name} is not a directory"),
                        hint: "guests mount their own file systems there: make it a directory",
                    });
                }
            }
        }
        Ok(missing)
    }
}

/// Reads from the source and writes all of it to the sink.
struct Tee<'a, R, W: Write> {
    source: R,
    sink: Rc<RefCell<Sink<W>>>,
    bytes: u64,
    limit: u64,
    told: u64,
    job: &'a Job,
    moved: &'a dyn Fn(u64),
}

impl<R, W: Write> Tee<'_, R, W> {
    fn explain(&self, error: io::Error) -> PassError {
        if self.job.is_cancelled() {
            PassError::Source(Error::Cancelled)
        } else if self.sink.borrow().failed {
            PassError::Sink
        } else if self.bytes > self.limit {
            PassError::Source(Error::TooLarge { limit: self.limit })
        } else {
            PassError::Source(Error::Archive(error))
        }
    }
}

impl<R: Read, W: Write> Read for Tee<'_, R, W> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let length = self.source.read(into)?;
        self.bytes += length as u64;
        if self.bytes > self.limit {
            return Err(io::Error::other("too large"));
        }
        if self.bytes - self.told >= 4 << 20 {
            self.told = self.bytes;
            (self.moved)(self.bytes);
            if self.job.is_cancelled() {
                return Err(io::Error::other("cancelled"));
            }
        }
        self.sink.borrow_mut().push(&into[..length])?;
        Ok(length)
    }
}

/// Writes a tar, but holds zeros back: those at the end are its end mark, and more is to come.
struct Sink<W: Write> {
    writer: io::BufWriter<W>,
    /// How many bytes were written, and how many zeros after them were held back.
    written: u64,
    zeros: u64,
    failed: bool,
    /// After the end mark nothing is passed on.
    closed: bool,
}

impl<W: Write> Sink<W> {
    fn new(writer: W) -> Self {
        let writer = io::BufWriter::with_capacity(1 << 18, writer);
        Self { writer, written: 0, zeros: 0, failed: false, closed: false }
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        let content = bytes.iter().rposition(|&b| b != 0).map_or(0, |last| last + 1);
        if content > 0 {
            self.release(self.written + self.zeros)?;
            self.write(&bytes[..content])?;
        }
        self.zeros += (bytes.len() - content) as u64;
        Ok(())
    }

    /// Writes the held zeros up to this position.
    fn release(&mut self, position: u64) -> io::Result<()> {
        const ZEROS: [u8; 4096] = [0; 4096];
        while self.written < position {
            let length = (position - self.written).min(ZEROS.len() as u64);
            self.write(&ZEROS[..length as usize])?;
        }
        self.zeros = 0;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let result = self.writer.write_all(bytes);
        self.failed |= result.is_err();
        self.written += bytes.len() as u64;
        result
    }

    /// Completes the tar whose last entry ends at `end`.
    fn finish(&mut self, end: u64, missing: &[(&str, u32)], mtime: u64) -> io::Result<()> {
        self.release(end)?;
        for (name, mode) in missing {
            let mut header = Header::new_ustar();
            header.set_path(format!("{name}/"))?;
            header.set_entry_type(EntryType::Directory);
            header.set_mode(*mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(0);
            header.set_mtime(mtime);
            header.set_cksum();
            self.write(header.as_bytes())?;
        }
        self.write(&[0; 2 * BLOCK])?;
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar_of(files: &[(&[u8], &[u8], u32)]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (path, content, mode) in files {
            let mut header = Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path);
            header.set_size(content.len() as u64);
            header.set_mode(*mode);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn pass_on(tar: &[u8]) -> Result<(Survey, Vec<u8>), PassError> {
        let mut out = Vec::new();
        let survey = pass(&Job::silent(), tar, &mut out, 1 << 20, 7, &|_| ())?;
        Ok((survey, out))
    }

    #[test]
    fn every_entry_arrives_and_missing_directories_are_added() {
        // A last file that ends in zeros looks like the end mark: nothing of it may be lost.
        let zeros = [0; 1500];
        let tar = tar_of(&[
            (b"./bin/sh", b"#!", 0o755),
            (b"caf\xe9", b"latin", 0o644),
            (b"tmp/x", b"", 0o644),
            (b"zeros", &zeros, 0o644),
        ]);
        let (survey, out) = pass_on(&tar).unwrap();
        assert!(survey.has_shell);
        let mut archive = Archive::new(&*out);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            seen.push((entry.path_bytes().into_owned(), content));
        }
        assert_eq!(seen[1], (b"caf\xe9".to_vec(), b"latin".to_vec()));
        assert_eq!(seen[3], (b"zeros".to_vec(), zeros.to_vec()));
        let added: Vec<_> = seen[4..].iter().map(|(path, _)| path.as_slice()).collect();
        let expected: [&[u8]; 8] =
            [b"dev/", b"etc/", b"proc/", b"root/", b"run/", b"sys/", b"var/", b"workspace/"];
        assert_eq!(added, expected);
    }

    #[test]
    fn what_is_no_root_is_refused_with_the_reason() {
        let reason = |tar: &[u8]| match pass_on(tar) {
            Err(PassError::Source(error)) => error.to_string(),
            other => panic!("{other:?}"),
        };
        assert!(reason(&tar_of(&[])).contains("empty"));
        assert!(reason(&tar_of(&[(b"notes.txt", b"x", 0o644)])).contains("neither /bin/sh"));
        assert!(reason(&tar_of(&[(b"manifest.json", b"[]", 0o644)])).contains("docker save"));
        assert!(
            reason(&tar_of(&[(b"bin/sh", b"#!", 0o755), (b"workspace", b"", 0o644)]))
                .contains("/workspace is not a directory")
        );
        assert!(reason(b"this is no tar archive").contains("cannot read"));
    }

    #[test]
    fn a_cut_archive_and_a_huge_one_are_errors() {
        let content = vec![1; 5000];
        let tar = tar_of(&[(b"bin/sh", &content, 0o755)]);
        let cut = pass_on(&tar[..3000]);
        assert!(matches!(cut, Err(PassError::Source(Error::Archive(_)))), "{cut:?}");
        let huge = pass(&Job::silent(), &*tar, io::sink(), 2000, 0, &|_| ());
        assert!(matches!(huge, Err(PassError::Source(Error::TooLarge { .. }))), "{huge:?}");
    }
}
