"""Checks a wheel and a source distribution: contents, and that the wheel's platform tag is honest.

The binary may need no newer glibc than its tag promises, and no library that is not glibc's.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# What the manylinux policies (PEP 600) let a binary expect, as far as it is glibc's or gcc's own.
LIBRARIES = {
    "ld-linux-x86-64.so.2",
    "libc.so.6",
    "libdl.so.2",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "librt.so.1",
}


def need(program: Path) -> tuple[tuple[int, int], set[str]]:
    """The glibc that a program needs, and the libraries."""
    said = subprocess.run(
        ["readelf", "--wide", "--version-info", "--dynamic", str(program)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    versions = {(int(a), int(b)) for a, b in re.findall(r"\bGLIBC_(\d+)\.(\d+)", said)}
    return max(versions), set(re.findall(r"\(NEEDED\).*\[(.+)\]", said))


def check_wheel(path: Path) -> None:
    tags = path.stem.split("-")[2:]
    with zipfile.ZipFile(path) as wheel:
        names = wheel.namelist()
        (script,) = [name for name in names if name.endswith(".data/scripts/pyro")]
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        for wanted in ("pyro_mcp/__init__.py", "pyro_mcp/api.py", "pyro_mcp/py.typed"):
            assert wanted in names, f"the wheel lacks {wanted}"
        strange = [
            name
            for name in names
            if not re.match(r"pyro_mcp/\w+\.py$|pyro_mcp/py\.typed$|pyro_mcp-[^/]+/", name)
        ]
        assert not strange, f"the wheel holds {strange}"
        said = wheel.read(metadata).decode()
        assert "Requires-Dist" not in said, "the wheel depends on other distributions"
        # The MCP registry takes an entry only where the distribution's description names it.
        entry = json.loads(Path("server.json").read_text())["name"]
        assert f"mcp-name: {entry} " in said, "the wheel's description does not name server.json's"
        with tempfile.TemporaryDirectory() as folder:
            program = Path(wheel.extract(script, folder))
            glibc, libraries = need(program)
            size = program.stat().st_size
        mode = wheel.getinfo(script).external_attr >> 16
        assert mode & 0o111, "the binary is not executable"
    assert tags[:2] == ["py3", "none"], tags
    promised = [re.fullmatch(r"manylinux_(\d+)_(\d+)_x86_64", tag) for tag in tags[2].split(".")]
    levels = [(int(found[1]), int(found[2])) for found in promised if found]
    assert levels, f"{tags[2]} is no manylinux tag"
    assert glibc <= min(levels), f"the binary needs glibc {glibc}, its tag promises {min(levels)}"
    assert libraries <= LIBRARIES, f"the binary needs {libraries - LIBRARIES}"
    print(
        f"wheel: {path.stat().st_size >> 10} KiB, binary {size >> 10} KiB, "
        f"needs glibc {glibc[0]}.{glibc[1]}, tag {tags[2]}"
    )


def check_sdist(path: Path) -> None:
    with tarfile.open(path) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    for wanted in (
        "Cargo.lock",
        "LICENSE",
        "PKG-INFO",
        "guest/agent/src/main.rs",
        "pyproject.toml",
        "python/src/pyro_mcp/py.typed",
        "wire/proto/pyro_wire.proto",
    ):
        assert wanted in names, f"the source distribution lacks {wanted}"
    assert not any(name.startswith((".git/", "target/")) for name in names)
    # Whatever builds from the tree builds from the archive, since they are the same.
    listed = subprocess.run(["git", "ls-files", "-z"], check=True, capture_output=True, text=True)
    missing = {name for name in listed.stdout.split("\0") if name} - names
    assert not missing, f"the source distribution lacks {missing}"
    print(f"source distribution: {path.stat().st_size >> 10} KiB, {len(names)} entries")


if __name__ == "__main__":
    check_wheel(Path(sys.argv[1]))
    check_sdist(Path(sys.argv[2]))
