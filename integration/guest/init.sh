#!/bin/busybox sh
# The first program of a guest, in its initramfs: modules, disks, and on to the job. A failure shows on the console.
# The kernel's command line may set two variables: disks, what the names of disks begin with, and probe, where the guest is
# only to show that it gets here.
set -eu
trap 'busybox echo "guest: the first program failed"; busybox poweroff -f' EXIT
export PATH=/bin
busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
if [ -n "${probe:-}" ]; then
	busybox echo "guest: the first program runs"
	busybox poweroff -f
fi
for module in /modules/*; do
	[ ! -e "$module" ] || busybox insmod "$module"
done
disk=/dev/${disks:-vd}
tries=0
until [ -b "${disk}a" ] && [ -b "${disk}b" ]; do
	tries=$((tries + 1))
	[ "$tries" -lt 200 ] || { busybox echo "guest: no disks"; exit 1; }
	busybox usleep 50000
done
busybox mount -t ext4 -o noatime,noinit_itable "${disk}a" /guest
busybox mount -t ext4 -o ro "${disk}b" /guest/job
# A kernel that is not the suite's own has its modules on a disk of their own.
if [ -b "${disk}c" ]; then
	modules=/guest/usr/lib/modules/$(busybox uname -r)
	busybox mkdir -p "$modules"
	busybox mount -t ext4 -o ro "${disk}c" "$modules"
fi
busybox mount -o move /dev /guest/dev
exec busybox switch_root /guest /bin/sh /job/job.sh
