#!/bin/sh
# apparmor_parser 4.1.0 (Debian 13) takes priority= on a capability rule, and compiles the rule as if it were not there.
#
# apparmor.d(5) gives the qualifier to every rule: a rule of a higher priority overrides those of a lower one. Of a rule
# about files, signals, ptrace, mounts, user namespaces or Unix sockets that holds: an allow rule of priority 10 beside a
# deny rule of the same words compiles to something else than without its priority. A rule about networks is refused with a
# clear error. A rule about a capability is neither: exit code 0, no warning, and the same bytes with and without
# priority=10. So a capability that a text gives back, in spite of a deny rule in a file that it includes, stays
# denied, and nothing says so.
#
# It needs root for nothing; it needs Debian's tools (apt-get, dpkg-deb) and its mirror. It prints:
#
#   apparmor 4.1.0-1: file:       exit code 0, other bytes with priority=10, warnings 0
#   apparmor 4.1.0-1: signal:     exit code 0, other bytes with priority=10, warnings 0
#   apparmor 4.1.0-1: ptrace:     exit code 0, other bytes with priority=10, warnings 0
#   apparmor 4.1.0-1: mount:      exit code 0, other bytes with priority=10, warnings 0
#   apparmor 4.1.0-1: userns:     exit code 0, other bytes with priority=10, warnings 0
#   apparmor 4.1.0-1: unix:       exit code 0, other bytes with priority=10, warnings 0
#   apparmor 4.1.0-1: capability: exit code 0, the same bytes with priority=10, warnings 0
#   apparmor 4.1.0-1: network:    exit code 1: priority prefix not allowed on network rules
set -eu
version=4.1.0-1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir -p lists/partial cache/archives/partial
: >status
mirror=${OCI_APPARMOR_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)}
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie main" >sources.list
apt() {
	apt-get -qq -o Dir::Etc::sourcelist="$tmp/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::Lists="$tmp/lists" \
		-o Dir::State::status="$tmp/status" -o Dir::Cache="$tmp/cache" -o APT::Sandbox::User= "$@"
}
apt update
apt download "apparmor=$version" "libapparmor1=$version" libc6 libstdc++6 libgcc-s1
for package in *.deb; do dpkg-deb -x "$package" tree; done

features=tree/etc/apparmor.d/abi/4.0
libraries=$(dirname tree/usr/lib/*/libapparmor.so.1)
compile() { # PREFIX RULE: the rule with a prefix, beside a deny rule of the same words
	printf 'profile p {\n  %s%s,\n  deny %s,\n}\n' "$1" "$2" "$2" >text
	"$libraries"/ld-linux-*.so.* --library-path "$libraries" tree/usr/sbin/apparmor_parser --config-file /dev/null \
		--kernel-features "$features" --policy-features "$features" --base tree/etc/apparmor.d \
		--skip-kernel-load --skip-cache --stdout text 2>said
}
outcome() { # RULE
	compile '' "$1" >plain && test -s plain && test ! -s said
	code=0
	compile 'priority=10 ' "$1" >higher || code=$?
	if [ $code -ne 0 ]; then
		echo "exit code $code: $(sed -n 's/.*line 2: //p' said)"
		return
	fi
	bytes=other
	if cmp -s plain higher; then bytes='the same'; fi
	echo "exit code 0, $bytes bytes with priority=10, warnings $(grep -c . said || true)"
}
for rule in '/etc/x r' 'signal' 'ptrace' 'mount' 'userns' 'unix' 'capability sys_admin' 'network inet'; do
	class=${rule%% *}
	case $class in /*) class=file ;; esac
	printf 'apparmor %s: %-11s %s\n' "$version" "$class:" "$(outcome "$rule")"
done | tee outcomes
test "$(grep -c 'other bytes with priority=10, warnings 0$' outcomes)" -eq 6
grep -q 'capability: exit code 0, the same bytes with priority=10, warnings 0$' outcomes
grep -q 'network:    exit code 1: priority prefix not allowed on network rules$' outcomes
