#!/bin/bash
# Installs what building, running and (with `test` or `fuzz`) testing pyro needs and this machine
# lacks: from the distribution's packages as root or by sudo, and tools of cargo's with cargo. Says
# what it installs; says nothing when all is there.
#
#   scripts/setup.sh [test|fuzz]
set -euo pipefail

# Versions of the cargo tools, and where they are kept when they are not in PATH already.
nextest=0.9.143
deny=0.20.2
fuzz=0.13.2
tools=${XDG_CACHE_HOME:-$HOME/.cache}/pyro-dev/tools

# A program that shows that it is there, and the package that brings it.
programs='
cc                       build-essential
pkg-config               pkg-config
make                     make
git                      git
qemu-system-x86_64       qemu-system-x86
mmdebstrap               mmdebstrap
mksquashfs               squashfs-tools
mke2fs                   e2fsprogs
newuidmap                uidmap
setpriv                  util-linux
dpkg-deb                 dpkg
xz                       xz-utils
'
# What the lab needs besides (its VM shares files by virtiofs, its Firecracker comes by pip), and
# what tests compare with.
programs_for_tests='
/usr/lib/qemu/virtiofsd  qemu-system-common
python3                  python3
pip                      python3-pip
curl                     curl
npm                      npm
openssl                  openssl
cpio                     cpio
ip                       iproute2
perl                     perl
mkfs.xfs                 xfsprogs
'

if [ "${1-}" = test ]; then
    programs+=$programs_for_tests
fi

missing=()
while read -r program package; do
    if [ -n "$program" ] && ! PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null; then
        missing+=("$package")
    fi
done <<<"$programs"

if [ ${#missing[@]} -gt 0 ]; then
    if ! command -v apt-get >/dev/null; then
        echo "error: this machine has no apt-get; install these yourself: ${missing[*]}" >&2
        exit 1
    fi
    as_root=()
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "error: these packages are missing: ${missing[*]}" >&2
            echo "hint: as root, apt-get install ${missing[*]}" >&2
            exit 1
        fi
        as_root=(sudo)
    fi
    echo "setup: installing ${missing[*]}"
    "${as_root[@]}" apt-get update -qq </dev/null
    DEBIAN_FRONTEND=noninteractive "${as_root[@]}" \
        apt-get install -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
fi

if ! command -v cargo >/dev/null; then
    echo "error: there is no cargo" >&2
    echo "hint: install Rust 1.95 or newer, https://rustup.rs" >&2
    exit 1
fi

# A cargo tool of this version, unless one is in PATH. Optimised a little: built once, run seldom.
tool() {
    local name=$1 version=$2
    if command -v "$name" >/dev/null || [ -x "$tools/bin/$name" ]; then
        return
    fi
    echo "setup: building $name $version (once; it stays in $tools)"
    env -u CARGO_TARGET_DIR CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
        cargo install --quiet --locked --root "$tools" "$name@$version" </dev/null
}
if [ "${1-}" = test ]; then
    tool cargo-nextest "$nextest"
    tool cargo-deny "$deny"
fi
if [ "${1-}" = fuzz ]; then
    tool cargo-fuzz "$fuzz"
fi
