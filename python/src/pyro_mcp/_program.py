"""Verbs that are done by the `pyro` program, for what they read is on this host.

There is one implementation of what a seed is, and of what ignore files leave out.
Refuses to know how a process is waited for: `_transport.py` and `_aio_transport.py` run it.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from .errors import FailedError, of_problem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ._location import Location, StrPath


def command(location: Location, words: Sequence[str]) -> list[str]:
    """What is run."""
    return [location.find_program(), *words]


def environment(location: Location) -> dict[str, str]:
    """The process environment in which it finds the same node."""
    values = {**os.environ, "PYRO_HOME": location.state, "PYRO_CACHE_DIR": location.cache}
    if not location.may_start:
        values["PYRO_NODE_START"] = "never"
    return values


def answer(words: Sequence[str], code: int, stdout: bytes, stderr: bytes) -> dict[str, Any]:
    """The document that it printed; the problem it tells is raised."""
    try:
        document = json.loads(stdout)
    except ValueError:
        document = None
    if isinstance(document, dict):
        if document.get("ok") is False:
            raise of_problem(document)
        # A check that found something has another exit code.
        return document
    said = stderr.decode("utf-8", "replace").strip().splitlines()
    raise FailedError(
        f"`pyro {words[0]}` ended with {code}", code="program_failed", causes=said[-5:]
    )


def seeded(
    document: Mapping[str, Any],
    *,
    seed_path: StrPath | None,
    seed_git: str | None,
    exclude: Sequence[str],
    respect_ignore: bool,
) -> list[str]:
    """Makes a workspace that begins with files of this host."""
    words = ["create", "--json"]
    flags = {
        "vcpu_count": "--vcpu-count",
        "mem_mib": "--mem-mib",
        "ttl_seconds": "--ttl-seconds",
        "disk_mib": "--disk-mib",
        "on_expiry": "--on-expiry",
        "name": "--name",
        "backend": "--backend",
        "network_policy": "--network-policy",
    }
    for key, flag in flags.items():
        if document.get(key) is not None:
            words.append(f"{flag}={document[key]}")
    words += [f"--network-allow={one}" for one in document.get("network_allow") or ()]
    words += [f"--label={key}={value}" for key, value in (document.get("labels") or {}).items()]
    if seed_path is not None:
        words.append(f"--seed-path={os.path.abspath(os.fspath(seed_path))}")
    if seed_git is not None:
        words.append(f"--seed-git={seed_git}")
    words += [f"--exclude={one}" for one in exclude]
    if respect_ignore:
        words.append("--respect-ignore")
    return [*words, "--", str(document["environment"])]


def pushed(
    workspace: str,
    source: StrPath,
    destination: str,
    *,
    delete: bool,
    exclude: Sequence[str],
    respect_ignore: bool,
    no_start: bool,
) -> list[str]:
    """Brings files of this host into a workspace."""
    words = ["workspace", "sync", "push", "--json", f"--dest={destination}"]
    words += [f"--exclude={one}" for one in exclude]
    flags = {"--delete": delete, "--respect-ignore": respect_ignore, "--no-start": no_start}
    words += [flag for flag, is_set in flags.items() if is_set]
    return [*words, "--", workspace, os.path.abspath(os.fspath(source))]


def pulled(
    workspace: str,
    to: StrPath,
    paths: Sequence[str],
    *,
    check: bool,
    skip_conflicts: bool,
    force: bool,
    no_start: bool,
) -> list[str]:
    """Takes home what was changed in a workspace."""
    words = ["workspace", "sync", "pull", "--json", f"--to={os.path.abspath(os.fspath(to))}"]
    flags = {
        "--check": check,
        "--skip-conflicts": skip_conflicts,
        "--force": force,
        "--no-start": no_start,
    }
    words += [flag for flag, is_set in flags.items() if is_set]
    return [*words, "--", workspace, *paths]
