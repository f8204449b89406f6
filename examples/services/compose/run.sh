#!/bin/sh
# The services of a compose file, in a workspace.
#
#   examples/services/compose/run.sh
#
# Any line below may be pasted into a shell that stands in this directory; without the next one, where
# pyro is in PATH.
pyro() { command "${PYRO:-pyro}" "$@"; }
set -eux
cd "$(dirname "$0")"

pyro env build debian:12
pyro create debian:12 --name composed
trap 'pyro delete composed' EXIT

# The compose.yaml of this directory, with the .env and the env_file beside it.
pyro service up composed
pyro service status composed web
pyro exec composed -- curl -sS --fail --retry 10 --retry-delay 1 --retry-all-errors http://127.0.0.1:8000/now

# One that is named comes with those it depends on.
pyro service down composed
pyro service up composed web
pyro service list composed
pyro service down composed
