#!/bin/sh
# version.sh VERSION DATE: prints a version as deb and rpm take it, without "-", and so that a later one is greater. VERSION
# is what git describe prints, and DATE that of the commit, in seconds.
#
#	v1.2.0                     1.2.0
#	v1.2.0-rc1                 1.2.0~rc1, which is less than 1.2.0
#	v1.2.0-5-gabc1234          1.2.0+5.gabc1234
#	v1.2.0-5-gabc1234-dirty    1.2.0+5.gabc1234+dirty
#	abc1234                    0~git20261130054500.abc1234, where the repository has no tag
set -eu
version=$1
case $version in
*-dirty)
	dirty=+dirty
	version=${version%-dirty}
	;;
*) dirty= ;;
esac
if printf '%s\n' "$version" | grep -Eqx '[0-9a-f]{7,40}'; then
	printf '0~git%s.%s%s\n' "$(date -u -d "@$2" +%Y%m%d%H%M%S)" "$version" "$dirty"
	exit
fi
version=$(printf '%s\n' "$version" | sed -E 's/^v([0-9])/\1/; s/-([0-9]+)-(g[0-9a-f]+)$/+\1.\2/; s/[^A-Za-z0-9.+~]/~/g')
case $version in
[0-9]*) printf '%s%s\n' "$version" "$dirty" ;;
*)
	echo "version.sh: a package's version must begin with a digit: set VERSION in place of \"$1\"" >&2
	exit 2
	;;
esac
