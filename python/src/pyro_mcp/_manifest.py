"""Files of services as they are sent to the node, with what they need of where they lie.

The node says what that is (`/v1/manifests/needs`); it reads no file of this host itself. Refuses to
know connections: `client.py` and `aio_client.py` carry the question.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InvalidError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ._location import StrPath

# A file of services, bytes.
LARGEST_FILE = 1 << 20
# A file of variables, bytes.
LARGEST_ENV_FILE = 256 << 10


class Given:
    """A file of services on this host."""

    def __init__(self, file: StrPath, variables: Mapping[str, str]) -> None:
        path = Path(file)
        self.name = path.name
        text = _read(path, LARGEST_FILE)
        if text is None:
            raise NotFoundError(f"there is no file {path}", code="manifest_not_found")
        self.text = text
        self._directory = path.parent
        self.dot_env = _read(self._directory / ".env", LARGEST_ENV_FILE)
        self.variables = dict(variables)

    def look_up(self, names: list[str]) -> bool:
        """Takes the values that the environment here has for variables; whether it had any."""
        count = len(self.variables)
        for name in names:
            if name not in self.variables and name in os.environ:
                self.variables[name] = os.environ[name]
        return len(self.variables) > count

    def document(self, env_files: list[Mapping[str, Any]]) -> dict[str, Any]:
        """What is sent, with the files of variables that it names."""
        return {
            "name": self.name,
            "text": self.text,
            "dot_env": self.dot_env,
            "env_files": {
                named["path"]: _read(self._directory / named["path"], LARGEST_ENV_FILE)
                for named in env_files
            },
        }


def _read(path: Path, most: int) -> str | None:
    """A text of at most so many bytes; none where there is no such file."""
    try:
        with path.open("rb") as file:
            text = file.read(most + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unreadable(path, str(error)) from error
    if len(text) > most:
        raise _unreadable(path, f"it is larger than {most} bytes")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise _unreadable(path, "it is not UTF-8") from error


def _unreadable(path: Path, why: str) -> InvalidError:
    return InvalidError(f"cannot read {path}: {why}", code="manifest_unreadable")
