//! The archive a kernel unpacks into its first root: cpio in the "newc" form.
//!
//! Follows the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.

const REGULAR: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Writes an archive into memory; every entry belongs to root and has the time zero.
pub(crate) struct Writer {
    archive: Vec<u8>,
    next_inode: u32,
}

impl Writer {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { archive: Vec::with_capacity(bytes), next_inode: 1 }
    }

    pub(crate) fn directory(&mut self, path: &str, permissions: u32) {
        self.entry(path, DIRECTORY | permissions, (0, 0), &[]);
    }

    pub(crate) fn file(&mut self, path: &str, permissions: u32, content: &[u8]) {
        self.entry(path, REGULAR | permissions, (0, 0), content);
    }

    pub(crate) fn character_device(&mut self, path: &str, permissions: u32, device: (u32, u32)) {
        self.entry(path, CHARACTER_DEVICE | permissions, device, &[]);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.next_inode = 0;
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.archive
    }

    fn entry(&mut self, path: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        let links = if mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
        let size = u32::try_from(content.len()).expect("an agent or a module is under 4 GiB");
        let name_size = u32::try_from(path.len() + 1).expect("names here are short");
        self.archive.extend_from_slice(b"070701");
        let (major, minor) = device;
        for field in [
            self.next_inode,
            mode,
            0, // owner
            0, // group
            links,
            0, // time
            size,
            0, // device of the file system, major
            0, // and minor
            major,
            minor,
            name_size,
            0, // check sum, unused in this form
        ] {
            self.archive.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.archive.extend_from_slice(path.as_bytes());
        self.archive.push(0);
        self.pad();
        self.archive.extend_from_slice(content);
        self.pad();
        self.next_inode += 1;
    }

    fn pad(&mut self) {
        self.archive.resize(self.archive.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;

    fn sample() -> Vec<u8> {
        let mut writer = Writer::with_capacity(0);
        writer.directory("dev", 0o755);
        writer.character_device("dev/console", 0o600, (5, 1));
        writer.file("init", 0o755, b"12345");
        writer.finish()
    }

    #[test]
    fn entries_have_the_form_the_kernel_reads() {
        let archive = sample();
        assert_eq!(archive.len() % 4, 0);
        assert!(archive.starts_with(b"070701"));
        // "dev": a directory; 110 bytes of header, then the name padded to four bytes.
        assert_eq!(&archive[14..22], b"000041ed");
        assert_eq!(&archive[94..102], b"00000004");
        assert_eq!(&archive[110..116], b"dev\0\0\0");
        assert_eq!(&archive[116..122], b"070701");
        assert!(archive.ends_with(b"TRAILER!!!\0\0\0\0"), "{:?}", &archive[archive.len() - 16..]);
    }

    #[test]
    fn the_distributions_cpio_lists_it() {
        let Ok(mut cpio) = Command::new("cpio")
            .args(["--list", "--verbose", "--numeric-uid-gid", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
        else {
            return; // the other test covers the form where cpio is not installed
        };
        cpio.stdin.take().unwrap().write_all(&sample()).unwrap();
        let output = cpio.wait_with_output().unwrap();
        let list = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<&str> = list.lines().collect();
        assert!(lines[0].starts_with("drwxr-xr-x") && lines[0].ends_with("dev"), "{list}");
        assert!(lines[1].starts_with("crw-------") && lines[1].contains("5,"), "{list}");
        assert!(lines[2].starts_with("-rwxr-xr-x") && lines[2].contains(" 5 "), "{list}");
        assert_eq!(lines.len(), 3);
    }
}
