#!/bin/bash
# Checks the Python package: its lock file, lints, format, types, and tests.
#
#   scripts/check-python.sh                      what needs no virtual machine
#   PYRO_E2E_PYRO=.../pyro scripts/check-python.sh    and the stories on real ones
#
# uv is taken from PATH, or installed into a folder of its own below the target directory.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    uv=$target/uv/bin/uv
    if [ ! -x "$uv" ]; then
        python3 -m venv "$target/uv"
        "$target/uv/bin/pip" install --quiet uv
    fi
fi
export UV_PROJECT_ENVIRONMENT=$target/python
run() { "$uv" run --quiet --frozen "$@"; }

"$uv" lock --check --quiet
run ruff check --quiet
run ruff format --check --quiet
run mypy
# The stories are skipped without a binary to tell them of; given one, they must run.
if [ -n "${PYRO_E2E_PYRO:-}" ]; then
    # One that hangs must not take the others' time.
    timeout --kill-after=30 900 "$uv" run --quiet --frozen pytest --quiet
else
    run pytest --quiet -m "not vm"
fi
