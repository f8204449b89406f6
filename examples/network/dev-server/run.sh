#!/bin/sh
# A dev server in a workspace that reaches nothing, looked at from this host.
#
#   examples/network/dev-server/run.sh
#
# Any line below may be pasted into a shell; without the next one, where pyro is in PATH. Needs curl.
pyro() { command "${PYRO:-pyro}" "$@"; }
set -eux

pyro env build debian:12
pyro create debian:12 --name dev
trap 'pyro delete dev' EXIT
pyro exec dev -- sh -c 'echo "<h1>It works</h1>" > index.html'

# It is published for as long as it runs: on 8000 of this host, or where that is taken on another.
pyro service start dev web --publish 8000 --ready-http http://127.0.0.1:8000/ -- python3 -m http.server 8000
pyro port list dev
address=$(pyro port list dev | sed -n 's/^8000 .* \(127\.0\.0\.1:[0-9]*\) .*/\1/p')
curl -sS --fail "http://$address/" | grep 'It works'

# What is changed inside is there at once.
pyro exec dev -- sh -c 'echo "<h1>It works better</h1>" > index.html'
curl -sS --fail "http://$address/" | grep 'better'

# And with the service the port goes.
pyro service stop dev web
curl -sS "http://$address/" && false
echo "the port is gone"
