#!/bin/sh
# A variable that no rule uses changes what apparmor_parser 4.1.0 (Debian 13) compiles a profile to.
#
# The profile has children with rules on the same paths, as many have. Each compilation here starts at the same
# addresses in memory (setarch -R), and six compilations of one text give the same bytes. With one more line at its
# beginning, which defines a variable and uses it nowhere, three of eight lengths of the variable's value give other bytes.
# So does the allocator of the C library when it is told to keep another number of freed pieces. The kernel shows
# another hash for each, and caches and tools that compare profiles by their bytes find a change where there is none.
#
# It needs root for nothing; it needs Debian's tools (apt-get, dpkg-deb, setarch) and its mirror. It prints:
#
#   apparmor 4.1.0-1: 6 compilations of one text: 1 outcome
#   apparmor 4.1.0-1: 8 lengths of a variable that no rule uses: 4 outcomes
#   apparmor 4.1.0-1: 5 settings of the C library's allocator: 4 outcomes
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

cat >profile <<'EOF'
profile kids flags=(attach_disconnected) {
  file,
  audit deny /etc/** w,
  owner /bin/** ix,
  /usr/bin/* rmix,
  deny /usr/bin/foo x,
  profile one { /etc/** rm, /usr/** rix, owner /usr/bin/** mr, audit /usr/bin/one* rm, deny /usr/bin/one-not x, /usr/lib/** mr, }
  profile two { /etc/** rm, /usr/** rix, owner /usr/bin/** mr, audit /usr/bin/two* rm, deny /usr/bin/two-not x, /usr/lib/** mr, }
}
EOF
features=tree/etc/apparmor.d/abi/4.0
libraries=tree/usr/lib/x86_64-linux-gnu
compiled() { # the hash of what a file compiles to
	setarch -R "$libraries/ld-linux-x86-64.so.2" --library-path "$libraries" tree/usr/sbin/apparmor_parser \
		--config-file /dev/null --kernel-features "$features" --policy-features "$features" --base tree/etc/apparmor.d \
		--skip-kernel-load --skip-cache --stdout "$1" >blob
	test -s blob
	sha256sum <blob
}

for n in 1 2 3 4 5 6; do compiled profile; done >same
for n in 1 2 3 4 5 6 7 8; do
	{ printf '@{unused}=/%0*d\n' $((n * 37)) 0; cat profile; } >longer
	compiled longer
done >unused
for n in 0 1 2 3 4; do GLIBC_TUNABLES=glibc.malloc.tcache_count=$n compiled profile; done >allocator

outcomes() { sort -u "$1" | wc -l; }
echo "apparmor $version: 6 compilations of one text: $(outcomes same) outcome"
echo "apparmor $version: 8 lengths of a variable that no rule uses: $(outcomes unused) outcomes"
echo "apparmor $version: 5 settings of the C library's allocator: $(outcomes allocator) outcomes"
test "$(outcomes same)" -eq 1
test "$(outcomes unused)" -gt 1
test "$(outcomes allocator)" -gt 1
