#!/bin/sh
# A customize hook of mmdebstrap: puts Debian's cloud kernel and its modules into the root ($1)
# without installing the package, which would bring a generator of initramfs images along.
set -eu
chroot "$1" sh -eu -c '
mkdir /kernel
cd /kernel
package=$(apt-cache depends linux-image-cloud-amd64 |
    sed -n "s/^ *Depends: \(linux-image-[^ ]*\)$/\1/p" | head -n 1)
apt-get download --quiet "$package"
dpkg-deb --extract ./*.deb .
cp -a lib/modules /usr/lib/
cp -a boot/vmlinuz-* /boot/vmlinuz
cd /
rm -r /kernel
depmod "$(ls /usr/lib/modules)"
'
