#!/bin/sh
# containerd 2.1 drops a drop-in of version 2 if the main file, of version 3, configures any runtime.
#
# A drop-in (a file that "imports" names) adds a runtime "more", in the words of version 2, which containerd 2 still
# reads. It takes effect as long as the main file has no table of runtimes. With one line in such a table, as on a node
# that sets its cgroup driver, the drop-in is lost: no error, no warning, exit code 0. So a node's
# installer works until somebody sets an option of runc.
#
# It needs Go, whose module proxy has containerd, and builds it in a minute or two. It prints:
#
#   containerd 2.1.4: main file without a runtime: exit code 0, runtimes more runc, warnings 0
#   containerd 2.1.4: main file with a runtime:    exit code 0, runtimes runc, warnings 0
set -eu
version=2.1.4
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"
printf 'module finding\n\ngo 1.24\n\nrequire github.com/containerd/containerd/v2 v%s\n' "$version" >go.mod
GOFLAGS='' GOWORK=off CGO_ENABLED=0 go build -mod=mod -tags no_btrfs,no_devmapper,no_tracing,no_zfs -o containerd \
	github.com/containerd/containerd/v2/cmd/containerd 2>building || { cat building; exit 1; }

mkdir drop-ins
printf 'version = 3\nroot = "%s/root"\nstate = "%s/state"\nimports = ["%s/drop-ins/*.toml"]\n' "$tmp" "$tmp" "$tmp" >without.toml
{
	cat without.toml
	echo "[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]"
	echo '  runtime_type = "io.containerd.runc.v2"'
} >with.toml
cat >drop-ins/more.toml <<'EOF'
version = 2
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.more]
  runtime_type = "io.containerd.runc.v2"
EOF

runtimes() { # those that containerd has, of the main file $1
	./containerd --config "$1" config dump >dump 2>warnings
	echo $(sed -n "s/.*containerd\.runtimes\.\([a-z]*\)\]$/\1/p" dump)
}
without=$(runtimes without.toml)
echo "containerd $version: main file without a runtime: exit code 0, runtimes $without, warnings $(grep -c . warnings || true)"
with=$(runtimes with.toml)
echo "containerd $version: main file with a runtime:    exit code 0, runtimes $with, warnings $(grep -c . warnings || true)"
test "$without" = "more runc"
test "$with" = "runc"
test ! -s warnings
