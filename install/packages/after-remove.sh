#!/bin/sh
# Runs when the package's files are gone. dpkg calls it with "remove", and with "purge" when the configuration is to go as
# well. rpm, which knows no purge, calls it with 0. Profiles stay in the kernel until the next boot, because what runs under
# one that is removed runs unconfined.
set -e
case $1 in
remove | 0)
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload || true
	fi
	;;
purge)
	if [ -e /usr/local/bin/oci-apparmor ]; then
		echo "oci-apparmor: /etc/oci-apparmor and /var/lib/oci-apparmor stay, for /usr/local/bin/oci-apparmor" >&2
		exit 0
	fi
	for file in /etc/apparmor.d/*.oci-apparmor; do
		if grep -qs '^# oci-apparmor: {' "$file"; then # other files may be called so
			rm -f "$file"
		fi
	done
	rm -f /etc/systemd/system/*.wants/oci-apparmor.service /etc/systemd/system/*.wants/oci-apparmor-agent.service
	rm -rf /etc/oci-apparmor /var/lib/oci-apparmor
	if [ ! -e /usr/lib/oci-apparmor/programs ]; then # no shim runs that needs its containers' records
		rm -rf /run/oci-apparmor
	fi
	;;
esac
