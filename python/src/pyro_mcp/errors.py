"""What can go wrong, as exceptions.

Every one has a stable `code` (docs/errors.md lists those of the node, docs/python.md those that are
the SDK's own) and `hints`. The family decides the base class: what was wrong to ask is a
`ValueError`, what was right to ask and did not work is a `RuntimeError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .payloads import StartedService, UpResult
    from .results import CommandResult, ServiceInfo

__all__ = [
    "CommandFailedError",
    "ConflictError",
    "FailedError",
    "InvalidError",
    "NodeError",
    "NotAvailableError",
    "NotFoundError",
    "PyroError",
    "ServiceFailedError",
    "ServicesFailedError",
]


class PyroError(Exception):
    """Whatever pyro has to say against a call; always one of the classes below."""

    kind: ClassVar[str] = "failed"

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hints: Sequence[str] = (),
        causes: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        """One clear line, with its causes."""
        self.code = code
        """Stable, in snake_case: programs may compare it."""
        self.hints = tuple(hints)
        """What to do next, each a sentence or a command."""
        self.causes = tuple(causes)
        """The causes alone, outermost first."""
        if self.hints:
            # Shown below the message by Python 3.11 and newer.
            self.__notes__ = [f"hint: {hint}" for hint in self.hints]

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[Any, ...]:
        return (_restore, (type(self), self.message, self.code, self.hints, self.causes))


class InvalidError(PyroError, ValueError):
    """The request itself is wrong: the same request will always fail."""

    kind = "invalid"


class NotFoundError(PyroError, ValueError):
    """What was asked for is not there."""

    kind = "not_found"


class ConflictError(PyroError, RuntimeError):
    """It was right to ask, but not in the present state."""

    kind = "conflict"


class NotAvailableError(PyroError, RuntimeError):
    """Part of the contract that is not built yet."""

    kind = "not_available"


class FailedError(PyroError, RuntimeError):
    """It was right to ask, it was tried, and it failed."""

    kind = "failed"


class NodeError(FailedError):
    """The node could not be started or reached, or the connection to it broke."""


class CommandFailedError(FailedError):
    """A command that was to be checked did not end with 0."""

    def __init__(self, result: CommandResult) -> None:
        how = f"ended with {result.exit_code}"
        if result.timed_out:
            how = "was ended by its timeout"
        tail = result.stderr.strip().splitlines()[-1:] or result.stdout.strip().splitlines()[-1:]
        super().__init__(
            f"{result.command!r} {how}" + "".join(f": {line[:300]}" for line in tail),
            code="command_timed_out" if result.timed_out else "command_failed",
        )
        self.result = result
        """What it printed, and how it ended."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.result,))


class ServiceFailedError(FailedError):
    """A service is not as was waited for: it ended before it was ready, or is not ready in time."""

    # How many of its last lines are shown with the message.
    _SHOWN: ClassVar[int] = 20

    def __init__(self, service: StartedService) -> None:
        failure: Mapping[str, Any] = service["failure"] or {}
        super().__init__(
            str(failure.get("error", "the service is not ready")),
            code=str(failure.get("code", "service_failed")),
            hints=[str(hint) for hint in failure.get("hints") or ()],
            causes=[str(cause) for cause in failure.get("causes") or ()],
        )
        self.service = service
        """The service as it stands, with `failure`."""
        self.log_tail = tuple(service["log_tail"])
        """Its last lines of output."""
        if self.log_tail:
            shown = [f"  | {line}" for line in self.log_tail[-self._SHOWN :]]
            self.__notes__ = [*getattr(self, "__notes__", ()), *shown]

    @property
    def info(self) -> ServiceInfo:
        """The service as it stands."""
        from .results import ServiceInfo

        return ServiceInfo.of(self.service)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.service,))


class ServicesFailedError(FailedError):
    """Of the services that a file declares, some are not as they should be."""

    # How many of the last lines of each are shown with the message.
    _SHOWN: ClassVar[int] = 20

    def __init__(self, result: UpResult) -> None:
        failure: Mapping[str, Any] = result["failure"] or {}
        super().__init__(
            str(failure.get("error", "services are not as they should be")),
            code=str(failure.get("code", "services_failed")),
            hints=[str(hint) for hint in failure.get("hints") or ()],
            causes=[str(cause) for cause in failure.get("causes") or ()],
        )
        self.result = result
        """What was done about each service, with its `failure` and its `log_tail`."""
        shown = [
            f"  {one['service_name']} | {line}"
            for one in result["services"]
            for line in one["log_tail"][-self._SHOWN :]
        ]
        if shown:
            self.__notes__ = [*getattr(self, "__notes__", ()), *shown]

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.result,))


_OF_KIND: dict[str, type[PyroError]] = {
    one.kind: one
    for one in (InvalidError, NotFoundError, ConflictError, NotAvailableError, FailedError)
}


def _restore(
    kind: type[PyroError], message: str, code: str, hints: Sequence[str], causes: Sequence[str]
) -> PyroError:
    return kind(message, code=code, hints=hints, causes=causes)


def of_problem(problem: Mapping[str, Any]) -> PyroError:
    """The exception for a problem, in the form of an answer or of a stream."""
    causes = [str(cause) for cause in problem.get("causes") or ()]
    if "error" in problem:
        message = str(problem["error"])
    else:
        message = ": ".join([str(problem.get("message", "unknown problem")), *causes])
    return _OF_KIND.get(str(problem.get("kind")), FailedError)(
        message,
        code=str(problem.get("code", "failed")),
        hints=[str(hint) for hint in problem.get("hints") or ()],
        causes=causes,
    )


def not_available(what: str) -> NotAvailableError:
    """The error for what the contract has and this version has not."""
    return NotAvailableError(
        f"{what}: not available in this version of pyro",
        code="not_available",
        hints=["docs/python.md lists what there is"],
    )
