#!/bin/busybox sh
# The first program of a guest, in its initramfs: modules, disks, and on to the job. A failure shows on the console.
set -eu
trap 'busybox echo "guest: the first program failed"; busybox poweroff -f' EXIT
export PATH=/bin
busybox mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
for module in /modules/*; do
	busybox insmod "$module"
done
tries=0
until [ -b /dev/vda ] && [ -b /dev/vdb ]; do
	tries=$((tries + 1))
	[ "$tries" -lt 200 ] || { busybox echo "guest: no disks"; exit 1; }
	busybox usleep 50000
done
busybox mount -t ext4 -o noatime,noinit_itable /dev/vda /guest
busybox mount -t ext4 -o ro /dev/vdb /guest/job
busybox mount -o move /dev /guest/dev
exec busybox switch_root /guest /bin/sh /job/job.sh
