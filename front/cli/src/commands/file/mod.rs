//! Verbs on files.

pub(super) mod arrange;
pub(super) mod edit;
pub(super) mod list;
pub(super) mod read;
pub(super) mod search;
pub(super) mod write;

use std::{ffi::OsStr, fs::File, io::Read, os::unix::ffi::OsStrExt, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use pyro_client::FilePath;
use pyro_core::Problem;

use crate::printer::Printer;

/// A path as it was typed.
pub(super) fn file_path(path: &OsStr) -> FilePath {
    match path.to_str() {
        Some(text) => FilePath::from(text),
        None => FilePath {
            path: path.to_string_lossy().into_owned(),
            path_base64: Some(STANDARD.encode(path.as_bytes())),
        },
    }
}

/// Bytes, of which a text is told and, where that is not all, the bytes too.
pub(super) fn bytes_of(text: &str, coded: Option<&str>) -> Vec<u8> {
    coded.and_then(|coded| STANDARD.decode(coded).ok()).unwrap_or_else(|| text.as_bytes().to_vec())
}

pub(super) fn notices(printer: Printer, notices: &[String]) {
    for notice in notices {
        printer.notice(notice);
    }
}

/// More than the node takes, so that it says so.
const MOST: u64 = (1 << 20) + 1;

/// A file of this host, or standard input.
pub(super) fn host_content(path: &Path) -> Result<Vec<u8>, Problem> {
    let mut content = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(MOST).read_to_end(&mut content)
    } else {
        File::open(path).and_then(|file| file.take(MOST).read_to_end(&mut content))
    };
    read.map_err(|error| {
        Problem::invalid("file_unreadable", format!("cannot read {}", path.display())).cause(error)
    })?;
    Ok(content)
}
