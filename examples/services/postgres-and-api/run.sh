#!/bin/bash
# Postgres from Debian's packages, and an HTTP API in front of it that starts when the database takes
# queries. What was stored outlives a restart of the database.
#
#   examples/services/postgres-and-api/run.sh
#
# Needs mmdebstrap, as `pyro env build` does. Any line below may be pasted into a shell that stands in
# this directory; without the next one, where pyro is in PATH.
pyro() { command "${PYRO:-pyro}" "$@"; }
set -euxo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

# The workspace has no network, so that everything must be in the environment: made once, from packages.
pyro env inspect postgres-and-python >/dev/null 2>&1 ||
    mmdebstrap --quiet --variant=minbase --include=postgresql,python3-psycopg2,curl bookworm - |
    pyro env import postgres-and-python -
pyro create postgres-and-python --name notes
trap 'pyro delete notes' EXIT

# Debian's package has made a cluster of databases, and `pg_ctlcluster` changes to its user. It is
# ready when it takes queries. INT is what Postgres calls a fast shutdown.
pyro service start notes db --ready-command 'pg_isready --quiet' --stop-signal INT --restart on-failure \
    -- pg_ctlcluster --foreground 15 main start
pyro exec --user postgres notes -- psql --quiet \
    --command 'CREATE TABLE notes (id serial PRIMARY KEY, text text NOT NULL, at timestamptz DEFAULT now())'

# The API is ready when it answers with what the database has.
pyro exec -i notes -- sh -c 'cat > /srv/api.py' <api.py
pyro service start notes api --user postgres --depends-on db --restart on-failure \
    --ready-http http://127.0.0.1:8000/notes --health-http http://127.0.0.1:8000/notes \
    -- python3 -u /srv/api.py
pyro service list notes

pyro exec notes -- curl -sS --fail --data 'water the plants' http://127.0.0.1:8000/notes
pyro exec notes -- curl -sS --fail --data 'feed the cat' http://127.0.0.1:8000/notes
pyro service restart notes db
pyro exec notes -- curl -sS --fail http://127.0.0.1:8000/notes
pyro service logs notes api
pyro service logs notes db

pyro service stop notes api
pyro service stop notes db
pyro service list notes
