#!/bin/sh
# A pull request is tried and read before anybody runs it on a machine that matters.
#
#   examples/use-cases/pull-request/run.sh
#
# Any line below may be pasted into a shell; without the next one, where pyro is in PATH.
pyro() { command "${PYRO:-pyro}" "$@"; }
set -eux
export GIT_AUTHOR_NAME=me GIT_AUTHOR_EMAIL=me@example.org GIT_COMMITTER_NAME=me GIT_COMMITTER_EMAIL=me@example.org

# A repository, with a branch that somebody would like to see merged.
work=$(mktemp -d)
trap 'pyro delete review; rm -rf "$work"' EXIT
git init -q -b main "$work/app"
cd "$work/app"
echo 'print("hello")' > app.py
git add app.py
git commit -qm 'Say hello'
git checkout -q -b proposal
echo 'print("hello, world")' > app.py
printf '#!/bin/sh\necho testing\n' > check
chmod +x check
git add .
git commit -qm 'Greet everybody'
git checkout -q main

# The workspace gets what the repository tracks, with its history: no hook and no filter runs, no secret and
# nothing that is ignored comes along.
pyro env build debian:12
pyro create debian:12 --name review --seed-git "$work/app@main"
pyro exec review -- git log --oneline

# The proposal, as a patch. The difference marks what may run by itself.
git diff main proposal | pyro patch apply review --patch-file -
pyro diff review > "$work/report"
cat "$work/report"
grep 'check.*executed' "$work/report"
pyro exec review -- ./check
test "$(pyro exec review -- python3 app.py)" = 'hello, world'

# A reviewer amends it there, and commits.
pyro exec review -- sh -c 'echo "# greets everybody" >> app.py
    git checkout -q -b amended && git add -A && git -c user.name=me -c user.email=me@example.org commit -qm Amended'

# The commit comes home by git itself, through pyro: git speaks with the git in the workspace, and checks
# each object that it gets.
pyro=${PYRO:-pyro}
git -c protocol.ext.allow=always -c fetch.fsckObjects=true \
    fetch "ext::$pyro exec -i review -- git-upload-pack /workspace" +amended:refs/remotes/review/amended
git log --oneline main..review/amended
test "$(git show review/amended:app.py | tail -n 1)" = '# greets everybody'
