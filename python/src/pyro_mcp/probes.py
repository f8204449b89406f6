"""How it is found out that a service is ready, and whether it is well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["HealthCheck", "Probe"]

_PARAMETER = {
    "file": "path",
    "tcp": "address",
    "http": "url",
    "command": "command",
    "log": "pattern",
}


@dataclass(frozen=True)
class Probe:
    """One question to a service, asked inside the guest: `Probe.tcp("127.0.0.1:8000")`."""

    type: str
    """`file`, `tcp`, `http`, `command`, `log` or `notify`."""
    target: str | tuple[str, ...] | None = None
    """What is asked."""

    @classmethod
    def file(cls, path: str) -> Probe:
        """A path that exists; a relative one is under `/workspace`."""
        return cls("file", path)

    @classmethod
    def tcp(cls, address: str) -> Probe:
        """Connections are accepted at `HOST:PORT`; an IPv6 address stands in brackets."""
        return cls("tcp", address)

    @classmethod
    def http(cls, url: str) -> Probe:
        """A GET is answered with a status of 200 to 399."""
        return cls("http", url)

    @classmethod
    def command(cls, command: str | Sequence[str]) -> Probe:
        """A command ends with 0: a text by the guest's shell, a list directly."""
        return cls("command", command if isinstance(command, str) else tuple(command))

    @classmethod
    def log(cls, pattern: str) -> Probe:
        """A line of output matches this regular expression."""
        return cls("log", pattern)

    @classmethod
    def notify(cls) -> Probe:
        """It says so itself: `READY=1` (sd_notify)."""
        return cls("notify")

    @property
    def payload(self) -> dict[str, Any]:
        """As plain data: the `readiness` of `Pyro.start_service`."""
        if self.target is None:
            return {"type": self.type}
        target = self.target if isinstance(self.target, str) else list(self.target)
        return {"type": self.type, _PARAMETER[self.type]: target}


@dataclass(frozen=True)
class HealthCheck:
    """How a service is looked after once it is ready."""

    probe: Probe
    """`file`, `tcp`, `http` or `command`."""
    interval: float | None = None
    """Between two looks, seconds; default 10."""
    timeout: float | None = None
    """Of one look, seconds."""
    retries: int | None = None
    """Failures in a row that count; default 3."""
    start_period: float | None = None
    """After ready, failures do not count for this long, seconds."""
    on_failure: Literal["restart", "report"] = "restart"
    """What follows from failing."""

    @property
    def payload(self) -> dict[str, Any]:
        """As plain data: the `health` of `Pyro.start_service`."""
        said = {
            "interval_seconds": self.interval,
            "timeout_seconds": self.timeout,
            "retries": self.retries,
            "start_period_seconds": self.start_period,
        }
        return {
            "probe": self.probe.payload,
            **{name: value for name, value in said.items() if value is not None},
            "on_failure": self.on_failure,
        }
