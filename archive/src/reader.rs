//! Reads the members of an archive from a stranger. Every length is bounded before it is believed.
//!
//! Takes v7, ustar, pax and GNU tar (long names, sparse files of the old format and of 0.0, 0.1 and
//! 1.0). What readers disagree about is refused, so that nobody can mean two things. Refuses to know
//! what names are safe: see [`crate::SafeName`].

use std::io::{self, Read};

use crate::Error;
use crate::error::shown;
use crate::member::{Kind, MAX_SEGMENTS, Member, Mtime, Segment};
use crate::name::PATH_MAX;
use crate::writer::BLOCK;

/// The most bytes of one extended header.
const MAX_RECORDS: u64 = 1 << 20;
/// The most zeros that are read after the end mark.
const MAX_TAIL: u64 = 64 << 20;
/// The most global headers between two members.
const MAX_GLOBALS: u32 = 16;
const BUFFER: usize = 256 * 1024;

type Block = [u8; BLOCK];

/// What extended headers say of the next member.
#[derive(Default)]
struct Extended {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<Mtime>,
    sparse_name: Option<Vec<u8>>,
    sparse_size: Option<u64>,
    sparse_version: (Option<u64>, Option<u64>),
    /// Numbers of formats 0.0 and 0.1: offset, length, offset, ...
    sparse_map: Option<Vec<u64>>,
}

pub(crate) struct Reader<'a> {
    source: &'a mut dyn Read,
    buffer: Vec<u8>,
    at: usize,
    filled: usize,
    /// Content of the current member that was not read yet.
    left: u64,
    padding: u64,
    member: Vec<u8>,
    mtime: Option<Mtime>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: &'a mut dyn Read) -> Self {
        Self {
            source,
            buffer: vec![0; BUFFER],
            at: 0,
            filled: 0,
            left: 0,
            padding: 0,
            member: Vec::new(),
            mtime: None,
        }
    }

    fn malformed(&self, why: &'static str) -> Error {
        Error::Malformed { member: shown(&self.member), why }
    }

    fn truncated(&self) -> Error {
        Error::Truncated { member: shown(&self.member) }
    }

    /// What is buffered, at most `most` bytes; empty at the end of the source.
    fn available(&mut self, most: u64) -> Result<&[u8], Error> {
        while self.at == self.filled {
            match self.source.read(&mut self.buffer) {
                Ok(0) => return Ok(&[]),
                Ok(count) => (self.at, self.filled) = (0, count.min(BUFFER)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(self.truncated());
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
                    ) =>
                {
                    return Err(self.malformed("it cannot be decompressed"));
                }
                Err(source) => {
                    return Err(Error::Source { member: shown(&self.member), source });
                }
            }
        }
        let part = usize::try_from(most).unwrap_or(usize::MAX).min(self.filled - self.at);
        Ok(&self.buffer[self.at..self.at + part])
    }

    fn exact(&mut self, mut into: &mut [u8]) -> Result<(), Error> {
        while !into.is_empty() {
            let part = self.available(into.len() as u64)?;
            if part.is_empty() {
                return Err(self.truncated());
            }
            let count = part.len();
            into[..count].copy_from_slice(part);
            self.at += count;
            into = &mut into[count..];
        }
        Ok(())
    }

    fn skip(&mut self, mut count: u64) -> Result<(), Error> {
        while count > 0 {
            let part = self.available(count)?.len();
            if part == 0 {
                return Err(self.truncated());
            }
            self.at += part;
            count -= part as u64;
        }
        Ok(())
    }

    /// Content of the member, at most `most` bytes; the caller asks for no more than is stored.
    pub(crate) fn content(&mut self, most: u64) -> Result<&[u8], Error> {
        let most = most.min(self.left);
        if self.available(most)?.is_empty() {
            return Err(self.truncated());
        }
        let part = usize::try_from(most).unwrap_or(usize::MAX).min(self.filled - self.at);
        let from = self.at;
        self.at += part;
        self.left -= part as u64;
        Ok(&self.buffer[from..from + part])
    }

    /// The next member, or none when the archive ended as it should.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, Error> {
        self.skip(self.left)?;
        self.skip(self.padding)?;
        (self.left, self.padding) = (0, 0);
        let mut extended = Extended::default();
        let (mut seen_pax, mut long_name, mut long_link) = (false, None, None);
        let mut globals = 0;
        loop {
            let mut block = [0; BLOCK];
            self.exact(&mut block)?;
            if block.iter().all(|byte| *byte == 0) {
                if seen_pax || long_name.is_some() || long_link.is_some() {
                    return Err(self.malformed("an extended header without a member"));
                }
                self.tail()?;
                return Ok(None);
            }
            self.verify(&block)?;
            let size = self.number(&block[124..136], "its size is no number")?;
            match block[156] {
                b'x' if !seen_pax => {
                    seen_pax = true;
                    let records = self.extension(size, MAX_RECORDS)?;
                    self.records(&records, &mut extended, false)?;
                }
                b'g' if globals < MAX_GLOBALS => {
                    globals += 1;
                    let records = self.extension(size, MAX_RECORDS)?;
                    let mut global = Extended::default();
                    self.records(&records, &mut global, true)?;
                    self.mtime = global.mtime.or(self.mtime);
                }
                b'L' if long_name.is_none() => long_name = Some(self.long(size)?),
                b'K' if long_link.is_none() => long_link = Some(self.long(size)?),
                b'x' | b'L' | b'K' | b'g' => {
                    return Err(self.malformed("an extended header comes twice"));
                }
                _ => {
                    extended.name = extended.name.or(long_name);
                    extended.link = extended.link.or(long_link);
                    return self.finish(&block, size, extended).map(Some);
                }
            }
        }
    }

    /// After the first zero block: only zeros, to the end of the source.
    fn tail(&mut self) -> Result<(), Error> {
        let mut count = 0;
        loop {
            let part = self.available(u64::MAX)?;
            if part.is_empty() {
                return Ok(());
            }
            let (length, zeros) = (part.len(), part.iter().all(|byte| *byte == 0));
            self.at += length;
            count += length as u64;
            if !zeros || count > MAX_TAIL {
                return Err(self.malformed("something follows its end mark"));
            }
        }
    }

    fn verify(&self, block: &Block) -> Result<(), Error> {
        if verified(block) {
            return Ok(());
        }
        Err(self.malformed("the checksum of its header is wrong"))
    }

    fn number(&self, field: &[u8], why: &'static str) -> Result<u64, Error> {
        signed(field)
            .and_then(|number| u64::try_from(number).ok())
            .ok_or_else(|| self.malformed(why))
    }

    fn extension(&mut self, size: u64, limit: u64) -> Result<Vec<u8>, Error> {
        if size > limit {
            return Err(Error::TooLarge {
                member: shown(&self.member),
                what: "bytes in an extended header",
                limit,
            });
        }
        let mut bytes = vec![0; size as usize];
        self.exact(&mut bytes)?;
        self.skip(padding(size))?;
        Ok(bytes)
    }

    /// A long name or link target of GNU tar, which ends with a NUL.
    fn long(&mut self, size: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = self.extension(size, PATH_MAX as u64 + BLOCK as u64)?;
        if bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(bytes)
    }

    fn records(
        &self,
        mut bytes: &[u8],
        extended: &mut Extended,
        global: bool,
    ) -> Result<(), Error> {
        let bad = || self.malformed("a pax record is malformed");
        while !bytes.is_empty() {
            let space = bytes.iter().take(9).position(|byte| *byte == b' ').ok_or_else(bad)?;
            let length = decimal(&bytes[..space]).ok_or_else(bad)? as usize;
            if length > bytes.len() || length < space + 3 || bytes[length - 1] != b'\n' {
                return Err(bad());
            }
            let record = &bytes[space + 1..length - 1];
            bytes = &bytes[length..];
            let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(bad)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            let number = || decimal(value).ok_or_else(bad);
            if global
                && (key.starts_with(b"GNU.sparse.")
                    || matches!(key, b"path" | b"linkpath" | b"size"))
            {
                return Err(self.malformed("a global header renames every member"));
            }
            match key {
                b"path" => extended.name = text(value),
                b"linkpath" => extended.link = text(value),
                b"size" if value.is_empty() => extended.size = None,
                b"size" => extended.size = Some(number()?),
                b"mtime" if value.is_empty() => extended.mtime = None,
                b"mtime" => extended.mtime = Some(time(value).ok_or_else(bad)?),
                b"GNU.sparse.name" => extended.sparse_name = text(value),
                b"GNU.sparse.major" => extended.sparse_version.0 = Some(number()?),
                b"GNU.sparse.minor" => extended.sparse_version.1 = Some(number()?),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                    extended.sparse_size = Some(number()?);
                }
                b"GNU.sparse.map" => {
                    let numbers: Option<Vec<u64>> = match value {
                        b"" => Some(Vec::new()),
                        _ => value.split(|byte| *byte == b',').map(decimal).collect(),
                    };
                    extended.sparse_map = Some(numbers.ok_or_else(bad)?);
                }
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                    let map = extended.sparse_map.get_or_insert_default();
                    // Offset and length take turns.
                    if map.len().is_multiple_of(2) != (key == b"GNU.sparse.offset") {
                        return Err(bad());
                    }
                    map.push(number()?);
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn finish(&mut self, block: &Block, size: u64, extended: Extended) -> Result<Member, Error> {
        let gnu = &block[257..265] == b"ustar  \0";
        let posix = &block[257..262] == b"ustar" && !gnu;
        let name = extended.sparse_name.clone().or(extended.name).unwrap_or_else(|| {
            let mut name = Vec::new();
            if posix && block[345] != 0 {
                name.extend_from_slice(until_nul(&block[345..500]));
                name.push(b'/');
            }
            name.extend_from_slice(until_nul(&block[..100]));
            name
        });
        self.member.clear();
        self.member.extend_from_slice(&name[..name.len().min(PATH_MAX)]);

        let unsupported =
            |kind| Err(Error::UnsupportedMember { member: shown(&self.member), kind });
        let kind = match block[156] {
            0 | b'0' | b'7' if name.ends_with(b"/") => Kind::Directory,
            0 | b'0' | b'7' | b'S' => Kind::File,
            b'1' => Kind::HardLink,
            b'2' => Kind::Symlink,
            b'5' => Kind::Directory,
            b'6' => Kind::Fifo,
            b'3' => return unsupported("a character device"),
            b'4' => return unsupported("a block device"),
            b'M' => return unsupported("a part of another volume"),
            _ => return unsupported("of an unknown type"),
        };
        let size = extended.size.unwrap_or(size);
        if kind != Kind::File && size != 0 {
            return Err(self.malformed("only files have content"));
        }
        let link = match kind {
            Kind::HardLink | Kind::Symlink => {
                extended.link.unwrap_or_else(|| until_nul(&block[157..257]).to_vec())
            }
            _ => Vec::new(),
        };
        if kind == Kind::Symlink && (link.is_empty() || link.len() >= PATH_MAX || link.contains(&0))
        {
            return Err(self.malformed("its link target is empty, too long or holds a NUL byte"));
        }
        let mode = self.number(&block[100..108], "its mode is no number")? as u32 & 0o7777;
        let mtime = match extended.mtime.or(self.mtime) {
            Some(mtime) => mtime,
            None => Mtime {
                seconds: signed(&block[136..148])
                    .and_then(|seconds| i64::try_from(seconds).ok())
                    .ok_or_else(|| self.malformed("its time is no number"))?,
                nanoseconds: 0,
            },
        };
        if size > i64::MAX as u64 {
            return Err(self.malformed("its size is no number"));
        }
        (self.left, self.padding) = (size, padding(size));
        let mut member =
            Member { name, kind, link, mode, mtime, size, stored: size, segments: None };

        let version = extended.sparse_version;
        let map = if block[156] == b'S' {
            Some((self.old_map(block)?, self.number(&block[483..495], "its size is no number")?))
        } else if version.0.is_some_and(|major| major > 0) {
            if version != (Some(1), Some(0)) || kind != Kind::File {
                return Err(self.malformed("a sparse file of an unknown format"));
            }
            let map = self.stored_map()?;
            member.stored = self.left;
            Some((map, extended.sparse_size.ok_or_else(|| self.malformed("no real size"))?))
        } else if let Some(map) = extended.sparse_map {
            Some((map, extended.sparse_size.ok_or_else(|| self.malformed("no real size"))?))
        } else {
            None
        };
        if let Some((numbers, real)) = map {
            if kind != Kind::File {
                return Err(self.malformed("only files are sparse"));
            }
            member.segments = Some(
                segments(&numbers, real, member.stored)
                    .ok_or_else(|| self.malformed("its map of holes contradicts its size"))?,
            );
            member.size = real;
        }
        Ok(member)
    }

    fn old_map(&mut self, block: &Block) -> Result<Vec<u64>, Error> {
        let mut numbers = Vec::new();
        let mut take = |fields: &[u8]| -> Option<()> {
            for field in fields.chunks_exact(24) {
                if field[0] != 0 {
                    for half in [&field[..12], &field[12..]] {
                        numbers.push(u64::try_from(signed(half)?).ok()?);
                    }
                }
            }
            (numbers.len() <= 2 * MAX_SEGMENTS).then_some(())
        };
        let bad = "its map of holes is malformed";
        take(&block[386..482]).ok_or_else(|| self.malformed(bad))?;
        let mut more = block[482] != 0;
        while more {
            let mut next = [0; BLOCK];
            self.exact(&mut next)?;
            take(&next[..504]).ok_or_else(|| self.malformed(bad))?;
            more = next[504] != 0;
        }
        Ok(numbers)
    }

    /// The map of format 1.0, which stands before the content, in whole blocks.
    fn stored_map(&mut self) -> Result<Vec<u64>, Error> {
        let member = shown(&self.member);
        let bad =
            || Error::Malformed { member: member.clone(), why: "its map of holes is malformed" };
        let (mut numbers, mut wanted) = (Vec::new(), None);
        let (mut digits, mut number) = (0, 0_u64);
        loop {
            if self.left < BLOCK as u64 {
                return Err(bad());
            }
            let mut block = [0; BLOCK];
            self.exact(&mut block)?;
            self.left -= BLOCK as u64;
            for byte in block {
                match byte {
                    b'0'..=b'9' if digits < 20 => {
                        digits += 1;
                        number = number
                            .checked_mul(10)
                            .and_then(|number| number.checked_add(u64::from(byte - b'0')))
                            .ok_or_else(bad)?;
                    }
                    b'\n' if digits > 0 => {
                        match wanted {
                            None if number > MAX_SEGMENTS as u64 => return Err(bad()),
                            None => wanted = Some(2 * number as usize),
                            Some(_) => numbers.push(number),
                        }
                        (digits, number) = (0, 0);
                        if wanted == Some(numbers.len()) {
                            return Ok(numbers);
                        }
                    }
                    _ => return Err(bad()),
                }
            }
        }
    }
}

/// Whether a block is a header with the right checksum.
pub(crate) fn verified(block: &Block) -> bool {
    let sum = |value: fn(u8) -> i128| -> i128 {
        block
            .iter()
            .enumerate()
            .map(|(at, byte)| value(if (148..156).contains(&at) { b' ' } else { *byte }))
            .sum()
    };
    // Old tars summed signed characters.
    signed(&block[148..156]).is_some_and(|said| {
        said == sum(i128::from) || said == sum(|byte| i128::from(byte.cast_signed()))
    })
}

fn segments(numbers: &[u64], size: u64, stored: u64) -> Option<Vec<Segment>> {
    if !numbers.len().is_multiple_of(2)
        || numbers.len() > 2 * MAX_SEGMENTS
        || size > i64::MAX as u64
    {
        return None;
    }
    let (mut end, mut sum, mut segments) = (0_u64, 0_u64, Vec::new());
    for pair in numbers.chunks_exact(2) {
        let (offset, length) = (pair[0], pair[1]);
        if offset < end {
            return None;
        }
        end = offset.checked_add(length).filter(|end| *end <= size)?;
        sum += length;
        if length > 0 {
            segments.push(Segment { offset, length });
        }
    }
    (sum == stored).then_some(segments)
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

fn until_nul(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn text(value: &[u8]) -> Option<Vec<u8>> {
    (!value.is_empty()).then(|| value.to_vec())
}

fn decimal(field: &[u8]) -> Option<u64> {
    if field.is_empty() || !field.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(field).ok()?.parse().ok()
}

/// A number of a header: octal digits, or two's complement with the top bit set. Empty is zero.
fn signed(field: &[u8]) -> Option<i128> {
    if field[0] & 0x80 != 0 {
        let negative = field[0] == 0xff;
        let mut number = if negative { -1 } else { i128::from(field[0] & 0x7f) };
        for byte in &field[1..] {
            number = number << 8 | i128::from(*byte);
        }
        return Some(number);
    }
    let digits = until_nul(field).trim_ascii();
    if digits.is_empty() {
        return Some(0);
    }
    digits.iter().try_fold(0, |number, digit| {
        matches!(digit, b'0'..=b'7').then(|| number * 8 + i128::from(digit - b'0'))
    })
}

/// A time of a pax record: `-12.5`. What is finer than a nanosecond is cut.
fn time(value: &[u8]) -> Option<Mtime> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, part) = match value.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &b""[..]),
    };
    let seconds = i64::try_from(decimal(whole)?).ok()?;
    if !part.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let nanoseconds = (0..9)
        .fold(0, |sum, at| sum * 10 + u32::from(part.get(at).map_or(0, |digit| digit - b'0')));
    Some(match (negative, nanoseconds) {
        (false, _) => Mtime { seconds, nanoseconds },
        (true, 0) => Mtime { seconds: -seconds, nanoseconds },
        (true, _) => Mtime { seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds },
    })
}
