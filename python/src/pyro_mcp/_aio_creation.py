"""What is made by awaiting it, or is used and gone again with `async with`."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from types import TracebackType

Parameters = ParamSpec("Parameters")


class Leaving(Protocol):
    """Something that is left."""

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


Made = TypeVar("Made", bound=Leaving)


class Creation(Generic[Made]):
    """Awaited, or entered with `async with`, which leaves what it made."""

    def __init__(self, making: Coroutine[Any, Any, Made]) -> None:
        self._making = making
        self._made: Made | None = None

    def __await__(self) -> Generator[Any, None, Made]:
        return self._making.__await__()

    async def __aenter__(self) -> Made:
        self._made = await self
        return self._made

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._made is not None:
            await self._made.__aexit__(kind, error, trace)


def creates(
    make: Callable[Parameters, Coroutine[Any, Any, Made]],
) -> Callable[Parameters, Creation[Made]]:
    """Lets what a coroutine makes be used with `async with` as well."""

    @wraps(make)
    def creation(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Creation[Made]:
        return Creation(make(*args, **kwargs))

    return creation
