//! Where the node's own log goes.

use std::{fs, io, path::Path, sync::Mutex};

use tracing_subscriber::EnvFilter;

/// A log beyond this is put aside when the next node starts.
const ROTATE_BYTES: u64 = 8 << 20;

/// Logs to stderr, for a node in the foreground. `filter` is PYRO_LOG (`info` without it).
pub(crate) fn to_stderr(filter: Option<&str>) {
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter.unwrap_or("info")))
        .with_writer(io::stderr)
        .init();
}

/// Logs to `node.log` in the state directory, for a node that was started on demand.
pub(crate) fn to_file(state: &Path, filter: Option<&str>) -> io::Result<()> {
    fs::create_dir_all(state)?;
    let path = state.join("node.log");
    if fs::metadata(&path).is_ok_and(|log| log.len() > ROTATE_BYTES) {
        fs::rename(&path, state.join("node.log.1"))?;
    }
    let file = fs::OpenOptions::new().create(true).append(true).open(path)?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter.unwrap_or("info")))
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .init();
    Ok(())
}
