#!/bin/sh
# apparmor_parser (4.1.8, Debian 14) expands no variable in the target of an exec rule, and does not say so.
#
# apparmor.d(5) says that a profile's name may have variables in it, that the parser expands them, and that one without a
# value is an error. Behind "change_profile ->" and "peer=" that is so. Behind "px ->" the compiled profile has the
# variable as it is written, and also one that nothing defines is taken without an error. No profile has such a name, so
# the kernel finds none when the program is executed. A text that keeps the names of its profiles in variables, as
# AppArmor's own abstractions do for peers, compiles and loads, and its transitions lead nowhere.
#
# It needs root for nothing; it needs Debian's tools (apt-get, dpkg-deb) and its mirror. It prints:
#
#   apparmor 4.1.8-3+b1: /usr/bin/tool px -> @{mine}//tool,    is compiled with the name @{mine}//tool
#   apparmor 4.1.8-3+b1: /usr/bin/tool px -> @{nowhere},       is compiled with the name @{nowhere}, without an error
#   apparmor 4.1.8-3+b1: change_profile -> @{mine}//tool,      is compiled without the variable's name
#   apparmor 4.1.8-3+b1: change_profile -> @{nowhere},         is refused
set -eu
version=4.1.8-3+b1
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
mkdir -p lists/partial cache/archives/partial
: >status
mirror=${OCI_APPARMOR_DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)}
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror forky main" >sources.list
apt() {
	apt-get -qq -o Dir::Etc::sourcelist="$tmp/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::Lists="$tmp/lists" \
		-o Dir::State::status="$tmp/status" -o Dir::Cache="$tmp/cache" -o APT::Sandbox::User= "$@"
}
apt update
apt download "apparmor=$version" "libapparmor1=$version" libc6 libstdc++6 libgcc-s1
for package in *.deb; do dpkg-deb -x "$package" tree; done

features=tree/etc/apparmor.d/abi/4.0
libraries=tree/usr/lib/x86_64-linux-gnu
compile() { # compile RULE: writes what a profile with it compiles to into the file blob
	printf 'abi <abi/4.0>,\n@{mine}=web\nprofile web {\n  %s\n}\n' "$1" >profile
	"$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" tree/usr/sbin/apparmor_parser --config-file /dev/null \
		--kernel-features "$features" --policy-features "$features" --base tree/etc/apparmor.d \
		--skip-kernel-load --skip-cache --stdout profile >blob 2>errors
}
has() { grep -qaF "$1" blob; }

compile '/usr/bin/tool px -> @{mine}//tool,'
has '@{mine}//tool'
test ! -s errors
echo "apparmor $version: /usr/bin/tool px -> @{mine}//tool,    is compiled with the name @{mine}//tool"

compile '/usr/bin/tool px -> @{nowhere},'
has '@{nowhere}'
test ! -s errors
echo "apparmor $version: /usr/bin/tool px -> @{nowhere},       is compiled with the name @{nowhere}, without an error"

compile 'change_profile -> @{mine}//tool,'
if has '@{'; then exit 1; fi
echo "apparmor $version: change_profile -> @{mine}//tool,      is compiled without the variable's name"

if compile 'change_profile -> @{nowhere},'; then exit 1; fi
grep -q nowhere errors
echo "apparmor $version: change_profile -> @{nowhere},         is refused"
