"""Writes the blocking client and objects from those for asyncio, which have the same verbs.

Run it from anywhere after a source changed; a test fails while they differ.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "src/pyro_mcp"
# What is written, and what it begins with.
MODULES = {
    "client.py": "The client: every verb as a method that takes and gives plain data.",
    "files.py": "The files of a workspace as an object.",
    "network.py": "What a workspace may reach.",
    "ports.py": "The ports of a workspace.",
    "service.py": "The services of a workspace as objects.",
    "workspace.py": "A workspace as an object.",
}

# In this order.
WORDS = [
    (r"^.*\bcreates\n", ""),
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\bawait ", ""),
    (r"\b_aio_transport\b", "_transport"),
    (r"\baio_(\w+)", r"\1"),
    (
        r"\bAsync(Files|Forward|Iterator|Network|PortConnection|Ports|Process|Pyro|Services?|Transport|Workspace)\b",
        r"\1",
    ),
]


def generate(name: str) -> str:
    """A module, as ruff formats it."""
    source = (PACKAGE / f"aio_{name}").read_text()
    _docstring, quotes, body = source.removeprefix('"""').partition('"""\n')
    assert quotes, "the source begins with a docstring"
    for word, replacement in WORDS:
        body = re.sub(word, replacement, body, flags=re.MULTILINE)
    left = re.search(r"\b(async|await|aio_\w+|Async\w+)\b", body)
    assert left is None, f"{left and left[0]} is of asyncio only"
    told = f"Written by `python/tools/{Path(__file__).name}` from `aio_{name}`: do not edit."
    text = f'"""{MODULES[name]}\n\n{told}\n"""\n{body}'
    path = PACKAGE / name
    return ruff("format", path, ruff("check", path, text, "--select=I", "--fix-only", "--quiet"))


def ruff(verb: str, path: Path, text: str, *options: str) -> str:
    """What ruff makes of a module's text."""
    command = [sys.executable, "-m", "ruff", verb, *options, f"--stdin-filename={path}", "-"]
    run = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    return run.stdout


if __name__ == "__main__":
    for name in MODULES:
        (PACKAGE / name).write_text(generate(name))
