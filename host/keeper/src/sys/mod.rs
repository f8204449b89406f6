//! Starting the VMM as a child that dies with the keeper, and letting go of what the keeper itself
//! was started with.

#![allow(unsafe_code)]

use std::{
    fs::File,
    io::{self, PipeWriter},
    mem::ManuallyDrop,
    os::{
        fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::Stdio,
};

use pyro_core::Launch;
use rustix::{
    io::{dup2, fcntl_dupfd_cloexec},
    mm::{Advice, madvise},
    process::{Signal, getpid, getppid, set_parent_process_death_signal},
};
use tokio::process::{Child, Command};

/// Where [`pyro_core::Channel::Serial`] says the port is.
const PORT: RawFd = 3;
/// Where the VMM holds the keeper's lock: a keeper that is killed dies a moment before its VMM,
/// and only when both are gone may another begin.
const LOCK: RawFd = 4;
/// Where [`pyro_core::Launch::input`] says the file is.
const INPUT: RawFd = 5;
/// Above every descriptor that is replaced in the child.
const ASIDE: RawFd = 16;

/// What a VMM is started with.
pub struct Vmm<'a> {
    /// What to run.
    pub launch: &'a Launch,
    /// Its working directory.
    pub directory: &'a Path,
    /// Its standard output and error.
    pub output: PipeWriter,
    /// Its descriptor 3, if it has one.
    pub port: Option<UnixStream>,
    /// Its descriptor 4.
    pub lock: BorrowedFd<'a>,
}

/// Lets go of the pages of code that only the start needed: a keeper lives as long as its VM, and
/// there are as many as VMs. What is needed again comes back from the file.
pub fn release_code() {
    let Ok(mappings) = std::fs::read_to_string("/proc/self/maps") else { return };
    for (start, end) in mappings.lines().filter_map(code) {
        let address = std::ptr::without_provenance_mut(start);
        // SAFETY: private code of a file is never written, so that every page dropped here is read
        // from the file again, as it is, when it is used next.
        let _ = unsafe { madvise(address, end - start, Advice::LinuxDontNeed) };
    }
}

/// The addresses of a mapping that is code of a file (proc_pid_maps(5)).
fn code(mapping: &str) -> Option<(usize, usize)> {
    let mut fields = mapping.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let is_code = fields.next()? == "r-xp" && fields.nth(3)?.starts_with('/');
    let address = |text| usize::from_str_radix(text, 16).ok();
    is_code.then_some((address(start)?, address(end)?))
}

/// Closes every descriptor beyond the standard three, such as a pipe of the shell that somebody
/// waits for. To be called before anything is opened, by the thread that is the whole process.
pub fn close_inherited() -> io::Result<()> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd")? {
        numbers.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    for number in numbers {
        // The listing's own descriptor is among them, closed by now: dropping it twice would be an
        // error, so ask first.
        let is_open = std::fs::symlink_metadata(format!("/proc/self/fd/{number}")).is_ok();
        if number > 2 && is_open {
            // SAFETY: nothing in this process owns the descriptor yet, as the caller promises.
            drop(unsafe { OwnedFd::from_raw_fd(number) });
        }
    }
    Ok(())
}

/// Starts a VMM with an empty environment and nothing inherited but what [`Vmm`] names. The
/// kernel kills it when the calling thread ends.
pub fn spawn(vmm: Vmm<'_>) -> io::Result<Child> {
    // The numbers must be taken before the fork: else the standard library's own pipe, for errors
    // of exec, might stand there and be replaced.
    let _taken = [File::open("/dev/null")?, File::open("/dev/null")?, File::open("/dev/null")?];
    let lock = fcntl_dupfd_cloexec(vmm.lock, ASIDE)?;
    let port = vmm.port.map(|port| fcntl_dupfd_cloexec(port, ASIDE)).transpose()?;
    let input = vmm.launch.input.as_ref().map(File::open).transpose()?;
    let input = input.map(|input| fcntl_dupfd_cloexec(input, ASIDE)).transpose()?;
    let parent = getpid();
    let mut command = Command::new(&vmm.launch.program);
    command
        .args(&vmm.launch.arguments)
        .env_clear()
        .current_dir(vmm.directory)
        .stdin(Stdio::null())
        .stdout(vmm.output.try_clone()?)
        .stderr(vmm.output);
    let prepare = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        if getppid() != Some(parent) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let placed = [(port.as_ref(), PORT), (Some(&lock), LOCK), (input.as_ref(), INPUT)];
        for (descriptor, number) in placed {
            if let Some(descriptor) = descriptor {
                // SAFETY: in the child, between fork and exec, nobody else uses the number; what
                // stood there is closed by dup2, and ManuallyDrop leaves what stands there open.
                let mut target = ManuallyDrop::new(unsafe { OwnedFd::from_raw_fd(number) });
                dup2(descriptor, &mut target)?;
            }
        }
        Ok(())
    };
    // SAFETY: the closure only makes system calls; it neither allocates nor takes a lock, as
    // between fork and exec it must not.
    unsafe { command.pre_exec(prepare) };
    command.spawn()
}
