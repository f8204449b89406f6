#!/bin/busybox sh
# /init of the lab VM's initramfs: finds the root disk by its serial and hands over to run.py.
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in /modules/*.ko; do
    $b insmod "$module"
done
# QEMU's microvm lists disks in reverse order, and they appear a moment after their driver.
root=
tries=0
while [ -z "$root" ] && [ $tries -lt 500 ]; do
    for disk in /sys/block/vd*; do
        [ "$($b cat "$disk/serial" 2>/dev/null)" = lab-root ] && root=/dev/${disk##*/}
    done
    [ -n "$root" ] || $b usleep 10000
    tries=$((tries + 1))
done
$b mount -t ext4 -o rw,noatime "$root" /root || $b poweroff -f
$b mount --move /dev /root/dev
$b mount --move /proc /root/proc
$b mount --move /sys /root/sys
$b mount -t tmpfs -o mode=755 run /root/run
$b mkdir /root/run/lab
$b cp /lab/* /root/run/lab/
exec $b switch_root /root /usr/bin/python3 -I -S /run/lab/run.py
