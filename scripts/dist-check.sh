#!/bin/bash
# Builds the Python wheel and the source distribution, and proves them: metadata, the platform tag,
# and an installation of each into an empty environment that runs a command in a VM.
#
#   scripts/dist-check.sh              all of it, and the newcomer's way in a bare Debian root
#   scripts/dist-check.sh --no-root    without the bare root
#   scripts/dist-check.sh --wheel      the wheel alone: nothing is compiled twice
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

case ${1:-} in
    "") what="wheel sdist root" ;;
    --no-root) what="wheel sdist" ;;
    --wheel) what="wheel" ;;
    *) echo "usage: scripts/dist-check.sh [--no-root|--wheel]" >&2; exit 2 ;;
esac
wants() { [[ " $what " = *" $1 "* ]]; }

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
export CARGO_TARGET_DIR=$target
dist=$target/dist
work=$(mktemp -d "${TMPDIR:-/tmp}/pyro-dist.XXXXXX")
uv=$(command -v uv || true)
say() { printf '\n=== %s ===\n' "$*"; }
clean() {
    # The node of the trial's state directory, should a step have failed.
    for state in "$work"/state-*; do
        [ -S "$state/node.sock" ] && PYRO_HOME=$state "$work/pyro" node stop >/dev/null 2>&1
    done
    rm -rf "$work"
}
trap clean EXIT

if [ -z "$uv" ]; then
    say "uv"
    python3 -m venv "$work/uv"
    "$work/uv/bin/pip" install --quiet uv
    uv=$work/uv/bin/uv
fi
export UV_PROJECT_ENVIRONMENT=$target/python
tool() { "$uv" run --quiet --frozen --group dist "$@"; }

say "build the wheel and the source distribution"
rm -rf "$dist"
tool maturin build --quiet --release --locked --out "$dist"
tool maturin sdist --out "$dist"
ls -l "$dist"
wheel=$(echo "$dist"/pyro_mcp-*.whl)
sdist=$(echo "$dist"/pyro_mcp-*.tar.gz)

say "metadata, contents, platform tag"
tool twine check --strict "$wheel" "$sdist"
tool python python/tools/check_dist.py "$wheel" "$sdist"

# $1: what to install; $2: a word for it
try() {
    say "install the $2 into an empty environment, and run a command in a VM with it"
    python3 -m venv "$work/$2"
    (cd "$work" && "$work/$2/bin/pip" install --quiet --no-cache-dir "$1")
    cp "$work/$2/bin/pyro" "$work/pyro"
    local state=$work/state-$2
    (
        cd "$work"
        # Only what was installed: no other pyro, no module of this tree.
        export PATH=$work/$2/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin PYRO_HOME=$state
        unset PYTHONPATH PYRO_PROGRAM
        pyro --version
        pyro env build debian:12 >/dev/null
        pyro doctor --json >doctor.json
        python3 - <<'PYTHON'
import json
report = json.load(open("doctor.json"))
assert report["healthy"] and report["runtime_ok"], report
print("doctor: ok")
PYTHON
        "$work/$2/bin/python" - <<'PYTHON'
from pyro_mcp import Pyro, Workspace, __version__

with Workspace.create(mem_mib=256) as ws:
    result = ws.run("uname -sr", check=True)
    print(f"pyro_mcp {__version__} in {ws.id}: {result.stdout.strip()}")
once = Pyro().run_in_vm(environment="debian:12", command=["git", "--version"], mem_mib=256)
assert once["exit_code"] == 0 and once["cleanup"]["deleted"], once
print(f"run_in_vm: {once['stdout'].strip()}")
PYTHON
        pyro node stop >/dev/null
    )
}
try "$wheel" wheel
if wants sdist; then
    # It holds the tree, file by file, so that cargo takes what it compiled of that.
    try "$sdist" sdist
fi
if wants root; then
    say "the newcomer's way: a bare Debian root, an ordinary user, pip only"
    scripts/newcomer.sh "$wheel"
fi
say "dist-check passed"
