//! A process of the workload's that is made ahead of its command, and then becomes it.
//!
//! Making a process takes longer than all that comes after; done ahead, nobody waits for it. The
//! recruit stands in the exec's cgroup and in a session of its own, holds nothing but its socket, and
//! ends when the agent closes it.
//!
//! The conversation, over a stream socket:
//!
//! | From | What |
//! |---|---|
//! | recruit | its PID as the workload sees it, u32 |
//! | agent | length u32, then that many bytes of a `StartExec`; descriptors: stdin, stdout, stderr, or its terminal alone |
//! | recruit | nothing, or [`Step`] and errno: it failed |
//!
//! The end of the socket without a failure means that it became the command. Refuses to know who
//! asks, and what becomes of it.

use std::{
    ffi::{CStr, CString},
    fs::{File, OpenOptions},
    io::{self, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
};

use pyro_wire::{Message, StartExec};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::{accounts, program, sys};

/// The longest request: a `StartExec` of the wire's longest message.
const MAX_REQUEST: usize = pyro_wire::MAX_MESSAGE;
/// `/etc/passwd` and `/etc/group` are read up to here.
const MAX_TEXT: u64 = 1024 * 1024;
/// They mostly fit into this.
const TEXT: usize = 4096;

/// Where a command's start failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Step {
    /// Preparing the process itself.
    Process = 1,
    /// Looking up the user.
    User = 2,
    /// Entering the working directory.
    Directory = 3,
    /// No program of that name.
    NotFound = 4,
    /// The program cannot be executed.
    Execute = 5,
}

impl Step {
    /// From its number.
    pub fn from_number(number: u32) -> Self {
        match number {
            2 => Self::User,
            3 => Self::Directory,
            4 => Self::NotFound,
            5 => Self::Execute,
            _ => Self::Process,
        }
    }
}

type Failed = (Step, io::Error);

/// The recruit's main: makes itself ready, waits for its command and becomes it. Returns where that
/// failed; nothing may be done in the process after that but end it.
pub fn serve(socket: OwnedFd, make: impl FnOnce() -> io::Result<()>) -> Step {
    let _ = rustix::thread::set_name(c"pyro-recruit");
    let made = make();
    // All that was inherited goes: whoever looks into this process finds nothing but its socket.
    let mut socket = File::from(sys::keep_only(socket));
    let pid = rustix::process::getpid().as_raw_nonzero().get();
    let _ = socket.write_all(&pid.to_le_bytes());
    if made.is_ok() {
        rehearse();
    }
    let (step, error) = match made.and_then(|()| receive(&mut socket)) {
        Ok((request, descriptors)) => become_command(&request, &descriptors),
        Err(error) => (Step::Process, error),
    };
    let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
    let _ = socket.write_all(&(step as u32).to_le_bytes());
    let _ = socket.write_all(&errno.to_le_bytes());
    step
}

fn receive(socket: &mut File) -> io::Result<(StartExec, Vec<OwnedFd>)> {
    let mut header = [0; 4];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut header)];
    let flags = RecvFlags::WAITALL | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(&*socket, &mut parts, &mut ancillary, flags)?;
    if received.bytes != header.len() {
        // It is not needed.
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let descriptors = ancillary
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        })
        .collect();
    let length = (u32::from_le_bytes(header) as usize).min(MAX_REQUEST);
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    let request = StartExec::decode(&body[..]).map_err(io::Error::other)?;
    Ok((request, descriptors))
}

/// Does what becoming a command takes, with one that cannot be: a forked process pays for every page
/// that it touches first, and now nobody waits for it.
fn rehearse() {
    let request = StartExec { arguments: vec![b"/"[..].into()], ..StartExec::default() };
    let _ = StartExec::decode(&request.encode_to_vec()[..]).map(|request| {
        let passwd = read_text("/etc/passwd").unwrap_or_default();
        accounts::find(&request.user, &passwd, &[]).map(|account| {
            let environment = program::environment(&account, &request.environment, false);
            execute(&request, &environment)
        })
    });
}

/// Becomes the command, or says where that failed.
fn become_command(request: &StartExec, descriptors: &[OwnedFd]) -> Failed {
    if let Err(error) = take_streams(request, descriptors) {
        return (Step::Process, error);
    }
    let read = |path: &str| read_text(path).unwrap_or_default();
    let passwd = read("/etc/passwd");
    // Root needs no group to do anything.
    let groups = if request.user.is_empty() { Vec::new() } else { read("/etc/group") };
    let Some(account) = accounts::find(&request.user, &passwd, &groups) else {
        return (Step::User, io::Error::from_raw_os_error(libc::ESRCH));
    };
    if request.terminal.is_some() {
        // As login(1) does, so that the user can open its own terminal.
        let _ = rustix::fs::fchown(
            rustix::stdio::stdin(),
            Some(rustix::fs::Uid::from_raw(account.uid)),
            Some(rustix::fs::Gid::from_raw(5)),
        );
    }
    if (account.uid, account.gid, &account.groups[..]) != (0, 0, &[0])
        && let Err(error) = sys::set_user(account.uid, account.gid, &account.groups)
    {
        return (Step::User, error);
    }
    let directory = match &request.working_directory[..] {
        b"" => b"/",
        directory => directory,
    };
    if let Err(error) = rustix::process::chdir(directory) {
        return (Step::Directory, error.into());
    }
    let environment =
        program::environment(&account, &request.environment, request.terminal.is_some());
    execute(request, &environment)
}

fn take_streams(request: &StartExec, descriptors: &[OwnedFd]) -> io::Result<()> {
    let streams = match (descriptors, request.terminal) {
        ([terminal], Some(_)) => {
            rustix::process::ioctl_tiocsctty(terminal)?;
            [terminal; 3]
        }
        ([stdin, stdout, stderr], None) => [stdin, stdout, stderr],
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let [stdin, stdout, stderr] = streams.map(AsFd::as_fd);
    rustix::stdio::dup2_stdin(stdin)?;
    rustix::stdio::dup2_stdout(stdout)?;
    rustix::stdio::dup2_stderr(stderr)?;
    Ok(())
}

/// Reads a regular file of the workload up to its bound; never waits for one that is not.
pub fn read_text(path: &str) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = Vec::with_capacity(TEXT);
    file.take(MAX_TEXT).read_to_end(&mut text)?;
    Ok(text)
}

fn execute(request: &StartExec, environment: &[(Vec<u8>, Vec<u8>)]) -> (Step, io::Error) {
    let invalid = || io::Error::from_raw_os_error(libc::EINVAL);
    let arguments: Result<Vec<CString>, _> =
        request.arguments.iter().map(|argument| CString::new(&argument[..])).collect();
    let variables: Result<Vec<CString>, _> = environment
        .iter()
        .map(|(name, value)| CString::new([&name[..], b"=", &value[..]].concat()))
        .collect();
    let (Ok(arguments), Ok(variables)) = (arguments, variables) else {
        return (Step::Execute, invalid());
    };
    let Some(first) = request.arguments.first() else {
        return (Step::NotFound, invalid());
    };
    let path = environment.iter().find(|(name, _)| name == b"PATH");
    let path = path.map_or(program::PATH, |(_, value)| value);
    let mut failure = (Step::NotFound, io::Error::from_raw_os_error(libc::ENOENT));
    for candidate in program::candidates(first, path) {
        let error = sys::execute(&candidate, &arguments, &variables);
        match error.raw_os_error() {
            // There, but its interpreter is not.
            Some(libc::ENOENT) if exists(&candidate) => return (Step::Execute, error),
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            // Another directory of the PATH may have a better one.
            Some(libc::EACCES) => failure = (Step::Execute, error),
            _ => return (Step::Execute, error),
        }
    }
    failure
}

fn exists(path: &CStr) -> bool {
    rustix::fs::stat(path).is_ok()
}
