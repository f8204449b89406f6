#!/bin/sh
# Runs in the lab VM: boots real Firecracker with Debian's kernel and a tiny initramfs three times.
set -eu
echo "kvm:         $(ls -l /dev/kvm)"
echo "firecracker: $(firecracker --version | head -n 1), $(jailer --version | head -n 1)"
cat >/tmp/vm.json <<'J'
{"boot-source": {"kernel_image_path": "/lab/image/vmlinux",
                 "initrd_path": "/lab/image/self_test.cpio",
                 "boot_args": "console=ttyS0 quiet reboot=k panic=1 i8042.nokbd i8042.noaux mitigations=off"},
 "drives": [],
 "machine-config": {"vcpu_count": 1, "mem_size_mib": 256}}
J
for round in 1 2 3; do
    start=$(date +%s%N)
    firecracker --no-api --config-file /tmp/vm.json >/tmp/vm.log 2>&1 || {
        cat /tmp/vm.log
        exit 1
    }
    end=$(date +%s%N)
    grep 'L2 answers' /tmp/vm.log || { cat /tmp/vm.log; exit 1; }
    echo "round $round: start to end $(((end - start) / 1000000)) ms"
done
