#!/bin/bash
# The newcomer's way, in a bare Debian root made for it: an ordinary user with Python and pip installs
# the wheel and runs `pyro demo`. What the demo says is missing, and nothing else, is installed; it
# must end with a command's output from a VM.
#
#   scripts/newcomer.sh WHEEL        as root
#
# The root uses the host's package sources and pip configuration, and the host's network and kernel;
# its processes and mounts are its own and go with it.
set -euo pipefail

wheel=$(realpath "$1")
if [ "$(id -u)" != 0 ]; then
    echo "error: a root file system is made as root" >&2
    exit 1
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/pyro-newcomer.XXXXXX")
root=$work/root
trap 'rm -rf --one-file-system "$work"' EXIT

echo "newcomer: making a bare Debian root with Python, pip, and nothing else"
mmdebstrap --quiet --variant=apt --include=mount,python3,python3-pip,python3-venv,ca-certificates \
    bookworm "$root"

# As on the host: where packages come from, and whom to trust.
rm -f "$root/etc/apt/sources.list" "$root"/etc/apt/sources.list.d/*
for path in /etc/apt/sources.list /etc/apt/sources.list.d /etc/apt/apt.conf.d /etc/apt/auth.conf.d \
    /etc/apt/keyrings /etc/apt/trusted.gpg.d /etc/pip.conf /etc/resolv.conf /etc/hosts \
    /etc/ssl/certs/ca-certificates.crt; do
    if [ -e "$path" ]; then
        rm -rf "${root:?}$path"
        mkdir -p "$root$(dirname "$path")"
        cp -rL "$path" "$root$path"
    fi
done
cp "$wheel" "$root/"
env | grep -E '^(PIP_|SSL_CERT_|REQUESTS_CA_|HTTPS?_PROXY=|NO_PROXY=|https?_proxy=|no_proxy=)' |
    grep -v -E '^PIP_FIND_LINKS=' | sed 's/^/export /; s/=\(.*\)/="\1"/' >"$root/environment" || true

# What is done inside, as its PID 1.
cat >"$root/story.sh" <<'STORY'
set -euo pipefail
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
. /environment
useradd --create-home --shell /bin/bash newcomer
as_newcomer() { su newcomer --login --command "set -e; . /environment; $1"; }

echo 'newcomer: $ pip install pyro_mcp-....whl'
as_newcomer "python3 -m venv pyro && pyro/bin/pip install --quiet --no-index /$(basename "$WHEEL")"
as_newcomer "pyro/bin/pyro --version"

apt-get -qq update
for round in 1 2 3 4 5 6; do
    echo "newcomer: \$ pyro demo (time $round)"
    if as_newcomer "pyro/bin/pyro demo" >/tmp/said 2>/tmp/errors; then
        cat /tmp/errors /tmp/said
        grep -q '^Linux ' /tmp/said
        grep -q '^git version ' /tmp/said
        grep -q '^written before the stop' /tmp/said
        as_newcomer "pyro/bin/python -c '
from pyro_mcp import Workspace
with Workspace.create(mem_mib=256) as ws:
    print(ws.run([\"uname\", \"-sr\"], check=True).stdout, end=\"\")
'"
        as_newcomer "pyro/bin/pyro node stop" >/dev/null
        echo "newcomer: the demo ran after $((round - 1)) installations that it named"
        exit 0
    fi
    tail -n 12 /tmp/errors
    # Exactly what it said.
    packages=$(sed -n -E 's/.*apt-get install (.*)/\1/p' /tmp/errors | tail -n 1)
    if [ -z "$packages" ]; then
        echo "newcomer: the demo failed and named nothing to install" >&2
        exit 1
    fi
    echo "newcomer: # apt-get install $packages"
    # shellcheck disable=SC2086 # words, some of them options
    apt-get -qq install --yes --no-install-recommends $packages >/tmp/apt 2>&1 ||
        { tail /tmp/apt; exit 1; }
done
echo "newcomer: the demo still names what is missing" >&2
exit 1
STORY

# A mount and a process name space of its own: what is started there ends with the story. A user
# may make name spaces in a root that was pivoted into, and not in a chroot.
WHEEL=$wheel ROOT=$root unshare --mount --pid --fork --kill-child --propagation private \
    bash -euc '
        mount --bind "$ROOT" "$ROOT"
        mount --rbind /dev "$ROOT/dev"
        mount --rbind /sys "$ROOT/sys"
        mount -t proc proc "$ROOT/proc"
        mount -t tmpfs -o mode=1777 tmpfs "$ROOT/tmp"
        mkdir -p "$ROOT/run/old"
        cd "$ROOT"
        pivot_root . run/old
        umount --lazy /run/old
        cd /
        exec bash /story.sh </dev/null
    '
