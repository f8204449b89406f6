//! Where a seed comes from: a directory, or an archive of a known format. Either way one canonical
//! tar stream.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use sha2::{Digest, Sha256};

use crate::host::rules::{Matcher, Rules};
use crate::host::survey::{Survey, survey};
use crate::reader::verified;
use crate::rewrite::rewrite_watched;
use crate::writer::BLOCK;
use crate::{Cancel, Error, Limits, PackOptions, Progress, Tally, pack};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Directory,
    Tar,
    Gzip,
    Zstd,
}

/// A directory, or an archive: .tar, .tar.gz or .tar.zst, by its first bytes, not by its name.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: File,
    format: Format,
}

/// How a source is streamed.
#[derive(Default)]
pub struct StreamOptions<'a> {
    /// What is left out of a directory. An archive takes none: [`Error::Rule`].
    pub rules: Rules,
    /// The most that is taken from an archive.
    pub limits: Limits,
    /// Times in whole seconds, of a directory.
    pub whole_seconds: bool,
    /// Who hears of progress.
    pub progress: Option<Progress<'a>>,
    /// When to stop.
    pub cancel: Option<Cancel<'a>>,
}

impl Source {
    /// Opens it, through links: the path is the caller's.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let shown = || path.display().to_string();
        let failed = |source| Error::Open { path: shown(), source };
        // A pipe of that name would block.
        let metadata = std::fs::metadata(path).map_err(failed)?;
        if !metadata.is_dir() && !metadata.is_file() {
            return Err(Error::UnknownFormat { path: shown() });
        }
        let file = File::open(path).map_err(failed)?;
        let format = if file.metadata().map_err(failed)?.is_dir() {
            Format::Directory
        } else {
            format(&file).map_err(failed)?.ok_or_else(|| Error::UnknownFormat { path: shown() })?
        };
        Ok(Self { path: path.to_path_buf(), file, format })
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a directory, not an archive.
    pub fn is_directory(&self) -> bool {
        self.format == Format::Directory
    }

    /// Walks a directory. Of an archive only the file is looked at: its bytes and a fingerprint by
    /// its times and inode; what it holds is known once it was streamed.
    pub fn survey(&self, rules: &Rules, cancel: Option<Cancel<'_>>) -> Result<Survey, Error> {
        if self.is_directory() {
            return survey(self.file.as_fd(), rules, cancel);
        }
        Self::refuse_rules(rules)?;
        let stat = rustix::fs::fstat(&self.file).map_err(|error| self.failed(error.into()))?;
        let mut hash = Sha256::new();
        for number in [stat.st_mtime, stat.st_ctime, stat.st_size] {
            hash.update(number.to_le_bytes());
        }
        for number in [stat.st_mtime_nsec, stat.st_ctime_nsec, stat.st_ino, stat.st_dev] {
            hash.update(number.to_le_bytes());
        }
        Ok(Survey {
            bytes: u64::try_from(stat.st_size).unwrap_or(0),
            fingerprint: hash.finalize().into(),
            ..Survey::default()
        })
    }

    /// Writes it to `sink` as a canonical tar, owned by 0:0. Can be called again.
    pub fn stream(&self, options: StreamOptions<'_>, sink: &mut dyn Write) -> Result<Tally, Error> {
        let StreamOptions { rules, limits, whole_seconds, progress, cancel } = options;
        if self.is_directory() {
            let mut matcher = Matcher::new(self.file.as_fd(), &rules)?;
            let mut report = progress.map(|progress| move |tally: &Tally| progress(tally));
            let mut exclude = |path: &[u8], kind| matcher.leaves_out(path, kind);
            let mut options =
                PackOptions { root_owned: true, whole_seconds, cancel, ..PackOptions::default() };
            if let Some(report) = &mut report {
                options.progress = Some(report);
            }
            if !rules.is_empty() {
                options.exclude = Some(&mut exclude);
            }
            return pack(self.file.as_fd(), options, sink);
        }
        Self::refuse_rules(&rules)?;
        let mut file = self.file.try_clone().map_err(|error| self.failed(error))?;
        file.rewind().map_err(|error| self.failed(error))?;
        let mut decompressed: Box<dyn Read> = match self.format {
            Format::Gzip => Box::new(MultiGzDecoder::new(io::BufReader::new(file))),
            Format::Zstd => Box::new(zstd::Decoder::new(file).map_err(|error| self.failed(error))?),
            Format::Tar | Format::Directory => Box::new(file),
        };
        rewrite_watched(&mut decompressed, sink, &limits, progress, cancel)
    }

    fn failed(&self, source: io::Error) -> Error {
        Error::Open { path: self.path.display().to_string(), source }
    }

    fn refuse_rules(rules: &Rules) -> Result<(), Error> {
        if rules.is_empty() {
            return Ok(());
        }
        Err(Error::Rule {
            rule: rules.excludes.first().map_or("respect_ignore", String::as_str).to_owned(),
            why: "an archive is taken as a whole; rules are for directories".to_owned(),
        })
    }
}

fn format(file: &File) -> io::Result<Option<Format>> {
    let mut block = [0; BLOCK];
    let mut filled = 0;
    while filled < BLOCK {
        match file.read_at(&mut block[filled..], filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(match block {
        [0x1f, 0x8b, ..] => Some(Format::Gzip),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Format::Zstd),
        _ if filled == BLOCK && (verified(&block) || block == [0; BLOCK]) => Some(Format::Tar),
        _ => None,
    })
}
