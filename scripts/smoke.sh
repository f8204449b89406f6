#!/bin/sh
# The life of one workspace and of two services in it, from nothing to nothing, as a user would type
# it. Ends with the first line that is not as it should be.
#
#   scripts/smoke.sh PYRO BACKEND
set -eu

pyro=$1
export PYRO_BACKEND="$2"

# A state directory of its own; images are shared.
PYRO_HOME=$(mktemp -d)
export PYRO_HOME
said=$(mktemp)
leave() {
    "$pyro" delete smoke || true
    "$pyro" node stop || true
    rm -rf "$PYRO_HOME" "$said"
}
trap 'leave >/dev/null 2>&1' EXIT

# Runs a pyro command that must succeed, and say this.
says() {
    wanted=$1
    shift
    "$pyro" "$@" >"$said"
    grep -F -e "$wanted" "$said" || { cat "$said" && return 1; }
}

# Runs a pyro command that must fail with this exit code.
fails() {
    wanted=$1
    shift
    code=0
    "$pyro" "$@" || code=$?
    test "$code" = "$wanted"
}

set -x

# A workspace: commands in it, and a disk that stays.
"$pyro" env build debian:12
workspace=$("$pyro" create debian:12 --name smoke --id-only)
"$pyro" exec smoke -- uname -sr
test "$("$pyro" exec smoke -- sh -c 'echo written > note; cat note')" = written
"$pyro" list
"$pyro" status "$workspace"
"$pyro" stop smoke
"$pyro" start smoke
test "$("$pyro" exec smoke -- cat note)" = written
fails 7 exec smoke -- sh -c 'exit 7'

# Two services: each start returns when the service is proven ready, by its port and by a file.
# A machine that is emulated twice over takes its time.
"$pyro" exec smoke -- sh -c 'echo hello > /srv/page'
"$pyro" service start smoke web --ready-tcp 127.0.0.1:8000 --ready-timeout-seconds 120 \
    -- python3 -u -m http.server 8000 --bind 127.0.0.1 --directory /srv
"$pyro" service start smoke worker --ready-file /run/worker/ready --ready-timeout-seconds 120 \
    -- sh -c 'mkdir /run/worker; echo at work; echo seven > /run/worker/ready; exec sleep 1000'
test "$("$pyro" exec smoke -- curl -sS http://127.0.0.1:8000/page)" = hello
test "$("$pyro" exec smoke -- cat /run/worker/ready)" = seven

# What is said of them: in a table, of each, and of the workspace.
"$pyro" service list smoke
says '"running_count": 2' service list smoke --json
says '"running_service_count": 2' status smoke --json
says '"ready": true' service status smoke web --json
says '"type": "tcp"' service status smoke web --json
says '"ready": true' service status smoke worker --json
says '"type": "file"' service status smoke worker --json
says 'GET /page' service logs smoke web
test "$("$pyro" service logs smoke worker)" = "at work"

# One that dies says so at once, with its exit code and what it said last.
fails 1 service start smoke broken --ready-file /run/broken -- sh -c 'echo no configuration; exit 3'
says '"exit_code": 3' service status smoke broken --json
says 'no configuration' service logs smoke broken

# Nothing of them stands in the workspace: only what was written there before.
test "$("$pyro" exec smoke -- find /workspace -mindepth 1)" = /workspace/note

# What is different, what is kept and what comes out is the same, however much services print meanwhile.
"$pyro" service start smoke talk --ready-file /run/talk --ready-timeout-seconds 120 \
    -- sh -c 'echo up > /run/talk; while :; do echo another line; sleep 0.01; done'
before=$("$pyro" diff smoke --json)
test "$("$pyro" diff smoke --name-only)" = note
"$pyro" snapshot create smoke working
"$pyro" export smoke --output "$PYRO_HOME/exported"
test "$(ls -A "$PYRO_HOME/exported")" = note
test "$("$pyro" diff smoke --to working --name-only)" = note
test "$("$pyro" diff smoke --from working --name-only)" = ""
test "$("$pyro" diff smoke --json)" = "$before"
"$pyro" service stop smoke talk

# Each stop returns when the last process of the service is gone, and says what ended it. All that it
# printed is kept.
says '"stop_reason": "sigterm"' service stop smoke web --json
says '"stop_reason": "sigterm"' service stop smoke worker --json
says '"running_count": 0' service list smoke --json
fails 7 exec smoke -- curl -sS http://127.0.0.1:8000/page
says 'GET /page' service logs smoke web
"$pyro" service delete smoke worker
fails 1 service status smoke worker

"$pyro" delete smoke
test "$("$pyro" list -q)" = ""
"$pyro" node stop
set +x
echo "smoke: passed on $PYRO_BACKEND"
