#!/bin/sh
# dockerd 26.1 keeps a runtime, and a default runtime, that are deleted from daemon.json, until it is restarted.
#
# Both keys are among those that a reload (SIGHUP) takes over. But a reload takes over only keys that are there: to take
# one out of the file changes nothing, while an empty value does, and so does another one. A file without the runtime that
# is still the default from before is refused as a whole, of which only the log speaks: the signal has no answer. So a tool
# that adds a runtime and deletes it again, key and all, leaves the daemon with it, and dockerd --validate
# calls each of these files good.
#
# It needs root, Debian's tools (apt-get, dpkg-deb), its mirror, and curl, and takes a minute. It prints:
#
#   dockerd 26.1.5: started with other as the default: default other, runtimes other runc
#   dockerd 26.1.5: reload of {}:                      default other, runtimes other runc
#   dockerd 26.1.5: reload of default-runtime runc:    default runc, runtimes other runc
#   dockerd 26.1.5: reload of runtimes {}:             default runc, runtimes runc
#   dockerd 26.1.5: reload of other as the default:    default other, runtimes other runc
#   dockerd 26.1.5: reload of a third one alone:       default other, runtimes other runc
set -eu
version=26.1.5+dfsg1-9+deb13u1+b1
tmp=$(mktemp -d)
trap 'test ! -s "$tmp/pid" || kill "$(cat "$tmp/pid")"; wait; rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir -p lists/partial cache/archives/partial bin
: >status
mirror=${OCI_APPARMOR_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)}
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >sources.list
apt() {
	apt-get -qq -o Dir::Etc::sourcelist="$tmp/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::Lists="$tmp/lists" \
		-o Dir::State::status="$tmp/status" -o Dir::Cache="$tmp/cache" -o APT::Sandbox::User= "$@"
}
apt update
apt download "docker.io=$version" containerd runc libc6 libsystemd0 libcap2 libseccomp2
for package in *.deb; do dpkg-deb -x "$package" tree; done
for program in sbin/dockerd bin/containerd sbin/runc; do # by the libraries that were unpacked
	printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$tmp/tree/usr/lib64/ld-linux-x86-64.so.2" \
		"$tmp/tree/usr/lib/x86_64-linux-gnu" "$tmp/tree/usr/$program" >"bin/${program#*/}"
	chmod +x "bin/${program#*/}"
done

get() { curl -s --unix-socket sock "http://docker/$1"; }
now() { # what the daemon has, as: default D, runtimes A B
	get info >info || return 1
	echo "default $(sed -n 's/.*"DefaultRuntime":"\([^"]*\)".*/\1/p' info), runtimes" \
		$(sed 's/.*"Runtimes":{\(.*\)},"DefaultRuntime".*/\1/' info | grep -oE '"(other|runc|third)":\{' | tr -d '":{' | sort)
}
daemons=
reload() { # the file $2, which is called $1
	echo "$2" >daemon.json
	bin/dockerd --validate --config-file daemon.json --userland-proxy=false >/dev/null 2>&1 || { echo "$1: not valid"; exit 1; }
	kill -HUP "$(cat pid)"
	sleep 2
	line "reload of $1:"
}
line() {
	found=$(now)
	printf 'dockerd %s: %-34s %s\n' "${version%%+*}" "$1" "$found"
	daemons="$daemons$found;"
}

other="\"other\": {\"path\": \"$tmp/bin/runc\"}"
third="\"third\": {\"path\": \"$tmp/bin/runc\"}"
echo "{\"runtimes\": {$other}, \"default-runtime\": \"other\"}" >daemon.json
PATH="$tmp/bin:$PATH" bin/dockerd --config-file daemon.json --data-root "$tmp/data" --exec-root "$tmp/run" --pidfile "$tmp/pid" \
	-H "unix://$tmp/sock" --iptables=false --bridge=none --userland-proxy=false --storage-driver vfs >log 2>&1 &
for _ in $(seq 60); do
	now >/dev/null 2>&1 && break
	sleep 1
done
line "started with other as the default:"
reload "{}" '{}'
reload "default-runtime runc" '{"default-runtime": "runc"}'
reload "runtimes {}" '{"runtimes": {}}'
reload "other as the default" "{\"runtimes\": {$other}, \"default-runtime\": \"other\"}"
reload "a third one alone" "{\"runtimes\": {$third}}"
test "$daemons" = "default other, runtimes other runc;default other, runtimes other runc;default runc, runtimes other runc;\
default runc, runtimes runc;default other, runtimes other runc;default other, runtimes other runc;"
