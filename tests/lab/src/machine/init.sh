#!/bin/busybox sh
# The machine's first process. What is printed between the two marks is the script's.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tracefs tracefs /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
# One at a time: a controller that the command line switches off must not take the others along.
for controller in cpu memory pids; do
    echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control
done 2> /dev/null
# The kernel's own messages would get in between the script's words.
dmesg -n 1
for module in /modules/*.ko; do
    if [ -e "$module" ]; then insmod "$module" || poweroff -f; fi
done
ip link set lo up
cd /
echo "--- the script begins ---"
sh /script < /dev/null 2>&1
echo "--- the script has ended: $? ---"
poweroff -f
