//! Where the checkout and cargo are.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The checkout this program was built from.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().expect("xtask stands in a directory of the checkout").to_owned()
}

/// The cargo that runs this program.
#[expect(clippy::disallowed_methods, reason = "a developer's program reads the environment")]
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
