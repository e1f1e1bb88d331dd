#!/bin/sh
# place.sh FROM PREFIX VERSION: puts the programs of the directory FROM where engines call them (see hook/programs):
#
#	PREFIX/lib/oci-apparmor/programs/VERSION/NAME   the programs
#	PREFIX/lib/oci-apparmor/current                 link to programs/VERSION
#	PREFIX/bin/NAME                                 links to ../lib/oci-apparmor/current/NAME
#
# Every file and link is made beside its place and renamed. So each container is started by the programs of one version,
# also if this is interrupted, unless VERSION is the current one already: then they are replaced one by one. What runs goes on
# with its own program in any case. PREFIX may begin with the directory of an image.
set -eu
from=$1
prefix=$2
version=$(printf %s "$3" | tr -c 'A-Za-z0-9.+~-' -)
case $version in
'' | .*)
	echo "place.sh: \"$3\" cannot be the name of a directory: set VERSION" >&2
	exit 2
	;;
esac
lib=$prefix/lib/oci-apparmor
programs=$lib/programs/$version
mkdir -p "$prefix/bin" "$lib/programs"
# oci-apparmor prune takes this lock, too. It ends with this shell. An image may have no flock, and nothing prunes there.
exec 9<"$lib/programs"
if command -v flock >/dev/null; then
	flock 9
fi
# Where there is no current version, nothing protects one that is being put in place from "oci-apparmor prune".
[ -L "$lib/current" ] || ln -s "programs/$version" "$lib/current"
mkdir -p "$programs"
for program in oci-apparmor oci-apparmor-hook oci-apparmor-runtime containerd-shim-apparmor-v2; do
	case $from in
	"$lib"/*) # a package's, which are not copied
		# shellcheck disable=SC3013 # dash, bash and busybox have -ef
		if [ "$from/$program" -ef "$programs/$program" ]; then
			continue
		fi
		ln -f "$from/$program" "$programs/.$program.new"
		;;
	*) install -m 755 "$from/$program" "$programs/.$program.new" ;;
	esac
	mv -f "$programs/.$program.new" "$programs/$program"
done
ln -sfn "programs/$version" "$lib/.current.new"
mv -fT "$lib/.current.new" "$lib/current"
for program in oci-apparmor oci-apparmor-hook oci-apparmor-runtime containerd-shim-apparmor-v2; do
	ln -sf "../lib/oci-apparmor/current/$program" "$prefix/bin/.$program.new"
	mv -fT "$prefix/bin/.$program.new" "$prefix/bin/$program"
done
