#!/bin/sh
# The first process of a machine that runs the kernel tests: /etc/quilt-tests says where and how.
# The console shows what pytest prints; its report is written to the second serial port.
. /etc/quilt-tests
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts
mount -t devpts devpts /dev/pts
for folder in /dev/shm /run /tmp /var/tmp; do mount -t tmpfs tmp "$folder"; done
mount --make-rshared /run
ip link set lo up
# What a node has loaded by the time that its runtime starts; anything else the kernel asks for itself.
modprobe -a bridge vxlan veth nf_tables nf_conntrack
cd "$PROJECT" && python -m pytest -v -p no:cacheprovider --color=no --timeout=1800 --junitxml=/tmp/report.xml @/etc/quilt-tests-chosen
stty -F /dev/ttyS1 raw
cat /tmp/report.xml >/dev/ttyS1
echo o >/proc/sysrq-trigger
sleep 60
