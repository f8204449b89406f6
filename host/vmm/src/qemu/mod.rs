//! QEMU's `microvm` machine under software emulation (TCG).
//!
//! Source: QEMU 7.2, `docs/system/i386/microvm.rst` and the manual page. The guest's port is a
//! virtio-serial port on descriptor 3, since TCG guests have no vsock device of their own.

mod template;

use std::path::{Path, PathBuf};

use pyro_core::{Channel, Launch};
use pyro_directory::Directory;
use serde_json::json;

pub use self::template::Saving;
use crate::{
    Backend, BackendName, HostClock, HostPrograms, Machine, Templates, VmmError,
    machine::{Drive, text},
};

/// The QEMU backend.
#[derive(Clone, Copy, Debug)]
pub struct Qemu;

/// Translated code is kept in at most this many MiB; QEMU's own bound is 1 GiB.
const TRANSLATION_BUFFER_MIB: u32 = 256;

/// The guest's port, on the descriptor that the keeper gives.
const PORT: &str = "socket,id=agent,fd=3";

/// Where a machine's memory is.
#[derive(Clone, Copy)]
enum Memory<'a> {
    /// Its own.
    Anonymous,
    /// A file that is written to.
    Shared(&'a Path),
    /// A file that is read until the machine writes: from then on, page by page, its own.
    Copied(&'a Path),
}

impl Backend for Qemu {
    fn name(&self) -> BackendName {
        BackendName::Qemu
    }

    fn find(&self, programs: &HostPrograms) -> Option<PathBuf> {
        programs.find("qemu-system-x86_64")
    }

    fn launch(
        &self,
        program: &Path,
        machine: &Machine,
        clock: HostClock,
        _directory: &Directory,
    ) -> Result<Launch, VmmError> {
        let arguments = arguments(machine, clock, Memory::Anonymous, PORT, block_device)?;
        Ok(Launch::new(text(program)?, arguments, Channel::Serial))
    }

    fn templates(&self) -> Option<&'static dyn Templates> {
        Some(&Self)
    }
}

/// What a machine is started with; what differs between a machine that boots, one that is saved and
/// one that is restored are the parameters.
fn arguments(
    machine: &Machine,
    clock: HostClock,
    memory: Memory<'_>,
    port: &str,
    block_device: impl Fn(&Drive<'_>) -> Result<String, VmmError>,
) -> Result<Vec<String>, VmmError> {
    let mut arguments: Vec<String> = Vec::new();
    let mut add = |words: &[&str]| arguments.extend(words.iter().map(ToString::to_string));
    add(&["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    add(&["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]);
    let file = match memory {
        Memory::Anonymous => None,
        Memory::Shared(path) => Some((path, "on")),
        Memory::Copied(path) => Some((path, "off")),
    };
    let size = format!("{}M", machine.memory.get());
    if let Some((path, share)) = file {
        let path = escaped(&text(path)?);
        let backend =
            format!("memory-backend-file,id=memory,size={size},mem-path={path},share={share}");
        add(&["-object", &backend, "-M", "microvm,pit=off,pic=off,rtc=on,memory-backend=memory"]);
    } else {
        add(&["-M", "microvm,pit=off,pic=off,rtc=on"]);
    }
    add(&["-accel", &format!("tcg,thread=multi,tb-size={TRANSLATION_BUFFER_MIB}")]);
    add(&["-cpu", "max,la57=off"]);
    add(&["-smp", &machine.vcpus.get().to_string()]);
    add(&["-m", &size]);
    add(&["-kernel", &text(&machine.kernel)?]);
    add(&["-initrd", &text(&machine.initramfs)?]);
    add(&["-append", &kernel_command_line(clock)]);
    add(&["-chardev", "stdio,id=serial,signal=off", "-serial", "chardev:serial"]);
    add(&["-device", "virtio-rng-device"]);
    add(&["-device", "virtio-serial-device,max_ports=2"]);
    add(&["-chardev", port]);
    add(&["-device", "virtserialport,id=port,chardev=agent,name=pyro.agent"]);
    for drive in machine.drives.in_order() {
        add(&["-blockdev", &block_device(&drive)?]);
        let id = drive.id;
        add(&["-device", &format!("virtio-blk-device,drive={id},serial=pyro-{id}")]);
    }
    Ok(arguments)
}

/// As QEMU's option lists take a value that may hold a comma.
fn escaped(value: &str) -> String {
    value.replace(',', ",,")
}

/// As JSON, so that a path may hold any character. The guest's flushes reach the host's disk
/// (write-back), and what it discards is given back.
fn block_device(drive: &Drive<'_>) -> Result<String, VmmError> {
    let cache = json!({ "direct": false, "no-flush": false });
    Ok(json!({
        "driver": "raw",
        "node-name": drive.id,
        "read-only": drive.is_read_only,
        "discard": "unmap",
        "cache": cache,
        "file": {
            "driver": "file",
            "filename": text(drive.path)?,
            "read-only": drive.is_read_only,
            "discard": "unmap",
            "cache": cache,
        },
    })
    .to_string())
}

/// Nothing in it belongs to one workspace. Without `tsc_early_khz` a guest hangs at boot, without
/// `tsc=reliable` one with several CPUs loses its clock. `norandmaps`: QEMU 7.2 keeps what it
/// translated by virtual address, so with random ones it translates every process anew; `/bin/true`
/// takes 5 ms instead of 25. `rcu_expedited` is Firecracker's too.
fn kernel_command_line(clock: HostClock) -> String {
    format!(
        "console=ttyS0 quiet reboot=t panic=-1 tsc_early_khz={} tsc=reliable no_timer_check \
         cryptomgr.notests norandmaps rcupdate.rcu_expedited=1",
        clock.tsc_khz
    )
}
