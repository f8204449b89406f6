//! The log of what the guest's console and the VMM print: the first and the last part of it.
//!
//! Owns the file's bounds. Nothing here waits for a disk: writes go to the page cache, and what
//! cannot be written is dropped.

use std::{
    fs::File,
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

/// The first part, kept for ever: how the guest booted.
const HEAD: u64 = 64 << 10;
/// The longest file; when it is reached, the older half of what follows the head goes.
const LIMIT: u64 = 256 << 10;
const KEPT: u64 = (LIMIT - HEAD) / 2;
const MARK: &[u8] = b"\n[... output was dropped here ...]\n";

/// A file of at most 256 KiB: the first 64 KiB and at least the last 96 KiB of what was appended.
#[derive(Debug)]
pub struct SerialLog {
    file: File,
    length: u64,
}

impl SerialLog {
    /// How much to append at once, in bytes.
    pub const CHUNK: usize = 64 << 10;

    /// Begins an empty log in place of an older one.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        Ok(Self { file: options.open(path)?, length: 0 })
    }

    /// Appends, dropping from the middle what does not fit.
    pub fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.length >= LIMIT {
                self.drop_middle()?;
            }
            let room = (LIMIT - self.length) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.file.write_all_at(now, self.length)?;
            self.length += now.len() as u64;
            bytes = later;
        }
        Ok(())
    }

    /// The last lines: at most 20 of them, at most 4 KiB, as text.
    pub fn last_lines(&self) -> String {
        const BYTES: u64 = 4 << 10;
        const LINES: usize = 20;
        let mut tail = vec![0; self.length.min(BYTES) as usize];
        let begin = self.length - tail.len() as u64;
        if self.file.read_exact_at(&mut tail, begin).is_err() {
            return String::new();
        }
        let text = String::from_utf8_lossy(&tail);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    }

    fn drop_middle(&mut self) -> io::Result<()> {
        let mut kept = vec![0; KEPT as usize];
        self.file.read_exact_at(&mut kept, self.length - KEPT)?;
        self.file.write_all_at(MARK, HEAD)?;
        self.file.write_all_at(&kept, HEAD + MARK.len() as u64)?;
        self.length = HEAD + MARK.len() as u64 + KEPT;
        self.file.set_len(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_the_beginning_and_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("serial.log");
        let mut log = SerialLog::create(&path).unwrap();
        log.append(b"first line\n").unwrap();
        for number in 0..200_000 {
            log.append(format!("line {number}\n").as_bytes()).unwrap();
        }
        log.append(&vec![b'x'; 1 << 20]).unwrap();
        log.append(b"\nlast line\n").unwrap();
        let content = std::fs::read(&path).unwrap();
        assert!(content.len() as u64 <= LIMIT);
        assert!(content.starts_with(b"first line\nline 0\n"));
        assert!(content.ends_with(b"xxx\nlast line\n"));
        assert_eq!(content.windows(MARK.len()).filter(|window| *window == MARK).count(), 1);
        assert!(log.last_lines().ends_with("\nlast line"));
        assert!(log.last_lines().len() <= 4 << 10);
    }

    #[test]
    fn a_quiet_console_is_kept_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("serial.log");
        let mut log = SerialLog::create(&path).unwrap();
        assert_eq!(log.last_lines(), "");
        for number in 0..30 {
            log.append(format!("line {number}\n").as_bytes()).unwrap();
        }
        assert_eq!(log.last_lines().lines().next(), Some("line 10"));
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("line 29\n"));
    }
}
