# Runs in a guest as process 1, from the job's disk: makes the machine usable, and hands over to run.sh, by way of systemd where the job asks for it.
# Beside it stand job.conf (nonce, suite, results, systemd), files.sh (puts the job's files in place) and command.sh (the command with its environment).
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

. /job/files.sh
[ -n "$systemd" ] || exec /bin/sh /job/run.sh

# systemd boots as far as basic.target: what is enabled beyond that starts when the job has multi-user.target started, which leaves the job alone.
# What nothing here needs is left out, for all of it is slow in emulation: above all compiling the hundred profiles of desktop programs.
find /etc/apparmor.d -maxdepth 1 -type f ! -name lsb_release -delete
mkdir -p /run/systemd/system
for unit in systemd-udevd systemd-udev-trigger systemd-udev-load-credentials systemd-tmpfiles-setup systemd-tmpfiles-setup-dev \
	systemd-tmpfiles-setup-dev-early systemd-binfmt systemd-sysctl systemd-sysusers systemd-random-seed systemd-remount-fs \
	systemd-update-done systemd-journal-flush systemd-journal-catalog-update ldconfig kmod-static-nodes systemd-modules-load; do
	ln -s /dev/null "/run/systemd/system/$unit.service"
done
cat >/run/systemd/system/job.target <<'EOF'
[Unit]
Requires=basic.target
After=basic.target
Wants=job.service
AllowIsolate=yes
EOF
cat >/run/systemd/system/job.service <<'EOF'
[Unit]
DefaultDependencies=no
After=basic.target
IgnoreOnIsolate=yes
[Service]
ExecStart=/bin/sh /job/run.sh
Delegate=yes
EOF
exec /lib/systemd/systemd --unit=job.target
