//! What a process does to itself before it becomes another program, and what can be seen of it.

use std::{
    ffi::{CStr, CString},
    io,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd},
};

/// Name spaces to leave for new ones, as in unshare(2).
pub fn unshare(flags: libc::c_int) -> io::Result<()> {
    // SAFETY: unshare takes a number. CLONE_FILES, the one flag that could make descriptors of
    // this process mean something else in a thread, is not used here.
    super::check(libc::c_long::from(unsafe { libc::unshare(flags) })).map(drop)
}

/// Blocks no signal, and gives SIGPIPE its default again: the one that a Rust program ignores, and
/// so the only one that another program would inherit as ignored.
pub fn clear_signals() {
    // SAFETY: SIG_DFL is a valid disposition.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    // SAFETY: an all-zero sigset_t is the empty set, and it lives across the call.
    unsafe {
        let empty: libc::sigset_t = std::mem::zeroed();
        libc::sigprocmask(libc::SIG_SETMASK, &raw const empty, std::ptr::null_mut());
    }
}

/// Closes every descriptor but the three streams and this one, which goes on under another number
/// and is closed by the next exec. For a process in which no other object uses a descriptor later.
pub fn keep_only(kept: OwnedFd) -> OwnedFd {
    const FIRST: RawFd = 3;
    // SAFETY: all four calls take numbers. The caller has no other object of a descriptor that is
    // closed here; the new number belongs to the returned object alone.
    unsafe {
        if kept.as_raw_fd() != FIRST {
            libc::dup3(kept.as_raw_fd(), FIRST, libc::O_CLOEXEC);
            std::mem::forget(kept);
            libc::syscall(libc::SYS_close_range, FIRST + 1, libc::c_uint::MAX, 0);
            return OwnedFd::from_raw_fd(FIRST);
        }
        libc::syscall(libc::SYS_close_range, FIRST + 1, libc::c_uint::MAX, 0);
    }
    kept
}

/// Whether a process has been killed, be it that nothing of that shows yet: process_mrelease(2) takes
/// the memory of such processes only.
pub fn is_dying(pidfd: &impl AsFd) -> bool {
    let pidfd = pidfd.as_fd().as_raw_fd();
    // SAFETY: the call takes numbers, and reaches no memory but that of a process that has no use
    // for it any more.
    let answer = super::check(unsafe { libc::syscall(libc::SYS_process_mrelease, pidfd, 0) });
    let errno = answer.err().and_then(|error| error.raw_os_error());
    errno != Some(libc::EINVAL)
}

/// Becomes this user for good.
pub fn set_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of one slice; the other calls take numbers.
    unsafe {
        super::check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        super::check(libc::syscall(libc::SYS_setresgid, gid, gid, gid))?;
        super::check(libc::syscall(libc::SYS_setresuid, uid, uid, uid))?;
    }
    Ok(())
}

/// Becomes another program (execve(2)); returns only the error.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> io::Error {
    let pointers = |texts: &[CString]| -> Vec<*const libc::c_char> {
        texts.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both are arrays of C strings that end with a null pointer, and live across the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    io::Error::last_os_error()
}

/// Ends this process at once, without running anything on the way.
pub fn end_process(code: i32) -> ! {
    // SAFETY: _exit takes a number and does not return.
    unsafe { libc::_exit(code) }
}

/// Reaps a child that ended; says whether there was one.
pub fn reap_any() -> bool {
    let mut status = 0;
    // SAFETY: `status` lives across the call.
    unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::WNOHANG) > 0 }
}

/// The child that ended first and was not waited for; it stays so.
pub fn peek_child() -> Option<i32> {
    // SAFETY: an all-zero siginfo_t is valid and lives across the call; si_pid is what waitid
    // fills in, and stays zero where no child has ended.
    unsafe {
        let mut found: libc::siginfo_t = std::mem::zeroed();
        let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT | libc::__WALL;
        let result = libc::waitid(libc::P_ALL, 0, &raw mut found, options);
        (result == 0 && found.si_pid() > 0).then(|| found.si_pid())
    }
}

/// Closes every descriptor.
pub fn close_all() {
    // SAFETY: the one caller, the workload's init, owns no object that uses a descriptor later.
    unsafe {
        libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0);
    }
}

/// Blocks SIGCHLD, so that [`await_child`] does not miss one.
pub fn block_child_signal() {
    // SAFETY: the set lives across the calls, which fill it in before it is used.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
    }
}

/// Sleeps until a SIGCHLD is there, and takes it.
pub fn await_child() {
    // SAFETY: the set lives across the calls, which fill it in before it is used; a null pointer
    // stands for a siginfo that is not wanted.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigwaitinfo(&raw const set, std::ptr::null_mut());
    }
}

/// Lets the wall clock run faster or slower until it has gained this many microseconds
/// (adjtimex(2), `ADJ_OFFSET_SINGLESHOT`).
pub fn adjust_clock(micros: i64) -> io::Result<()> {
    // SAFETY: every field of timex is a number for which zero is valid; it lives across the call.
    unsafe {
        let mut change: libc::timex = std::mem::zeroed();
        change.modes = libc::ADJ_OFFSET_SINGLESHOT;
        change.offset = micros;
        super::check(libc::c_long::from(libc::adjtimex(&raw mut change))).map(drop)
    }
}
