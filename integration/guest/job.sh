# Runs in a guest as process 1, from the job's disk: makes the machine usable, runs the command, and gives back what it left.
# Beside it stand job.conf (nonce, suite, results), files.sh (puts the job's files in place) and command.sh (the command with its environment).
set -eu
fail() { echo "guest: $*"; busybox poweroff -f; }
trap 'fail "setting up the machine failed"' EXIT
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb

exec </dev/null >/dev/console 2>&1
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sys /sys
mount -t securityfs securityfs /sys/kernel/security
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=0755 run /run
mount -t tmpfs -o mode=1777 tmp /tmp
mkdir -p /dev/pts /dev/shm /dev/mqueue /run/lock
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t mqueue mqueue /dev/mqueue
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mount --make-rshared / # as under systemd, which container engines expect

for c in $(cat /sys/fs/cgroup/cgroup.controllers); do
	echo "+$c" >/sys/fs/cgroup/cgroup.subtree_control || echo "guest: cgroup controller $c can not be delegated"
done
. /job/job.conf
hostname "$suite"
echo "127.0.0.1 $suite" >>/etc/hosts
ip link set lo up
sysctl -qw kernel.printk_ratelimit=0 kernel.core_pattern=/dev/null || echo "guest: not all sysctls could be set"

port() { # the device of the virtio port that QEMU calls $1
	for p in /sys/class/virtio-ports/*; do
		[ "$(cat "$p/name")" != "$1" ] || echo "/dev/${p##*/}"
	done
}
output=$(port output)
[ -c "$output" ] || fail "no output port"
. /job/files.sh

# The command gets a pipe: a device would be taken from it when it changes its AppArmor profile or its mount namespace. Marks in the stream tell
# where the command's output begins and ends, so that what it wrote is complete even while processes it left behind keep the pipe open.
mkfifo /run/guest-output
cat /run/guest-output >"$output" &
exec 3>/run/guest-output
rm /run/guest-output
trap - EXIT
set +e
printf '\0%s start\n' "$nonce" >&3
(
	exec >&3 2>&1 3>&-
	cd /root
	. /job/command.sh
)
code=$?
if [ -n "$results" ]; then
	tar -C /results -cf - . >"$(port results)" || echo "guest: the results could not be sent"
fi
printf '\0%s exit %s\n' "$nonce" "$code" >&3
exec 3>&-
sleep 20 # the host ends the machine when it has read the mark; this is for the case that it is gone
busybox poweroff -f
