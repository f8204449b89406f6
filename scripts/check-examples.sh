#!/bin/bash
# Runs every example as a user would, each in a state directory of its own, with the pyro
# that is given. Ends with the first one that fails, or that leaves something behind.
#
#   PYRO_E2E_PYRO=.../pyro scripts/check-examples.sh [GROUP/NAME...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYRO=$(realpath "$PYRO_E2E_PYRO")
export PYRO
examples=("$@")
if [ $# = 0 ]; then
    examples=(examples/{services,network,use-cases}/*/)
fi

leave() {
    "$PYRO" list -q | xargs --no-run-if-empty "$PYRO" delete
    "$PYRO" node stop
    rm -rf "$PYRO_HOME"
}
for example in "${examples[@]}"; do
    example=${example#examples/}
    example=${example%/}
    PYRO_HOME=$(mktemp -d)
    export PYRO_HOME
    trap 'leave >/dev/null 2>&1' EXIT
    echo "== $example"
    # One that hangs must not take the others' time.
    timeout --kill-after=30 600 "examples/$example/run.sh" </dev/null
    left=$("$PYRO" list -q)
    if [ -n "$left" ]; then
        echo "FAIL $example left a workspace behind: $left"
        exit 1
    fi
    leave >/dev/null
    trap - EXIT
    echo "ok   $example"
done
