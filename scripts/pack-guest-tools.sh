#!/bin/bash
# Packs this machine's pip and npm, with all they need beside a Python or a C library's files, so that
# tests can use the real ones in a guest that has neither: DIRECTORY/pip.tar and DIRECTORY/npm.tar.
# Both are unpacked at the guest's root; then these work there:
#
#   PYTHONPATH=/opt/pip python3 -m pip
#   /opt/node/npm
#
#   scripts/pack-guest-tools.sh DIRECTORY
set -euo pipefail
directory=$1
mkdir -p "$directory"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

site=$(pip --version | sed 's,.* from \(.*\)/pip (.*,\1,')
tar -C "$site" --exclude=__pycache__ --transform 's,^pip,opt/pip/pip,' -cf "$work/pip.tar" pip

# Node with the libraries it was linked with, so that it does not matter which the guest has.
node=$(readlink -f "$(command -v node)")
mkdir -p "$work/opt/node/lib"
cp "$node" "$work/opt/node/node"
libraries=$(ldd "$node" | grep -o '/[^ ]*')
# shellcheck disable=SC2086 # a list
cp -L $libraries "$work/opt/node/lib"
# npm stands where it stood: a distribution's has its modules beside it, and Node may look there too.
package=$(readlink -f "$(command -v npm)")
package=${package%/bin/*}
modules=$package
if [[ $package = /usr/share/nodejs/* ]]; then
    modules=/usr/share/nodejs
fi
cat >"$work/opt/node/npm" <<END
#!/bin/sh
export NODE_PATH='${package%/*}'
exec /opt/node/lib/ld-linux-x86-64.so.2 --library-path /opt/node/lib /opt/node/node \\
    '$package/bin/npm-cli.js' "\$@"
END
chmod +x "$work/opt/node/npm"
tar -cf "$work/npm.tar" -C "$work" opt -C / "${modules#/}"

mv "$work/pip.tar" "$work/npm.tar" "$directory"
