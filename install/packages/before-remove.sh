#!/bin/sh
# Runs before the package's files are removed: where dpkg calls it with "remove", and rpm with 0, and not for an upgrade. It
# takes ours out of engines where nothing is lost by that. It fails while something needs the programs, and then the package and
# the engines stay as they are.
set -e
lib=/usr/lib/oci-apparmor
case $1 in
remove | 0)
	status=0
	/usr/bin/oci-apparmor removable --uninstall --bin /usr/bin || status=$?
	case $status in
	0) ;;
	126 | 127) # it does not run at all, as in an image for another architecture
		record=/var/lib/oci-apparmor/wiring/record.json
		if [ -e /proc/self/exe ] && [ -e $record ]; then # on a node, something may need the programs
			case $(tr -d ' \n' <$record) in
			*'"engines":{"'* | *'"changes":{"'*)
				echo 'oci-apparmor does not run, and engines may be wired to it: install the package again first, and remove it then' >&2
				exit 1
				;;
			esac
		fi
		;;
	*) exit 1 ;;
	esac
	if [ -d /run/systemd/system ]; then
		systemctl stop oci-apparmor-agent.service || true
		if [ "$1" = 0 ]; then # dpkg keeps this for the next install, as it does configuration
			systemctl disable --quiet oci-apparmor.service oci-apparmor-agent.service || true
		fi
	fi
	# The programs go now, unless a shim runs. Then it removes them when its last container ends.
	version=$(readlink "$lib/current") || version=
	rm -f "$lib/current"
	if [ ! -e /proc/self/exe ]; then # this is an image, in which nothing runs
		rm -rf "$lib/programs"
	elif [ -n "$version" ]; then
		"$lib/$version/oci-apparmor" prune || true
		if [ -e "$lib/$version" ]; then # what has watched over an engine's restart may just be ending
			sleep 1
			"$lib/$version/oci-apparmor" prune || true
		fi
	fi
	;;
esac
