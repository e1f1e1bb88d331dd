#!/bin/sh
# Runs when the package's files are there. dpkg calls it with "configure", and with "abort-remove" where it could not remove
# the package. rpm calls it with the number of versions that are installed.
set -e
lib=/usr/lib/oci-apparmor
case $1 in
configure | abort-remove | [1-9]*)
	"$lib/package/place.sh" "$lib/package" /usr "$(cat "$lib/package/version")"
	if [ -d /run/systemd/system ]; then
		systemctl daemon-reload || true
		systemctl try-restart oci-apparmor-agent.service || true # so that it is of this version, where it runs
	fi
	if [ -e /proc/self/exe ]; then
		/usr/bin/oci-apparmor prune || true # what stays of an earlier version goes later
	else # this is an image, in which nothing runs
		for version in "$lib"/programs/*; do
			[ "$version" = "$lib/$(readlink "$lib/current")" ] || rm -rf "$version"
		done
	fi
	;;
esac
