#!/bin/sh
# The life of one workspace, from nothing to nothing, as a user would type it.
#
#   scripts/smoke.sh PYRO BACKEND
set -eu

pyro=$1
export PYRO_BACKEND="$2"

# A state directory of its own; images are shared.
PYRO_HOME=$(mktemp -d)
export PYRO_HOME
leave() {
    "$pyro" delete smoke || true
    "$pyro" node stop || true
    rm -rf "$PYRO_HOME"
}
trap 'leave >/dev/null 2>&1' EXIT

set -x
"$pyro" env build debian:12
workspace=$("$pyro" create debian:12 --name smoke --id-only)
"$pyro" exec smoke -- uname -sr
test "$("$pyro" exec smoke -- sh -c 'echo written > note; cat note')" = written
"$pyro" list
"$pyro" status "$workspace"
"$pyro" stop smoke
"$pyro" start smoke
test "$("$pyro" exec smoke -- cat note)" = written
code=0
"$pyro" exec smoke -- sh -c 'exit 7' || code=$?
test "$code" = 7
"$pyro" delete smoke
test "$("$pyro" list -q)" = ""
"$pyro" node stop
set +x
echo "smoke: passed on $PYRO_BACKEND"
