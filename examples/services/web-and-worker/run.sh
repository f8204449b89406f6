#!/bin/sh
# A web server and a worker that makes what it serves: proven ready, used, and stopped.
#
#   examples/services/web-and-worker/run.sh
#
# Any line below may be pasted into a shell; without the next one, where pyro is in PATH.
pyro() { command "${PYRO:-pyro}" "$@"; }
set -eux

pyro env build debian:12
pyro create debian:12 --name site
trap 'pyro delete site' EXIT

# The worker takes jobs from a pipe, and says when it has opened it. It is started again if it fails.
pyro exec site -- mkdir /srv/results
pyro exec -i site -- sh -c 'cat > /srv/worker.sh' <<'WORKER'
[ -p /run/jobs ] || mkfifo /run/jobs
exec 3<>/run/jobs
echo waiting for jobs
while read -r job <&3; do
    echo "$job" | tr a-z A-Z > "/srv/results/$job"
    echo "done: $job"
done
WORKER
pyro service start site worker --ready-log '^waiting for jobs$' --restart on-failure -- sh /srv/worker.sh

# The web server is ready when it answers.
pyro service start site web --depends-on worker --ready-http http://127.0.0.1:8000/ \
    -- python3 -u -m http.server 8000 --bind 127.0.0.1 --directory /srv/results
pyro service list site

# A job for the worker; `curl` waits for what it makes of it.
pyro exec site -- sh -c 'echo resize > /run/jobs'
pyro exec site -- curl -sS --fail --retry 10 --retry-delay 1 --retry-all-errors http://127.0.0.1:8000/resize
pyro service logs site worker
pyro service logs site web

# A worker that is killed comes back. The events tell of it, and `wait` returns when it is ready again.
pyro service signal site worker KILL
pyro events site --follow | grep --max-count=1 backoff
pyro service wait site worker
pyro service status site worker

pyro service stop site web
pyro service stop site worker
pyro service list site
