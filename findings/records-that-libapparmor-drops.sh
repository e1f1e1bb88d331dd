#!/bin/sh
# libapparmor 4.1.0 (Debian 13) cannot read three kinds of records that kernels write of denials.
#
# - A profile of mode kill: its records say apparmor="KILLED" (security/apparmor/audit.c). The same record
#   with "DENIED" is read. So what a profile killed does not show in tools that read records by the library, such
#   as aa-notify and aa-logprof.
# - A name with a blank is written in hexadecimal digits, without quotes (audit_log_untrustedstring). For name= the library
#   decodes that. For srcname= of a mount and target= of an exec, which the kernel writes by the same function, the
#   whole record is invalid, while its quoted form is read.
#
# An invalid record is event 0. Its other fields may be set as far as the library came.
#
# It needs root for nothing; it needs Debian's tools (apt-get, dpkg-deb) and its mirror. It prints:
#
#   libapparmor 4.1.0-1: DENIED                     event 4, open
#   libapparmor 4.1.0-1: KILLED                     event 0, None
#   libapparmor 4.1.0-1: name in hexadecimal        event 4, open of /srv/a b
#   libapparmor 4.1.0-1: srcname in quotes          event 4, mount
#   libapparmor 4.1.0-1: srcname in hexadecimal     event 0, mount
#   libapparmor 4.1.0-1: target in quotes           event 3, exec
#   libapparmor 4.1.0-1: target in hexadecimal      event 0, exec
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
apt download "python3-libapparmor=$version" "libapparmor1=$version" python3.13-minimal libpython3.13-minimal libpython3.13-stdlib \
	libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libssl3t64
for package in *.deb; do dpkg-deb -x "$package" tree; done

cat >read.py <<'EOF'
import sys
import LibAppArmor
version = sys.argv[1]
head = "type=AVC msg=audit(1790000000.100:7): apparmor="
file = ' class="file" profile="web" %s pid=10 comm="x" requested_mask="%s" denied_mask="%s" fsuid=0 ouid=0%s'
mount = ' class="mount" info="failed mntpnt match" error=-13 profile="web" name="/mnt/" pid=10 comm="x" srcname=%s flags="rw, bind"'
opened = '"%s" operation="open"' + file % ('name="/srv/a"', "r", "r", "")
executed = '"ALLOWED" operation="exec"' + file
blank = "/srv/a b".encode().hex().upper()
null = "web//null-/srv/a b".encode().hex().upper()
for what, record, name in [
    ("DENIED", opened % "DENIED", False),
    ("KILLED", opened % "KILLED", False),
    ("name in hexadecimal", '"DENIED" operation="open"' + file % ("name=" + blank, "r", "r", ""), True),
    ("srcname in quotes", '"DENIED" operation="mount"' + mount % '"/srv/a"', False),
    ("srcname in hexadecimal", '"DENIED" operation="mount"' + mount % blank, False),
    ("target in quotes", executed % ('name="/srv/a"', "x", "x", ' target="web//null-/srv/a"'), False),
    ("target in hexadecimal", executed % ("name=" + blank, "x", "x", " target=" + null), False),
]:
    r = LibAppArmor.parse_record(head + record)
    of = " of %s" % r.name if name else ""
    print("libapparmor %s: %-26s event %d, %s%s" % (version, what, r.event, r.operation, of))
EOF
libraries=$(dirname tree/usr/lib/*/libapparmor.so.1)
PYTHONHOME=$tmp/tree/usr PYTHONPATH=$tmp/tree/usr/lib/python3/dist-packages "$libraries"/ld-linux-*.so.* --library-path "$libraries" \
	tree/usr/bin/python3.13 read.py "$version" | tee outcomes
events=$(sed 's/.* event \([0-9]*\),.*/\1/' outcomes | tr '\n' ' ')
test "$events" = "4 0 4 4 0 3 0 "
grep -q 'of /srv/a b$' outcomes
