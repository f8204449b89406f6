"""A node that answers what a test says, on a real Unix socket, and remembers what it was asked."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONTROL, STDIN, STDOUT, STDERR, END = 1, 2, 3, 4, 15


class Request:
    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body) if self.body else None


class Conversation:
    """One connection, from the node's side."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.reader = stream.makefile("rb")

    def request(self) -> Request | None:
        line = self.reader.readline().decode()
        if not line:
            return None
        method, target, _ = line.split(" ")
        headers: dict[str, str] = {}
        while (line := self.reader.readline().decode().strip()) != "":
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while length := int(self.reader.readline(), 16):
                body += self.reader.read(length)
                self.reader.readline()
            self.reader.readline()
        else:
            body = self.reader.read(int(headers.get("content-length", 0)))
        return Request(method, target, headers, body)

    def answer(self, document: Any, status: int = 200) -> None:
        self.raw(json.dumps(document).encode(), status, "application/json")

    def raw(self, body: bytes, status: int = 200, kind: str = "text/plain", *more: str) -> None:
        head = [
            f"HTTP/1.1 {status} X",
            f"content-type: {kind}",
            f"content-length: {len(body)}",
            *more,
        ]
        self.stream.sendall("\r\n".join([*head, "", ""]).encode() + body)

    def problem(self, kind: str, code: str, message: str, *hints: str) -> None:
        status = {
            "invalid": 400,
            "not_found": 404,
            "conflict": 409,
            "not_available": 501,
            "failed": 500,
        }[kind]
        body = {"ok": False, "error": message, "code": code, "hints": list(hints), "kind": kind}
        self.answer(body, status)

    def chunks(self, *pieces: bytes) -> None:
        self.stream.sendall(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for piece in [*pieces, b""]:
            self.stream.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))

    def upgrade(self) -> None:
        self.stream.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nupgrade: pyro-stream\r\n"
            b"connection: Upgrade\r\n\r\n"
        )

    def frame(self, kind: int, payload: bytes = b"") -> None:
        self.stream.sendall(struct.pack("<BI", kind, len(payload)) + payload)

    def say(self, **document: Any) -> None:
        self.frame(CONTROL, json.dumps(document).encode())

    def hear(self) -> tuple[int, bytes] | None:
        head = self.reader.read(5)
        if len(head) < 5:
            return None
        kind, length = struct.unpack("<BI", head)
        return kind, self.reader.read(length)

    def started(self, **changes: Any) -> None:
        self.upgrade()
        self.say(type="started", exec=an_exec(running=True, exit_code=None, **changes), notices=[])

    def ended(self, cleanup: Any = None, **changes: Any) -> None:
        self.say(type="ended", exec=an_exec(**changes), cleanup=cleanup)
        self.frame(END)


Handler = Callable[[Request, Conversation], None]


class FakeNode:
    """Answers with `handler`; `requests` are what it heard."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.handler: Handler = lambda _, conversation: conversation.answer({})
        self.requests: list[Request] = []
        self.faults: list[BaseException] = []
        self._listener = socket.socket(socket.AF_UNIX)
        state.mkdir(parents=True, exist_ok=True)
        self._listener.bind(str(state / "node.sock"))
        self._listener.listen(64)
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(stream,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, stream: socket.socket) -> None:
        with stream:
            conversation = Conversation(stream)
            try:
                request = conversation.request()
                if request is not None:
                    self.requests.append(request)
                    self.handler(request, conversation)
            except (BrokenPipeError, ConnectionResetError):
                pass
            except BaseException as error:  # told by `close`
                self.faults.append(error)
            finally:
                conversation.reader.close()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in [self._accepting, *self._threads]:
            thread.join(10)
        (self.state / "node.sock").unlink()
        assert not self.faults, self.faults


def an_exec(**changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "exec_id": "aaaaaaaaaaaa",
        "workspace_id": "111111111111",
        "sequence": 1,
        "command": "true",
        "cwd": "/workspace",
        "running": False,
        "detached": False,
        "exit_code": 0,
        "signal": None,
        "timed_out": False,
        "cancelled": False,
        "oom_killed": False,
        "lost": None,
        "started_at": 1.0,
        "ended_at": 2.0,
        "duration_ms": 1000,
        "stdout_bytes": 0,
        "stderr_bytes": 0,
        "truncated": False,
        "left_behind": 0,
        "memory_peak_bytes": 1,
        "cpu_seconds": 0.1,
        "environment": "debian:12",
        "environment_version": "4.0.0",
        "execution_mode": "guest_vsock",
        "stdout": "",
        "stderr": "",
        "lossy": False,
    }
    return {**record, **changes}


def a_workspace(**changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "workspace_id": "111111111111",
        "name": None,
        "labels": {},
        "environment": "debian:12",
        "environment_version": "4.0.0",
        "vcpu_count": 1,
        "mem_mib": 1024,
        "disk_mib": 20480,
        "ttl_seconds": None,
        "on_expiry": "stop",
        "created_at": 1.0,
        "last_activity_at": 2.0,
        "expires_at": None,
        "state": "started",
        "activity": None,
        "stop_reason": None,
        "stop_detail": None,
        "network_policy": "off",
        "network_allow": [],
        "network_enabled": False,
        "guest_ip": None,
        "tap_name": None,
        "allow_host_compat": False,
        "execution_mode": "guest_vsock",
        "workspace_path": "/workspace",
        "workspace_seed": {},
        "secrets": [],
        "command_count": 0,
        "last_command": None,
        "reset_count": 0,
        "last_reset_at": None,
        "service_count": 0,
        "running_service_count": 0,
        "metadata": {},
        "backend": "qemu",
        "accelerated": False,
        "disk_bytes": 1,
        "workload_restarts": 0,
    }
    return {**record, **changes}


def a_service(**changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "workspace_id": "111111111111",
        "service_name": "web",
        "state": "running",
        "ready": True,
        "health": None,
        "command": "serve",
        "cwd": "/workspace",
        "started_at": 1.0,
        "ready_at": 2.0,
        "ended_at": None,
        "exit_code": None,
        "pid": 42,
        "execution_mode": "guest_vsock",
        "readiness": {"type": "tcp", "address": "127.0.0.1:8000"},
        "stop_reason": None,
        "detail": None,
        "stopping": False,
        "published_ports": [],
        "restart_count": 0,
        "restart_policy": "no",
        "last_exit": None,
        "depends_on": {},
        "waiting_for": [],
        "last_probe": {"at": 2.0, "result": "connected"},
        "status_text": None,
        "listening_ports": [{"address": "127.0.0.1", "port": 8000}],
        "memory_bytes": 1,
        "cpu_seconds": 0.1,
        "log_bytes": {"stdout": 3, "stderr": 4},
        "revision": 5,
    }
    return {**record, **changes}


def a_start(**changes: Any) -> dict[str, Any]:
    more = {"unchanged": False, "log_tail": [], "notices": [], "failure": None}
    return {**a_service(), **more, **changes}


def a_failed_start(code: str = "service_exited", **changes: Any) -> dict[str, Any]:
    failure = {
        "ok": False,
        "error": "service web ended with exit code 3 before it was ready",
        "code": code,
        "kind": "failed",
        "hints": ["look"],
        "causes": [],
    }
    ended = {
        "state": "failed",
        "ready": False,
        "pid": None,
        "exit_code": 3,
        "stop_reason": "process_exited_before_ready",
        "last_exit": {"exit_code": 3, "signal": None, "oom_killed": False, "ended_at": 3.0},
        "last_probe": None,
        "log_tail": ["first", "last"],
    }
    return a_start(**{**ended, "failure": failure, **changes})
