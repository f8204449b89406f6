//! An archive from a stranger as one of ours, while it streams.
//!
//! What comes out holds no name twice, no parent that is not a member before, no link into nothing,
//! no owner but 0:0. Refuses what [`crate::unpack`] refuses, and names that come twice: the first one
//! is already gone. Remembers names and kinds, nothing else.

use std::collections::HashMap;

use crate::error::shown;
use crate::limits::Meter;
use crate::member::{Kind, Mtime, Segment, close};
use crate::reader::Reader;
use crate::writer::{Head, Writer};
use crate::{Cancel, Error, Limits, Progress, SafeName, Tally};

/// Checks the archive `source` and writes it to `sink` in canonical form, with its end mark.
///
/// A directory may come twice: the first counts. Fails like [`crate::unpack`], and with
/// [`Error::Duplicate`]; what is in the sink then has no end mark and is to be thrown away.
pub fn rewrite(
    source: &mut dyn std::io::Read,
    sink: &mut dyn std::io::Write,
    limits: &Limits,
) -> Result<Tally, Error> {
    rewrite_watched(source, sink, limits, None, None)
}

/// [`rewrite`], for whoever wants to see it or to stop it.
pub fn rewrite_watched(
    source: &mut dyn std::io::Read,
    sink: &mut dyn std::io::Write,
    limits: &Limits,
    mut progress: Option<Progress<'_>>,
    cancel: Option<Cancel<'_>>,
) -> Result<Tally, Error> {
    let mut rewriter = Rewriter {
        writer: Writer::new(sink),
        meter: Meter::new(*limits),
        names: HashMap::new(),
        tally: Tally::default(),
    };
    let mut reader = Reader::new(source);
    while let Some(member) = reader.next()? {
        let name = SafeName::parse(&member.name)?;
        rewriter.meter.admit(name.as_bytes(), &member.link, member.stored, member.size)?;
        if cancel.is_some_and(|cancel| cancel()) {
            return Err(Error::Cancelled { member: shown(&member.name) });
        }
        if rewriter.tally.entries.is_multiple_of(256)
            && let Some(progress) = &mut progress
        {
            progress(&rewriter.tally);
        }
        if name.is_root() {
            if member.kind == Kind::Directory {
                continue;
            }
            return Err(Error::UnsafeName {
                member: shown(&member.name),
                why: "it names the root, which is a directory",
            });
        }
        let whole = name.as_bytes();
        rewriter.parents(whole, member.mtime)?;
        match rewriter.names.get(whole) {
            Some(Kind::Directory) if member.kind == Kind::Directory => continue,
            Some(_) => return Err(Error::Duplicate { member: shown(whole) }),
            None => {}
        }
        let link = rewriter.link(whole, member.kind, member.link)?;
        // Hard links to hard links are links to the same file.
        let known = if member.kind == Kind::HardLink { Kind::File } else { member.kind };
        rewriter.names.insert(whole.to_vec(), known);
        let mut segments = member.segments;
        let zeros = segments.as_mut().map_or(0, |segments| close(segments, member.size));
        rewriter.begin(&Head {
            name: whole,
            kind: member.kind,
            link: &link,
            mode: member.mode,
            mtime: member.mtime,
            size: member.size,
            segments: segments.as_deref(),
            owner: (0, 0),
        })?;
        if member.kind == Kind::File {
            let all = [Segment { offset: 0, length: member.size }];
            let stored = segments.as_deref().unwrap_or(&all);
            // The last one is not in the source, where it was added.
            let come = &stored[..stored.len() - usize::from(zeros > 0)];
            for segment in come {
                rewriter.content(&mut reader, segment.length)?;
            }
            rewriter.writer.zeros(zeros)?;
            rewriter.writer.end()?;
        }
    }
    rewriter.writer.finish()?;
    Ok(rewriter.tally)
}

struct Rewriter<'a> {
    writer: Writer<'a>,
    meter: Meter,
    names: HashMap<Vec<u8>, Kind>,
    tally: Tally,
}

impl Rewriter<'_> {
    fn begin(&mut self, head: &Head<'_>) -> Result<(), Error> {
        self.tally.entries += 1;
        self.writer.begin(head)
    }

    /// Parents that are no members yet become members.
    fn parents(&mut self, whole: &[u8], mtime: Mtime) -> Result<(), Error> {
        for at in (0..whole.len()).filter(|at| whole[*at] == b'/') {
            let above = &whole[..at];
            match self.names.get(above) {
                Some(Kind::Directory) => {}
                Some(_) => {
                    return Err(Error::UnsafeName {
                        member: shown(whole),
                        why: "a link or a file stands where a directory is needed",
                    });
                }
                None => {
                    self.meter.admit(above, b"", 0, 0)?;
                    self.names.insert(above.to_vec(), Kind::Directory);
                    self.begin(&Head {
                        name: above,
                        kind: Kind::Directory,
                        link: b"",
                        mode: 0o755,
                        mtime,
                        size: 0,
                        segments: None,
                        owner: (0, 0),
                    })?;
                }
            }
        }
        Ok(())
    }

    fn link(&self, whole: &[u8], kind: Kind, link: Vec<u8>) -> Result<Vec<u8>, Error> {
        if kind != Kind::HardLink {
            return Ok(link);
        }
        let bad = |why| Error::UnsafeLink { member: shown(whole), target: shown(&link), why };
        let target = SafeName::parse(&link)
            .map_err(|_| bad("that name leads out of the archive, or is none"))?;
        match self.names.get(target.as_bytes()) {
            Some(Kind::File) => Ok(target.as_bytes().to_vec()),
            Some(_) => Err(bad("that is no regular file")),
            None => Err(bad("there is no such file before it")),
        }
    }

    fn content(&mut self, reader: &mut Reader<'_>, mut left: u64) -> Result<(), Error> {
        while left > 0 {
            let room = self.writer.room()?;
            let part = reader.content(left.min(room.len() as u64))?;
            let count = part.len();
            room[..count].copy_from_slice(part);
            self.writer.wrote(count);
            self.tally.bytes += count as u64;
            left -= count as u64;
        }
        Ok(())
    }
}
