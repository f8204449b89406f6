"""PID 1 of the lab VM: mounts the shares, runs one command, tells the host how it went.

Three virtio-serial ports lead to the host: `lab.stdout` and `lab.stderr` carry the command's
output, byte for byte; `lab.status` carries lines: `up`, `alive` every few seconds, and
`exit CODE STDOUT_BYTES STDERR_BYTES` at the end, after which the host ends the VM.
"""

import ctypes
import json
import os
import select
import signal
import threading
import time

ALIVE_SECONDS = 5
LIBC = ctypes.CDLL(None, use_errno=True)
MS_RDONLY, MS_BIND = 1, 4096


def mount(source, target, kind, flags=0, data=""):
    os.makedirs(target, exist_ok=True)
    if LIBC.mount(source.encode(), target.encode(), kind.encode(), flags, data.encode()) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"mount {source} on {target}: {os.strerror(error)}")


def spawn(arguments, environment, actions=()):
    return os.posix_spawnp(
        arguments[0], arguments, environment,
        file_actions=actions, setsid=True, setsigdef=[signal.SIGPIPE],
    )


def call(*arguments):
    os.waitpid(spawn(arguments, os.environ), 0)


def write_all(descriptor, data):
    while data:
        data = data[os.write(descriptor, data):]


def open_ports(*names):
    """Opens virtio-serial ports by name; they appear a moment after their driver."""
    found = {}
    deadline = time.monotonic() + 20
    while len(found) < len(names):
        for port in os.listdir("/sys/class/virtio-ports"):
            with open(f"/sys/class/virtio-ports/{port}/name") as file:
                found[file.read().strip()] = f"/dev/{port}"
        if time.monotonic() > deadline:
            raise TimeoutError(f"the virtio-serial ports did not appear; seen: {found}")
        time.sleep(0.002)
    return [os.open(found[name], os.O_RDWR) for name in names]


def mount_system():
    mount("shm", "/dev/shm", "tmpfs")
    mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=666")
    mount("cgroup", "/sys/fs/cgroup", "cgroup2")
    links = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}
    for name, target in links.items():
        if not os.path.lexists(f"/dev/{name}"):
            os.symlink(target, f"/dev/{name}")


def mount_share(share):
    tag, path = share["tag"], share["guest"]
    if share["mode"] == "overlay":
        layers = f"/lab/{tag}"
        for layer in ("upper", "work"):
            os.makedirs(f"{layers}/{layer}")
        mount(tag, f"{layers}/lower", "virtiofs", MS_RDONLY)
        data = f"lowerdir={layers}/lower,upperdir={layers}/upper,workdir={layers}/work"
        mount("overlay", path, "overlay", 0, data)
    else:
        mount(tag, path, "virtiofs", MS_RDONLY if share["mode"] == "ro" else 0)
    for alias in share["aliases"]:
        mount(path, alias, "", MS_BIND)


class Output:
    """One of the command's two outputs, on its way to the host's port."""

    def __init__(self, port):
        self.port, self.sent = port, 0
        self.reader, self.writer = os.pipe()

    def pass_on(self):
        """Passes on what is there; false at the end of the stream."""
        data = os.read(self.reader, 65536)
        write_all(self.port, data)
        self.sent += len(data)
        return bool(data)

    def complain(self, message):
        data = message.encode()
        write_all(self.port, data)
        self.sent += len(data)


def run(command, environment, stdout, stderr):
    """Runs the command to its end and returns its exit code as a shell would report it."""
    # The kernel announces the end of children, orphans too, by a byte in this pipe.
    wake, waker = os.pipe()
    for end in (wake, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)

    try:
        child = spawn(command, environment, [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, stdout.writer, 1),
            (os.POSIX_SPAWN_DUP2, stderr.writer, 2),
        ])
    except OSError as error:
        stderr.complain(f"lab: cannot run {command[0]}: {error.strerror}\n")
        return 127
    os.close(stdout.writer)
    os.close(stderr.writer)

    outputs = {stdout.reader: stdout, stderr.reader: stderr}
    code = None
    while code is None:
        for descriptor in select.select([*outputs, wake], [], [])[0]:
            if descriptor == wake:
                os.read(wake, 4096)
                code = reap(child)
            elif not outputs[descriptor].pass_on():
                del outputs[descriptor]
    # What was written before the command's end is passed on; whoever else holds the pipes open
    # is not waited for.
    while ready := select.select(list(outputs), [], [], 0)[0]:
        for descriptor in ready:
            if not outputs[descriptor].pass_on():
                del outputs[descriptor]
    return code if code >= 0 else 128 - code


def reap(child):
    """Reaps whatever has ended; the child's exit code if it was among them."""
    code = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return code
        if pid == 0:
            return code
        if pid == child:
            code = os.waitstatus_to_exitcode(status)


def say_alive(status):
    while True:
        time.sleep(ALIVE_SECONDS)
        write_all(status, b"alive\n")


def main():
    with open("/run/lab/specification.json") as file:
        specification = json.load(file)
    os.environ["PATH"] = specification["environment"]["PATH"]  # Where spawn looks for programs.
    call("modprobe", "-a", *specification["modules"])
    stdout, stderr, status = open_ports("lab.stdout", "lab.stderr", "lab.status")
    mount_system()
    for share in specification["shares"]:
        mount_share(share)
    call("ip", "link", "set", "lo", "up")
    with open("/proc/sys/kernel/hostname", "w") as file:
        file.write("lab")
    if not os.path.exists("/etc/hosts"):
        with open("/etc/hosts", "w") as file:
            file.write("127.0.0.1 localhost\n::1 localhost\n")
    os.chdir(specification["directory"])
    write_all(status, b"up\n")
    threading.Thread(target=say_alive, args=(status,), daemon=True).start()

    stdout, stderr = Output(stdout), Output(stderr)
    code = run(specification["command"], specification["environment"], stdout, stderr)
    for share in specification["shares"]:
        if share["mode"] == "rw":
            call("sync", "--file-system", share["guest"])
    write_all(status, f"exit {code} {stdout.sent} {stderr.sent}\n".encode())
    while True:
        signal.pause()


try:
    main()
except BaseException as error:
    # The console is the only place left to say it; the end of PID 1 then ends the VM.
    with open("/dev/console", "w") as console:
        console.write(f"lab: {error!r}\n")
    raise
