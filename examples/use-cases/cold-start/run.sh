#!/bin/sh
# Do the steps of a README work on a machine that has seen nothing of the project? And twice?
#
#   examples/use-cases/cold-start/run.sh
#
# Any line below may be pasted into a shell; without the next one, where pyro is in PATH.
pyro() { command "${PYRO:-pyro}" "$@"; }
set -eux

# A project whose README says: run ./setup, then ./serve.
project=$(mktemp -d)
trap 'pyro delete cold; rm -rf "$project"' EXIT
mkdir "$project/site"
echo '<h1>hello</h1>' > "$project/site/index.html.in"
cat > "$project/setup" <<'SETUP'
#!/bin/sh
set -e
mkdir -p build
sed s/hello/welcome/ site/index.html.in > build/index.html
SETUP
cat > "$project/serve" <<'SERVE'
#!/bin/sh
exec python3 -u -m http.server 8000 --bind 127.0.0.1 --directory build
SERVE
chmod +x "$project/setup" "$project/serve"

# On a machine where only this was ever there. The service counts as up when it answers.
pyro env build debian:12
pyro create debian:12 --name cold --seed-path "$project"
pyro exec cold -- ./setup
pyro service start cold site --ready-http http://127.0.0.1:8000/ -- ./serve
test "$(pyro exec cold -- curl -sS http://127.0.0.1:8000/)" = '<h1>welcome</h1>'

# All that the setup made, and nothing that it should not have.
test "$(pyro diff cold --name-only)" = build/index.html

# From the beginning again: the machine is as it was at first, and the steps work a second time.
pyro reset cold --no-resume
test "$(pyro diff cold --name-only)" = ''
pyro exec cold -- ./setup
pyro service start cold site --ready-http http://127.0.0.1:8000/ -- ./serve
pyro service list cold
