//! Firecracker's configuration file.
//!
//! Source: Firecracker 1.12, `src/firecracker/swagger/firecracker.yaml` and
//! `tests/framework/vm_config.json`; field names are theirs.

use serde::Serialize;

use crate::{
    Machine, VmmError,
    machine::{Drive, text},
};

/// Nothing in it belongs to one workspace. With `rcu_expedited` mounts and name spaces, which a boot
/// makes many of, do not wait for a timer tick each.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 quiet reboot=k panic=-1 pci=off i8042.noaux \
    i8042.nomux i8042.dumbkbd random.trust_cpu=on cryptomgr.notests rcupdate.rcu_expedited=1";

/// The guest's vsock address; the same in every VM, as each has its own socket on the host.
const GUEST_CID: u32 = 3;

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
#[expect(clippy::struct_field_names, reason = "their names")]
pub struct Config {
    boot_source: BootSource,
    drives: Vec<BlockDevice>,
    machine_config: MachineConfig,
    vsock: Vsock,
    entropy: Entropy,
}

#[derive(Serialize)]
struct BootSource {
    kernel_image_path: String,
    initrd_path: String,
    boot_args: &'static str,
}

#[derive(Serialize)]
struct BlockDevice {
    drive_id: &'static str,
    path_on_host: String,
    is_root_device: bool,
    is_read_only: bool,
    /// `Writeback` passes the guest's flushes to the host's disk; `Unsafe` does not.
    cache_type: &'static str,
}

#[derive(Serialize)]
struct MachineConfig {
    vcpu_count: u8,
    mem_size_mib: u32,
}

#[derive(Serialize)]
struct Vsock {
    guest_cid: u32,
    uds_path: &'static str,
}

#[derive(Serialize)]
struct Entropy {}

impl Config {
    pub fn new(machine: &Machine) -> Result<Self, VmmError> {
        Ok(Self {
            boot_source: BootSource {
                kernel_image_path: text(&machine.kernel)?,
                initrd_path: text(&machine.initramfs)?,
                boot_args: KERNEL_COMMAND_LINE,
            },
            drives: machine.drives.in_order().iter().map(block_device).collect::<Result<_, _>>()?,
            machine_config: MachineConfig {
                vcpu_count: machine.vcpus.get(),
                mem_size_mib: machine.memory.get(),
            },
            vsock: Vsock { guest_cid: GUEST_CID, uds_path: "vm.sock" },
            entropy: Entropy {},
        })
    }
}

fn block_device(drive: &Drive<'_>) -> Result<BlockDevice, VmmError> {
    Ok(BlockDevice {
        drive_id: drive.id,
        path_on_host: text(drive.path)?,
        is_root_device: false,
        is_read_only: drive.is_read_only,
        cache_type: if drive.is_read_only { "Unsafe" } else { "Writeback" },
    })
}
