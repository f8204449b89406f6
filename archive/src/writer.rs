//! Writes members as POSIX.1-2001 (pax) tar, with GNU's format 1.0 for sparse files.
//!
//! Formats: POSIX pax "ustar Interchange Format" and "pax Header Block"; GNU tar manual, "Storing
//! Sparse Files". Refuses to know where members come from.

use std::io::Write;

use crate::Error;
use crate::error::shown;
use crate::member::{Kind, Mtime, Segment};

pub(crate) const BLOCK: usize = 512;
const BUFFER: usize = 256 * 1024;
/// What eleven octal digits can say.
const OCTAL_11: u64 = (1 << 33) - 1;

/// What the header of a member says.
pub(crate) struct Head<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) kind: Kind,
    pub(crate) link: &'a [u8],
    pub(crate) mode: u32,
    pub(crate) mtime: Mtime,
    /// Size of the file with its holes.
    pub(crate) size: u64,
    pub(crate) segments: Option<&'a [Segment]>,
    pub(crate) owner: (u32, u32),
}

pub(crate) struct Writer<'a> {
    sink: &'a mut dyn Write,
    buffer: Vec<u8>,
    filled: usize,
    /// Bytes of content in the member so far, for its padding.
    content: u64,
    records: Vec<u8>,
    member: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(sink: &'a mut dyn Write) -> Self {
        Self {
            sink,
            buffer: vec![0; BUFFER],
            filled: 0,
            content: 0,
            records: Vec::new(),
            member: Vec::new(),
        }
    }

    fn flush(&mut self) -> Result<(), Error> {
        let result = self.sink.write_all(&self.buffer[..self.filled]);
        self.filled = 0;
        result.map_err(|source| Error::Sink { member: shown(&self.member), source })
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.filled == BUFFER {
                self.flush()?;
            }
            let part = bytes.len().min(BUFFER - self.filled);
            self.buffer[self.filled..self.filled + part].copy_from_slice(&bytes[..part]);
            self.filled += part;
            bytes = &bytes[part..];
        }
        Ok(())
    }

    /// Room for content: read into it, then say how much with [`Writer::wrote`]. At least 64 KiB,
    /// so that a small file needs one read.
    pub(crate) fn room(&mut self) -> Result<&mut [u8], Error> {
        if BUFFER - self.filled < 64 * 1024 {
            self.flush()?;
        }
        Ok(&mut self.buffer[self.filled..])
    }

    /// So many bytes of the room are content.
    pub(crate) fn wrote(&mut self, length: usize) {
        self.filled += length;
        self.content += length as u64;
    }

    /// Content that is missing, as zeros.
    pub(crate) fn zeros(&mut self, mut count: u64) -> Result<(), Error> {
        while count > 0 {
            let room = self.room()?;
            let part = room.len().min(usize::try_from(count).unwrap_or(usize::MAX));
            room[..part].fill(0);
            self.wrote(part);
            count -= part as u64;
        }
        Ok(())
    }

    /// Ends the member's content.
    pub(crate) fn end(&mut self) -> Result<(), Error> {
        let over = (self.content % BLOCK as u64) as usize;
        self.content = 0;
        if over > 0 {
            self.put(&[0; BLOCK][over..])?;
        }
        Ok(())
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<(), Error> {
        self.put(&[0; 2 * BLOCK])?;
        self.flush()?;
        self.sink.flush().map_err(|source| Error::Sink { member: shown(&self.member), source })
    }

    /// Begins a member; its content, if it is a file, follows.
    pub(crate) fn begin(&mut self, head: &Head<'_>) -> Result<(), Error> {
        self.member.clear();
        self.member.extend_from_slice(head.name);
        let map = head.segments.map(|segments| sparse_map(segments, head.size));
        let stored = match head.segments {
            Some(segments) => segments.iter().map(|segment| segment.length).sum(),
            None if head.kind == Kind::File => head.size,
            None => 0,
        };
        let size = stored + map.as_ref().map_or(0, Vec::len) as u64;
        let mut header = Header::new(head.kind);

        let mut records = std::mem::take(&mut self.records);
        records.clear();
        let mut name = std::mem::take(&mut self.member);
        if head.kind == Kind::Directory {
            name.push(b'/');
        }
        let fits = header.name(&name);
        if map.is_some() {
            record(&mut records, "GNU.sparse.major", b"1");
            record(&mut records, "GNU.sparse.minor", b"0");
            record(&mut records, "GNU.sparse.name", head.name);
            record(&mut records, "GNU.sparse.realsize", head.size.to_string().as_bytes());
        } else if !fits {
            record(&mut records, "path", &name);
        }
        if head.kind == Kind::Directory {
            name.pop();
        }
        self.member = name;
        if !header.link(head.link) {
            record(&mut records, "linkpath", head.link);
        }
        if size > OCTAL_11 {
            record(&mut records, "size", size.to_string().as_bytes());
        }
        header.octal(124, 11, size.min(OCTAL_11));
        let seconds = u64::try_from(head.mtime.seconds).ok().filter(|at| *at <= OCTAL_11);
        header.octal(136, 11, seconds.unwrap_or(0));
        if seconds.is_none() || head.mtime.nanoseconds != 0 {
            record(&mut records, "mtime", decimal(head.mtime).as_bytes());
        }
        header.octal(100, 7, u64::from(head.mode & 0o7777));
        let (user, group) = head.owner;
        header.owner(108, user, "uid", &mut records);
        header.owner(116, group, "gid", &mut records);

        if !records.is_empty() {
            let mut extension = Header::new(Kind::File);
            extension.0[156] = b'x';
            extension.name(b"PaxHeaders/0");
            extension.octal(100, 7, 0o644);
            extension.octal(108, 7, 0);
            extension.octal(116, 7, 0);
            extension.octal(124, 11, records.len() as u64);
            extension.octal(136, 11, 0);
            self.put(extension.sealed())?;
            self.put(&records)?;
            let over = records.len() % BLOCK;
            if over > 0 {
                self.put(&[0; BLOCK][over..])?;
            }
        }
        self.records = records;
        self.put(header.sealed())?;
        if let Some(map) = map {
            self.put(&map)?;
        }
        Ok(())
    }
}

/// Seconds as pax writes them. Nanoseconds count upwards, also before 1970.
fn decimal(mtime: Mtime) -> String {
    let nanoseconds = i128::from(mtime.seconds) * 1_000_000_000 + i128::from(mtime.nanoseconds);
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let whole = nanoseconds.unsigned_abs();
    match whole % 1_000_000_000 {
        0 => format!("{sign}{}", whole / 1_000_000_000),
        part => format!("{sign}{}.{part:09}", whole / 1_000_000_000),
    }
}

/// `length key=value\n`, where the length counts its own digits.
fn record(records: &mut Vec<u8>, key: &str, value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + digits(length) != length {
        length = rest + digits(length);
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key.as_bytes());
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// The map of format 1.0, padded to blocks. A file that ends in a hole gets an empty last segment; one of a
/// single segment behind a hole an empty first one, without which mksquashfs 4.5 does not take it.
fn sparse_map(segments: &[Segment], size: u64) -> Vec<u8> {
    let end = segments.last().map_or(0, |last| last.offset + last.length);
    let tail = (end < size || segments.is_empty()).then_some(Segment { offset: size, length: 0 });
    let head = match segments {
        [only] if only.offset > 0 => Some(Segment { offset: 0, length: 0 }),
        _ => None,
    };
    let count = segments.len() + usize::from(tail.is_some()) + usize::from(head.is_some());
    let mut map = format!("{count}\n").into_bytes();
    for segment in head.iter().chain(segments).chain(&tail) {
        map.extend_from_slice(format!("{}\n{}\n", segment.offset, segment.length).as_bytes());
    }
    map.resize(map.len().next_multiple_of(BLOCK), 0);
    map
}

struct Header([u8; BLOCK]);

impl Header {
    fn new(kind: Kind) -> Self {
        let mut bytes = [0; BLOCK];
        bytes[257..265].copy_from_slice(b"ustar\x0000");
        bytes[156] = match kind {
            Kind::File | Kind::Other => b'0',
            Kind::HardLink => b'1',
            Kind::Symlink => b'2',
            Kind::Directory => b'5',
            Kind::Fifo => b'6',
        };
        Self(bytes)
    }

    /// Whether the name fits; otherwise it holds its beginning, and a record must tell all of it.
    fn name(&mut self, name: &[u8]) -> bool {
        if name.len() <= 100 {
            self.0[..name.len()].copy_from_slice(name);
            return true;
        }
        let body = name.strip_suffix(b"/").unwrap_or(name);
        let split = (0..body.len().min(156))
            .rev()
            .find(|at| body[*at] == b'/' && *at > 0 && name.len() - at - 1 <= 100);
        if let Some(at) = split {
            self.0[345..345 + at].copy_from_slice(&name[..at]);
            self.0[..name.len() - at - 1].copy_from_slice(&name[at + 1..]);
            return true;
        }
        self.0[..100].copy_from_slice(&name[..100]);
        false
    }

    fn link(&mut self, link: &[u8]) -> bool {
        let part = link.len().min(100);
        self.0[157..157 + part].copy_from_slice(&link[..part]);
        part == link.len()
    }

    fn owner(&mut self, at: usize, id: u32, key: &str, records: &mut Vec<u8>) {
        if id > 0o7_777_777 {
            record(records, key, id.to_string().as_bytes());
        }
        self.octal(at, 7, u64::from(id.min(0o7_777_777)));
    }

    fn octal(&mut self, at: usize, digits: usize, mut number: u64) {
        for place in (at..at + digits).rev() {
            self.0[place] = b'0' + (number & 7) as u8;
            number >>= 3;
        }
    }

    fn sealed(&mut self) -> &[u8] {
        self.0[148..156].fill(b' ');
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.octal(148, 6, u64::from(sum));
        self.0[154] = 0;
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_count_their_own_length() {
        for length in [0, 1, 5, 80, 85, 86, 87, 88, 89, 90, 900, 980, 985, 990, 995] {
            let mut records = Vec::new();
            record(&mut records, "path", &vec![b'a'; length]);
            let text = String::from_utf8(records.clone()).unwrap();
            let (said, _) = text.split_once(' ').unwrap();
            assert_eq!(said.parse::<usize>().unwrap(), records.len());
        }
    }

    #[test]
    fn times_before_1970_are_written_as_pax_reads_them() {
        let at = |seconds, nanoseconds| decimal(Mtime { seconds, nanoseconds });
        assert_eq!(at(5, 0), "5");
        assert_eq!(at(5, 7), "5.000000007");
        assert_eq!(at(-1, 0), "-1");
        assert_eq!(at(-1, 500_000_000), "-0.500000000");
        assert_eq!(at(-2, 250_000_000), "-1.750000000");
    }
}
