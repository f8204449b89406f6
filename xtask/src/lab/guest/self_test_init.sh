#!/bin/busybox sh
# /init of the guest that the self-test boots in Firecracker inside the lab VM.
/bin/busybox mount -t proc proc /proc
/bin/busybox echo "L2 answers: $(/bin/busybox uname -r), $(/bin/busybox cut -d' ' -f1 /proc/uptime) s after its kernel started"
/bin/busybox reboot -f
