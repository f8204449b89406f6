#!/bin/sh
# Several attempts at one task, each on a machine of its own, side by side; the best one comes home.
#
#   examples/use-cases/parallel-attempts/run.sh
#
# Any line below may be pasted into a shell; without the next one, where pyro is in PATH.
pyro() { command "${PYRO:-pyro}" "$@"; }
set -eux

project=$(mktemp -d)
trap 'pyro delete try-1 try-2 try-3; rm -rf "$project"' EXIT
echo 'seq 1 20000' > "$project/input.sh"
echo '6' > "$project/answer"

# They begin alike: the files are packed once and shared.
pyro env build debian:12
for number in 1 2 3; do
    pyro create debian:12 --name "try-$number" --label task=count --seed-path "$project" -m 512m
done
pyro list --label task=count

# Each works on its own copy, at the same time; none sees another.
pyro exec try-1 -- sh -c 'sh input.sh | grep -c 7777 > answer' &
pyro exec try-2 -- sh -c 'sh input.sh | awk "/7777/ { n++ } END { print n }" > answer; touch notes' &
pyro exec try-3 -- sh -c 'echo 6 > answer' &
wait
for number in 1 2 3; do
    pyro diff "try-$number" --stat
    pyro exec "try-$number" -- sh -c 'test "$(cat answer)" = "$(sh input.sh | grep -c 7777)"' \
        && best=${best:-try-$number}
done

# One of those that are right is taken, without its notes.
pyro sync pull "$best" answer --to "$project"
test "$(cat "$project/answer")" = 2
