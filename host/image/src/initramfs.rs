//! The first root of every guest: the agent as `/init`, and the kernel's modules.

use std::path::PathBuf;

use crate::{
    Cache, Digest, Error, Kernel, Result,
    cache::{read_bounded, write_synced},
    cpio::Writer,
    module::lighten,
};

/// Changes whenever the same inputs give another archive.
const FORMAT: u32 = 2;
const MODULE_LIMIT: usize = 64 << 20;

/// The initramfs for a kernel and an agent, made unless it is there.
///
/// It holds `/init` (the agent), `/modules/NN-NAME.ko` in loading order, `/dev/console`, and the
/// empty directories `/proc`, `/sys`, `/run`, `/mnt` and `/tmp`.
pub fn build(cache: &Cache, kernel: &Kernel, agent: &[u8]) -> Result<PathBuf> {
    let format = FORMAT.to_le_bytes();
    let digest = Digest::of_parts(&[&format, kernel.digest.as_str().as_bytes(), agent]);
    let place = cache.place("boot", &digest).join("initramfs.cpio");
    if place.exists() {
        return Ok(place);
    }
    let mut writer = Writer::with_capacity(agent.len() + (4 << 20));
    for directory in ["dev", "proc", "sys", "run", "mnt", "tmp", "modules"] {
        writer.directory(directory, 0o755);
    }
    writer.character_device("dev/console", 0o600, (5, 1));
    writer.file("init", 0o755, agent);
    for (path, name) in kernel.modules.iter().zip(&kernel.manifest.modules) {
        let module = read_bounded(path, MODULE_LIMIT)
            .map_err(|source| Error::Read { path: path.clone(), source })?;
        writer.file(&format!("modules/{name}"), 0o644, &lighten(module));
    }
    let building = cache.start_building()?;
    write_synced(&building.make_content()?.join("initramfs.cpio"), &writer.finish())?;
    cache.publish(&building, "boot", &digest)?;
    Ok(place)
}
