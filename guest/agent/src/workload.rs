//! The workload's own process: makes its name spaces and root, then starts commands in them.
//!
//! A process of its own (`/init workload`, control socket as stdin) with a single thread, so that a
//! plain fork is safe, and small, so that it is cheap. It stays in the agent's PID name space, where
//! nothing inside can see or signal it; its children (`recruit`) are in the workload's, and are the
//! *agent's* children (`CLONE_PARENT`), which waits for them.
//!
//! What is the same for every workspace is made first, at once: a VM that is saved has it. Root and
//! name come later.
//!
//! Refuses to know commands, records, output: it hands over a pidfd and forgets.
//!
//! The conversation, over a stream socket:
//!
//! | From | What |
//! |---|---|
//! | workload | [`Answer`] once its name spaces are made, with nothing in it; or an error text |
//! | agent | length u8, then that many bytes of the host name; descriptors: the [`Home`] |
//! | workload | [`Answer`] once it stands in it: `pid` and pidfd of the name space's PID 1; or an error text |
//! | agent | [`START_RECRUIT`]; descriptors: cgroup, the recruit's socket |
//! | workload | [`Answer`]: `pid` and pidfd |
//! | agent | [`OPEN_TERMINAL`] |
//! | workload | [`Answer`]: master and slave |

use std::{
    ffi::CStr,
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{self, IoSlice, IoSliceMut, Read, Write},
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt},
    },
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags},
    mount::{
        MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, move_mount,
        open_tree,
    },
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
        SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
    },
    process::{Resource, Rlimit},
    pty::OpenptFlags,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{
    console, reaper,
    recruit::{self, read_text},
    sys,
};

/// Where the agent mounts the workload's root, before it becomes `/` of the workload.
pub const ROOT: &str = "/workload";
/// Where the agent mounts what becomes `/workspace`.
pub const WORKSPACE: &str = "/workspace";
/// The workspace disk's own file system, in the agent's name space only.
pub const DISK: &str = "/disk";
/// The workload's cgroup; its name space begins here.
pub const CGROUP: &str = "/sys/fs/cgroup/pyro/workload";
/// The agent's own cgroup.
pub const AGENT_CGROUP: &str = "/sys/fs/cgroup/agent";
/// Where the workload's PID 1 stands: outside what the workload can name.
pub const INIT_CGROUP: &str = "/sys/fs/cgroup/pyro/init";

/// Where its process mounts what it takes along, in a name space of its own.
const FURNITURE: &str = "/furniture";

/// Asks for a process that will be told its command.
pub const START_RECRUIT: u8 = 1;
/// Asks for a terminal.
pub const OPEN_TERMINAL: u8 = 2;
/// The longest text of an error.
const MAX_TEXT: usize = 4096;
/// Bytes of an [`Answer`].
pub const ANSWER_BYTES: usize = 12;

/// What the workload's process answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The new process, as the agent sees it; 0 if there is none.
    pub pid: i32,
    /// Why there is none.
    pub errno: i32,
    /// How many bytes of text follow.
    pub text: u32,
}

impl Answer {
    /// As bytes.
    pub fn to_bytes(self) -> [u8; ANSWER_BYTES] {
        let mut bytes = [0; ANSWER_BYTES];
        bytes[..4].copy_from_slice(&self.pid.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.errno.to_le_bytes());
        bytes[8..].copy_from_slice(&self.text.to_le_bytes());
        bytes
    }

    /// From bytes; a text over its limit is cut to it.
    pub fn from_bytes(bytes: [u8; ANSWER_BYTES]) -> Self {
        let word = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        Self {
            pid: i32::from_le_bytes(word(0)),
            errno: i32::from_le_bytes(word(4)),
            text: u32::from_le_bytes(word(8)).min(MAX_TEXT as u32),
        }
    }
}

/// A step of making the workload failed.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
struct Failed {
    what: String,
    source: io::Error,
}

trait Doing<T> {
    fn doing(self, what: impl Into<String>) -> Result<T, Failed>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl Into<String>) -> Result<T, Failed> {
        self.map_err(|error| Failed { what: what.into(), source: error.into() })
    }
}

/// What the process keeps for the commands it starts.
struct Workload {
    control: OwnedFd,
    /// The whole VM's /proc: the workload's own may be covered by anything.
    processes: OwnedFd,
    /// The workload's devpts, whatever is mounted over it later.
    terminals: OwnedFd,
    /// The name space each command enters; this process stands in the agent's, because it puts
    /// processes into groups that those inside may not leave.
    cgroups: OwnedFd,
}

/// File systems of a workload that are detached from where the agent mounted them.
#[derive(Debug)]
pub struct Home {
    /// Becomes `/`.
    root: OwnedFd,
    /// Becomes `/workspace`.
    workspace: OwnedFd,
    /// Becomes `/var/lib/docker`.
    docker: OwnedFd,
    /// Becomes `/var/lib/containers`.
    containers: OwnedFd,
}

/// How many they are.
pub const HOME_TREES: usize = 4;
/// The longest host name, in bytes.
pub const MAX_HOSTNAME: usize = 64;

impl Home {
    /// In the agent: from its own mounts.
    pub fn of_agent() -> io::Result<Self> {
        let tree = |path: &str| clone_tree(path, false).map_err(io::Error::other);
        Ok(Self {
            root: tree(ROOT)?,
            workspace: tree(WORKSPACE)?,
            docker: tree(&format!("{DISK}/docker"))?,
            containers: tree(&format!("{DISK}/containers"))?,
        })
    }

    /// As they are handed over.
    pub fn trees(&self) -> [BorrowedFd<'_>; HOME_TREES] {
        [&self.root, &self.workspace, &self.docker, &self.containers].map(AsFd::as_fd)
    }

    /// The host name and the trees; none where the agent has gone.
    fn receive(control: &OwnedFd) -> io::Result<Option<(String, Self)>> {
        let invalid = || io::Error::from(io::ErrorKind::InvalidData);
        let mut bytes = [0; 1 + MAX_HOSTNAME];
        let (count, descriptors) = receive(control, &mut bytes)?;
        if count == 0 {
            return Ok(None);
        }
        let name = bytes.get(1..count).filter(|name| name.len() == usize::from(bytes[0]));
        let hostname = String::from_utf8(name.ok_or_else(invalid)?.to_vec());
        let trees: [OwnedFd; HOME_TREES] = descriptors.try_into().map_err(|_| invalid())?;
        let [root, workspace, docker, containers] = trees;
        let home = Self { root, workspace, docker, containers };
        Ok(Some((hostname.map_err(|_| invalid())?, home)))
    }
}

/// The process's main: returns when the agent has closed the socket.
pub fn main() -> io::Result<()> {
    let control = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    let preparation = match Preparation::make() {
        Ok(preparation) => preparation,
        Err(error) => return tell(control, &error),
    };
    answer(&control, Answer { pid: 0, errno: 0, text: 0 }, &[])?;
    let Some((hostname, home)) = Home::receive(&control)? else { return Ok(()) };
    let (workload, pid, pidfd) = match preparation.move_in(&hostname, &home, &control) {
        Ok(made) => made,
        Err(error) => return tell(control, &error),
    };
    answer(&control, Answer { pid, errno: 0, text: 0 }, &[pidfd.as_fd()])?;
    drop((control, pidfd, home));
    while let Some((request, descriptors)) = workload.receive()? {
        workload.serve(request, descriptors)?;
    }
    Ok(())
}

/// Tells why there is no workload.
fn tell(control: OwnedFd, error: &Failed) -> io::Result<()> {
    let mut text = error.to_string().into_bytes();
    text.truncate(MAX_TEXT);
    let errno = error.source.raw_os_error().unwrap_or(0).max(1);
    answer(&control, Answer { pid: 0, errno, text: text.len() as u32 }, &[])?;
    File::from(control).write_all(&text)
}

/// Some bytes and what came with them.
fn receive(control: &OwnedFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(HOME_TREES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(bytes)];
    let received = recvmsg(control, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = ancillary
        .drain()
        .flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => descriptors.collect(),
            _ => Vec::new(),
        })
        .collect();
    Ok((received.bytes, descriptors))
}

fn answer(control: &OwnedFd, answer: Answer, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let bytes = answer.to_bytes();
    sendmsg(control, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

impl Workload {
    fn receive(&self) -> io::Result<Option<(u8, Vec<OwnedFd>)>> {
        let mut request = [0];
        let (count, descriptors) = receive(&self.control, &mut request)?;
        Ok((count != 0).then_some((request[0], descriptors)))
    }

    /// Does one thing and answers. Only a lost agent is an error here.
    fn serve(&self, request: u8, descriptors: Vec<OwnedFd>) -> io::Result<()> {
        let done = match request {
            OPEN_TERMINAL => self.open_terminal().map(|ends| (0, ends.into())),
            _ => self.start_recruit(descriptors),
        };
        match done {
            Ok((pid, descriptors)) => {
                let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
                answer(&self.control, Answer { pid, errno: 0, text: 0 }, &descriptors)
            }
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
                answer(&self.control, Answer { pid: 0, errno, text: 0 }, &[])
            }
        }
    }

    fn start_recruit(&self, descriptors: Vec<OwnedFd>) -> io::Result<(i32, Vec<OwnedFd>)> {
        let [cgroup, socket]: [OwnedFd; 2] =
            descriptors.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        match sys::fork_into(cgroup.as_fd())? {
            sys::Forked::Parent { pid, pidfd } => Ok((pid, vec![pidfd])),
            sys::Forked::Child => {
                let step = recruit::serve(socket, || self.make_recruit());
                sys::end_process(step as i32)
            }
        }
    }

    /// In the child: what can be done before the command is known.
    fn make_recruit(&self) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let score =
            rustix::fs::openat(&self.processes, "self/oom_score_adj", flags, Mode::empty())?;
        rustix::io::write(&score, b"0")?;
        enter_cgroups(&self.cgroups)?;
        rustix::process::setsid()?;
        sys::clear_signals();
        Ok(())
    }

    /// Both sides of a new terminal: master, slave.
    fn open_terminal(&self) -> io::Result<[OwnedFd; 2]> {
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let master = rustix::fs::openat(&self.terminals, "ptmx", flags, Mode::empty())?;
        rustix::pty::unlockpt(&master)?;
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
        Ok([master, slave])
    }
}

/// The kernel's form of a window's size.
pub fn window_size(size: pyro_wire::Terminal) -> rustix::termios::Winsize {
    let cells = |count: u32| count.min(u32::from(u16::MAX)) as u16;
    rustix::termios::Winsize {
        ws_col: cells(size.columns),
        ws_row: cells(size.rows),
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

/// Name spaces, and in them what is the same in every workload.
struct Preparation {
    processes: OwnedFd,
    own_cgroups: OwnedFd,
    cgroups: OwnedFd,
    init_cgroup: OwnedFd,
    furniture: Furniture,
}

impl Preparation {
    fn make() -> Result<Self, Failed> {
        let name_space = || {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::open("/proc/self/ns/cgroup", flags, Mode::empty())
                .doing("opening the cgroup name space")
        };
        let own_cgroups = name_space()?;
        enter_name_spaces()?;
        let cgroups = name_space()?;
        sys::bring_up_loopback().doing("bringing up lo")?;
        let directory = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let processes =
            rustix::fs::open("/proc", directory, Mode::empty()).doing("opening /proc")?;
        let init_cgroup = rustix::fs::open(INIT_CGROUP, directory, Mode::empty())
            .doing("opening the cgroup of the workload's init")?;
        rustix::mount::mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .doing("making the mounts private")?;
        let furniture = Furniture::make()?;
        leave_mounts()?;
        limit();
        Ok(Self { processes, own_cgroups, cgroups, init_cgroup, furniture })
    }

    /// Makes root and PID 1. Gives what to keep, and PID 1's process id and pidfd.
    fn move_in(
        self,
        hostname: &str,
        home: &Home,
        control: &OwnedFd,
    ) -> Result<(Workload, i32, OwnedFd), Failed> {
        rustix::system::sethostname(hostname.as_bytes()).doing("setting the host name")?;
        enter_root(home)?;
        self.furniture.place()?;
        name_machine(hostname, None);
        enter_cgroups(&self.own_cgroups).doing("returning to the agent's cgroup name space")?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let terminals =
            rustix::fs::open("/dev/pts", flags, Mode::empty()).doing("opening /dev/pts")?;
        let null =
            File::options().read(true).write(true).open("/dev/null").doing("opening /dev/null")?;
        sys::unshare(libc::CLONE_NEWPID).doing("making the PID name space")?;
        let (pid, pidfd) = start_init(&self.init_cgroup)?;
        // stdin was the control socket; no child may have it.
        rustix::stdio::dup2_stdin(&null).doing("letting go of stdin")?;
        sys::deny_vsock().doing("denying vsock")?;
        let control = control.try_clone().doing("keeping the control socket")?;
        let Self { processes, cgroups, .. } = self;
        Ok((Workload { control, processes, terminals, cgroups }, pid, pidfd))
    }
}

fn enter_cgroups(name_space: &OwnedFd) -> io::Result<()> {
    let kind = Some(LinkNameSpaceType::ControlGroup);
    Ok(move_into_link_name_space(name_space.as_fd(), kind)?)
}

fn enter_name_spaces() -> Result<(), Failed> {
    let procs = |cgroup: &str| {
        let path = format!("{cgroup}/cgroup.procs");
        OpenOptions::new().write(true).open(&path).doing(path)
    };
    // The cgroup name space begins where this process stands when it makes it.
    let mut home = procs(AGENT_CGROUP)?;
    procs(CGROUP)?.write_all(b"0").doing("entering the workload's cgroup")?;
    let unshared = sys::unshare(
        libc::CLONE_NEWNS
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWNET
            | libc::CLONE_NEWCGROUP,
    );
    home.write_all(b"0").doing("returning to the agent's cgroup")?;
    unshared.doing("making the name spaces")
}

/// A mount, alone or with what is mounted below it, that is mounted nowhere.
fn clone_tree(path: &str, is_whole: bool) -> Result<OwnedFd, Failed> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, is_whole);
    open_tree(CWD, path, flags).doing(format!("taking {path}"))
}

fn place(tree: BorrowedFd<'_>, target: &str) -> Result<(), Failed> {
    move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .doing(format!("mounting {target}"))
}

/// Leaves the agent's mounts behind.
fn leave_mounts() -> Result<(), Failed> {
    let mounts = fs::read_to_string("/proc/self/mounts").doing("reading the mounts")?;
    for target in mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)) {
        if target != "/" && !target.starts_with("/proc") {
            rustix::mount::unmount(target, UnmountFlags::DETACH)
                .doing(format!("leaving {target}"))?;
        }
    }
    rustix::mount::unmount("/proc", UnmountFlags::DETACH).doing("leaving /proc")?;
    // What the workload finds should it ever take its root away: nothing.
    mount("tmpfs", "/", "tmpfs", MountFlags::RDONLY, c"size=4k")
}

/// Stands in the workload's root.
///
/// The root of an initramfs cannot be pivoted away from, so the new root is moved over it; nothing
/// else of the agent's is left in this name space.
fn enter_root(home: &Home) -> Result<(), Failed> {
    let [root, workspace, docker, containers] = home.trees();
    rustix::process::chdir("/").doing("entering the covered root")?;
    place(root, "/")?;
    // The path "/" still means the initramfs under all these; the tree's own descriptor does not.
    rustix::process::fchdir(root).doing("entering the workload's root")?;
    rustix::process::chroot(".").doing("making it the root")?;
    for (tree, target) in [
        (workspace, "/workspace"),
        (docker, "/var/lib/docker"),
        (containers, "/var/lib/containers"),
    ] {
        ensure_directory(target, 0o755)?;
        place(tree, target)?;
    }
    Ok(())
}

fn mount(
    source: &str,
    target: &str,
    kind: &str,
    flags: MountFlags,
    data: &CStr,
) -> Result<(), Failed> {
    rustix::mount::mount(source, target, kind, flags, data).doing(format!("mounting {target}"))
}

fn ensure_directory(path: &str, mode: u32) -> Result<(), Failed> {
    if fs::metadata(path).is_ok_and(|found| found.is_dir()) {
        return Ok(());
    }
    // Something else may have taken its place; a mount needs a directory there.
    if fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir()) {
        fs::remove_file(path).doing(format!("removing what stands in the place of {path}"))?;
    }
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
        .doing(format!("making {path}"))
}

/// What every Linux program expects to find mounted, mounted nowhere yet.
struct Furniture {
    sys: OwnedFd,
    run: OwnedFd,
    dev: OwnedFd,
}

impl Furniture {
    fn make() -> Result<Self, Failed> {
        for directory in ["sys", "run", "dev"] {
            ensure_directory(&format!("{FURNITURE}/{directory}"), 0o755)?;
        }
        let at = |path: &str| format!("{FURNITURE}/{path}");
        let quiet = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
        mount("sysfs", &at("sys"), "sysfs", quiet | MountFlags::RDONLY, c"")?;
        mount("cgroup2", &at("sys/fs/cgroup"), "cgroup2", quiet, c"")?;
        let own = MountFlags::NOSUID | MountFlags::NODEV;
        mount("tmpfs", &at("run"), "tmpfs", own, c"mode=755")?;
        ensure_directory(&at("run/lock"), 0o1777)?;
        mount("tmpfs", &at("dev"), "tmpfs", MountFlags::NOSUID, c"mode=755,size=1m")?;
        for (name, major, minor) in [
            ("null", 1, 3),
            ("zero", 1, 5),
            ("full", 1, 7),
            ("random", 1, 8),
            ("urandom", 1, 9),
            ("tty", 5, 0),
            ("fuse", 10, 229),
        ] {
            let path = at(&format!("dev/{name}"));
            let device = rustix::fs::makedev(major, minor);
            let mode = Mode::from_raw_mode(0o666);
            rustix::fs::mknodat(CWD, &path, FileType::CharacterDevice, mode, device)
                .doing(format!("making {path}"))?;
            rustix::fs::chmod(&path, mode).doing(format!("opening up {path}"))?;
        }
        for name in ["pts", "shm", "mqueue"] {
            ensure_directory(&at(&format!("dev/{name}")), 0o755)?;
        }
        let terminals = c"newinstance,ptmxmode=0666,mode=620,gid=5";
        let loud = MountFlags::NOSUID | MountFlags::NOEXEC;
        mount("devpts", &at("dev/pts"), "devpts", loud, terminals)?;
        mount("shm", &at("dev/shm"), "tmpfs", own, c"mode=1777")?;
        mount("mqueue", &at("dev/mqueue"), "mqueue", quiet, c"")?;
        for (name, target) in [
            ("ptmx", "pts/ptmx"),
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
        ] {
            rustix::fs::symlink(target, at(&format!("dev/{name}")))
                .doing(format!("linking /dev/{name}"))?;
        }
        let taken = |name: &str| clone_tree(&at(name), true);
        Ok(Self { sys: taken("sys")?, run: taken("run")?, dev: taken("dev")? })
    }

    /// Puts it into the root that this process stands in.
    fn place(&self) -> Result<(), Failed> {
        for (path, mode) in [
            ("/proc", 0o555),
            ("/sys", 0o555),
            ("/dev", 0o755),
            ("/run", 0o755),
            ("/tmp", 0o1777),
            ("/etc", 0o755),
            ("/root", 0o700),
        ] {
            ensure_directory(path, mode)?;
        }
        for (tree, target) in [(&self.sys, "/sys"), (&self.run, "/run"), (&self.dev, "/dev")] {
            place(tree.as_fd(), target)?;
        }
        Ok(())
    }
}

/// Gives the workload another host name, from a thread that ends afterwards: it is in another name space
/// then, and has another root.
pub fn rename(process: i32, root: &OwnedFd, was: &str, hostname: &str) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let names = rustix::fs::open(format!("/proc/{process}/ns/uts"), flags, Mode::empty())?;
    let kind = Some(LinkNameSpaceType::HostNameAndNISDomainName);
    move_into_link_name_space(names.as_fd(), kind)?;
    rustix::system::sethostname(hostname.as_bytes())?;
    sys::unshare(libc::CLONE_FS)?;
    rustix::process::fchdir(root)?;
    rustix::process::chroot(".")?;
    name_machine(hostname, Some(was));
    Ok(())
}

/// What `/etc/hosts` says of this machine.
fn line_of(hostname: &str) -> String {
    format!("127.0.1.1\t{hostname}\n")
}

/// `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`, only where they say nothing of this
/// machine yet: the user's own changes stay. A full disk is no reason not to start.
fn name_machine(hostname: &str, was: Option<&str>) {
    let is_regular = |path: &str| {
        fs::symlink_metadata(path)
            .map_or(true, |found| found.is_file() && !found.file_type().is_fifo())
    };
    let read =
        |path: &str| String::from_utf8_lossy(&read_text(path).unwrap_or_default()).into_owned();
    let mut hosts = read("/etc/hosts");
    if let Some(was) = was {
        hosts = hosts.replace(&line_of(was), "");
    }
    let named =
        hosts.lines().any(|line| line.split_whitespace().skip(1).any(|name| name == hostname));
    let mut wanted = Vec::new();
    if read("/etc/hostname").trim() != hostname {
        wanted.push(("/etc/hostname", format!("{hostname}\n")));
    }
    if !named {
        let lines = if hosts.trim().is_empty() {
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned()
        } else {
            hosts
        };
        wanted.push(("/etc/hosts", format!("{}\n{}", lines.trim_end(), line_of(hostname))));
    }
    if fs::symlink_metadata("/etc/resolv.conf").is_err() {
        wanted.push(("/etc/resolv.conf", String::new()));
    }
    for (path, text) in wanted {
        if is_regular(path)
            && let Err(error) = fs::write(path, text)
        {
            console::note(&format!("{path}: {error}"));
        }
    }
}

/// Resource limits that every command begins with; what bounds the workload as a whole are the
/// limits of its cgroup.
fn limit() {
    let files = Rlimit { current: Some(65_536), maximum: Some(1_048_576) };
    let cores = Rlimit { current: Some(0), maximum: None };
    let unlimited = Rlimit { current: None, maximum: None };
    for (resource, limit) in
        [(Resource::Nofile, files), (Resource::Core, cores), (Resource::Nproc, unlimited)]
    {
        if let Err(error) = rustix::process::setrlimit(resource, limit) {
            console::note(&format!("{resource:?}: {error}"));
        }
    }
}

/// Starts PID 1 of the new PID name space, which mounts /proc and then only reaps.
fn start_init(cgroup: &OwnedFd) -> Result<(i32, OwnedFd), Failed> {
    let (mut ready, mut told) = io::pipe().doing("making a pipe")?;
    match sys::fork_into(cgroup.as_fd()).doing("starting the workload's init")? {
        sys::Forked::Child => {
            drop(ready);
            let flags = MountFlags::NOSUID | MountFlags::NOEXEC | MountFlags::NODEV;
            let errno = match rustix::mount::mount("proc", "/proc", "proc", flags, c"") {
                Ok(()) => 0,
                Err(error) => error.raw_os_error(),
            };
            let _ = told.write_all(&errno.to_le_bytes());
            if errno != 0 {
                sys::end_process(1);
            }
            reaper::reap_for_ever()
        }
        sys::Forked::Parent { pid, pidfd } => {
            drop(told);
            let mut errno = [0; 4];
            ready.read_exact(&mut errno).doing("starting the workload's init")?;
            match i32::from_le_bytes(errno) {
                0 => Ok((pid, pidfd)),
                errno => Err(io::Error::from_raw_os_error(errno)).doing("mounting /proc"),
            }
        }
    }
}

/// Whether a path inside the agent's name space is a mount of its own.
pub fn is_mounted(path: &Path) -> bool {
    let Ok(mounts) = fs::read_to_string("/proc/self/mounts") else { return false };
    mounts.lines().any(|line| line.split(' ').nth(1).map(Path::new) == Some(path))
}
