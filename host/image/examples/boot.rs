//! Makes what one machine boots from, to be started by hand: `cargo run -p pyro-image --example boot
//! -- CACHE ENVIRONMENT AGENT DIRECTORY` prints the kernel, the initramfs and the four drives.
#![allow(clippy::print_stdout, missing_docs)]

use std::{error::Error, fs, path::Path};

use pyro_core::Mebibytes;
use pyro_image::{Cache, disk, initramfs, seed};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [cache, environment, agent, directory] = &*arguments else {
        return Err("usage: boot CACHE ENVIRONMENT AGENT DIRECTORY".into());
    };
    let cache = Cache::open(Path::new(cache))?;
    let kernel = cache.kernel()?.ok_or("no kernel: run the example `build`")?;
    let environment = cache.environment(&environment.parse()?)?.ok_or("not built")?;
    let directory = Path::new(directory);
    fs::create_dir_all(directory)?;
    let workspace = directory.join("workspace.ext4");
    let agent_disk = directory.join("agent.ext4");
    disk::create_workspace(&cache, &workspace, Mebibytes::new(20_480))?;
    disk::create_agent(&cache, &agent_disk)?;
    let initramfs = initramfs::build(&cache, &kernel, &fs::read(agent)?)?;
    for path in [
        &kernel.vmlinux,
        &initramfs,
        &environment.root,
        &seed::empty(&cache)?,
        &workspace,
        &agent_disk,
    ] {
        println!("{}", path.display());
    }
    Ok(())
}
