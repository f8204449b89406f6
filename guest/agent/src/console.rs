//! Lines for the machine's console, by way of the kernel's log.

use std::{
    fs::{File, OpenOptions},
    io::Write,
    sync::OnceLock,
};

static LOG: OnceLock<Option<File>> = OnceLock::new();

/// Writes one line. Before /dev is mounted, and where it cannot be written, it is lost.
pub fn note(text: &str) {
    let log = LOG.get_or_init(|| OpenOptions::new().write(true).open("/dev/kmsg").ok());
    if let Some(mut log) = log.as_ref() {
        let line: String = text.chars().take(900).filter(|c| !c.is_control()).collect();
        let _ = log.write_all(format!("<4>pyro-agent: {line}\n").as_bytes());
    }
}
