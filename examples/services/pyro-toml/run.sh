#!/bin/sh
# Services from a file: started in their order, changed, and stopped together.
#
#   examples/services/pyro-toml/run.sh
#
# Any line below may be pasted into a shell that stands in this directory; without the next one, where
# pyro is in PATH.
pyro() { command "${PYRO:-pyro}" "$@"; }
set -eux
cd "$(dirname "$0")"

pyro env build debian:12
pyro create debian:12 --name project
trap 'pyro delete project' EXIT

# The pyro.toml of this directory. All are ready when this returns.
pyro service up project
pyro service list project
pyro exec project -- curl -sS --fail http://127.0.0.1:8000/

# Again: nothing to do. With another value for what the file names: only what that changes.
pyro service up project
pyro service up project --env GREETING=salve
pyro exec project -- curl -sS --fail http://127.0.0.1:8000/

# Those that others need are stopped last.
pyro service down project
pyro service list project
