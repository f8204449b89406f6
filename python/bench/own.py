"""What the SDK itself costs: its imports, and its own part of a command.

What a whole command costs beside the Rust client is measured by `pyro-bench --python`.
It prints medians with the quartiles, and as its last line JSON. No virtual machine is needed.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in ("src", "tests")]

from fake_node import FakeNode  # noqa: E402

from pyro_mcp import Pyro  # noqa: E402

ROUNDS = int(os.environ.get("ROUNDS", "100"))
COMMAND = ["/bin/true"]


def measure(work: Callable[[], object], rounds: int = ROUNDS) -> list[float]:
    """Milliseconds of each round, the first few aside."""
    times = []
    for round_ in range(rounds + 3):
        begun = perf_counter()
        work()
        if round_ >= 3:
            times.append((perf_counter() - begun) * 1000)
    return times


def show(figures: dict[str, list[float]]) -> None:
    summary = {}
    for name, times in figures.items():
        low, middle, high = statistics.quantiles(times, n=4)
        summary[name] = {"p25": low, "p50": middle, "p75": high, "runs": len(times)}
        print(f"{name:<58} {middle:8.2f} ms   ({low:.2f} .. {high:.2f})")
    print(json.dumps(summary))


def own_part() -> list[float]:
    """What the SDK itself takes: against a node in this process that answers at once."""
    with tempfile.TemporaryDirectory() as folder:
        node = FakeNode(Path(folder) / "state")

        def handle(_: object, conversation: object) -> None:
            conversation.started()  # type: ignore[attr-defined]
            conversation.ended()  # type: ignore[attr-defined]

        node.handler = handle
        pyro = Pyro(home=node.state, start=False)
        times = measure(lambda: pyro.exec_workspace("web", command=COMMAND), 300)
        node.close()
        return times


def imports(statement: str) -> list[float]:
    """What an import adds to the start of Python."""

    def start(code: str) -> None:
        environment = {**os.environ, "PYTHONPATH": sys.path[0]}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    bare = statistics.median(measure(lambda: start("pass"), 20))
    return [time - bare for time in measure(lambda: start(statement), 20)]


def main() -> None:
    figures = {name: imports(name) for name in ("import pyro_mcp", "from pyro_mcp import Pyro")}
    figures["the SDK's own part of an exec"] = own_part()
    show(figures)


if __name__ == "__main__":
    main()
