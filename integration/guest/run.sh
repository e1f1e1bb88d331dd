# Runs the job's command in a guest that job.sh has made usable, and gives back what it left.
set -eu
fail() { echo "guest: $*"; busybox poweroff -f; }
trap 'fail "running the command failed"' EXIT
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb
exec </dev/null >/dev/console 2>&1
. /job/job.conf

port() { # the device of the port $1, output or results
	if [ "$ports" = serial ]; then
		[ "$1" = output ] && device=/dev/ttyS0 || device=/dev/ttyS1
		stty -F "$device" raw -echo
		echo "$device"
		return
	fi
	for p in /sys/class/virtio-ports/*; do
		[ "$(cat "$p/name")" != "$1" ] || echo "/dev/${p##*/}"
	done
}
output=$(port output)
[ -c "$output" ] || fail "no output port"

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
