//! A loop in a throw-away VM.
//!
//! Source: Linux, `Documentation/virt/kvm/api.rst`; Intel SDM volume 3, chapter 10.8 (entering
//! 64-bit mode).

use std::time::{Duration, Instant};

use kvm_bindings::{kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd};

const PAGE: u64 = 4096;
const PAGES: usize = 8;
const LEVEL_4: u64 = PAGE;
const LEVEL_3: u64 = 2 * PAGE;
const LEVEL_2: u64 = 3 * PAGE;
const CODE: u64 = 4 * PAGE;
const OPERAND: u64 = 5 * PAGE;

const PRESENT_WRITABLE: u64 = 0b11;
const LARGE: u64 = 1 << 7;

/// At [`LOOP`] counts `ecx` down to zero; at [`EXCHANGE`] exchanges 16 bytes at `rdi`; each halts.
const PROGRAM: [u8; 10] = [
    0xff, 0xc9, // loop: dec ecx
    0x75, 0xfc, //       jnz loop
    0xf4, //             hlt
    0x48, 0x0f, 0xc7, 0x0f, // cmpxchg16b [rdi]
    0xf4, //             hlt
];
const LOOP: u64 = CODE;
const EXCHANGE: u64 = CODE + 5;

/// What a throw-away VM was seen to do.
pub struct Seen {
    /// How long the loop took.
    pub time: Duration,
    /// Whether `cmpxchg16b` works.
    pub exchange: Result<(), String>,
}

/// A page of the guest's memory, aligned as KVM wants it.
#[derive(Clone)]
#[repr(align(4096))]
struct Page([u8; PAGE as usize]);

fn put(memory: &mut [Page], address: u64, bytes: &[u8]) {
    memory[(address / PAGE) as usize].0[..bytes.len()].copy_from_slice(bytes);
}

/// Runs the loop of `steps` in a VM, once everything it touches is there, and the exchange.
pub fn run_in_guest(steps: u32) -> Result<Seen, String> {
    const WARM_UP: u32 = 100;
    let call = |what: &'static str| move |error: kvm_ioctls::Error| format!("{what}: {error}");

    let kvm = Kvm::new().map_err(call("open /dev/kvm"))?;
    let vm = kvm.create_vm().map_err(call("KVM_CREATE_VM"))?;
    let mut memory = vec![Page([0; PAGE as usize]); PAGES].into_boxed_slice();
    put(&mut memory, LEVEL_4, &(LEVEL_3 | PRESENT_WRITABLE).to_le_bytes());
    put(&mut memory, LEVEL_3, &(LEVEL_2 | PRESENT_WRITABLE).to_le_bytes());
    put(&mut memory, LEVEL_2, &(LARGE | PRESENT_WRITABLE).to_le_bytes());
    put(&mut memory, CODE, &PROGRAM);
    let region = kvm_userspace_memory_region {
        slot: 0,
        flags: 0,
        guest_phys_addr: 0,
        memory_size: PAGES as u64 * PAGE,
        userspace_addr: memory.as_mut_ptr() as u64,
    };
    // SAFETY: the memory is ours, aligned to pages, and outlives the VM: it is dropped after it.
    unsafe { vm.set_user_memory_region(region) }.map_err(call("KVM_SET_USER_MEMORY_REGION"))?;
    let mut vcpu = vm.create_vcpu(0).map_err(call("KVM_CREATE_VCPU"))?;
    enter_long_mode(&vcpu).map_err(call("KVM_SET_SREGS"))?;

    run(&mut vcpu, LOOP, WARM_UP)?;
    let begin = Instant::now();
    run(&mut vcpu, LOOP, steps)?;
    let time = begin.elapsed();
    let exchange = run(&mut vcpu, EXCHANGE, 0);
    drop((vcpu, vm));
    drop(memory);
    Ok(Seen { time, exchange })
}

/// How long the same loop takes on the host: the best of three.
pub fn time_loop_on_host(steps: u32) -> Duration {
    let one = || {
        let begin = Instant::now();
        // SAFETY: the loop touches one register and the flags, as declared.
        unsafe {
            std::arch::asm!(
                "2: dec {0:e}",
                "jnz 2b",
                inout(reg) steps => _,
                options(nomem, nostack)
            );
        }
        begin.elapsed()
    };
    (0..3).map(|_| one()).min().expect("there are three")
}

fn enter_long_mode(vcpu: &VcpuFd) -> Result<(), kvm_ioctls::Error> {
    const PROTECTION: u64 = 1;
    const PAGING: u64 = 1 << 31;
    const PHYSICAL_ADDRESS_EXTENSION: u64 = 1 << 5;
    const LONG_MODE_ENABLED_AND_ACTIVE: u64 = 1 << 8 | 1 << 10;
    let segment = kvm_segment {
        limit: 0xffff_ffff,
        present: 1,
        s: 1,
        g: 1,
        selector: 8,
        ..kvm_segment::default()
    };
    let code = kvm_segment { type_: 11, l: 1, ..segment };
    let data = kvm_segment { type_: 3, db: 1, selector: 16, ..segment };
    let mut registers = vcpu.get_sregs()?;
    registers.cr3 = LEVEL_4;
    registers.cr4 = PHYSICAL_ADDRESS_EXTENSION;
    registers.cr0 |= PROTECTION | PAGING;
    registers.efer |= LONG_MODE_ENABLED_AND_ACTIVE;
    registers.cs = code;
    (registers.ds, registers.es, registers.fs) = (data, data, data);
    (registers.gs, registers.ss) = (data, data);
    vcpu.set_sregs(&registers)
}

fn run(vcpu: &mut VcpuFd, from: u64, steps: u32) -> Result<(), String> {
    let mut registers = vcpu.get_regs().map_err(|error| format!("KVM_GET_REGS: {error}"))?;
    registers.rip = from;
    registers.rcx = steps.into();
    registers.rdi = OPERAND;
    registers.rflags = 2;
    vcpu.set_regs(&registers).map_err(|error| format!("KVM_SET_REGS: {error}"))?;
    match vcpu.run() {
        Ok(VcpuExit::Hlt) => Ok(()),
        Ok(VcpuExit::InternalError) => Err("an internal error of KVM".into()),
        Ok(exit) => Err(format!("the VM stopped unexpectedly: {exit:?}")),
        Err(error) => Err(format!("KVM_RUN: {error}")),
    }
}
