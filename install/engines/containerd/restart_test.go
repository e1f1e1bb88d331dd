package containerd

import "testing"

// What ctr prints of plugins, from 1.6 and from 2.1.
func TestBrokenCRI(t *testing.T) {
	const head = "TYPE                                   ID                       PLATFORMS      STATUS\n"
	for listed, want := range map[string]string{
		head + "io.containerd.grpc.v1    cri    linux/amd64    ok\nio.containerd.snapshotter.v1    aufs    linux/amd64    skip\n": "",
		head + "io.containerd.grpc.v1    cri    linux/amd64    error\n":                                                           "io.containerd.grpc.v1.cri",
		head + "io.containerd.cri.v1    runtime    linux/amd64    error\nio.containerd.grpc.v1    cri    -    error\n":            "io.containerd.cri.v1.runtime",
		head + "io.containerd.snapshotter.v1    btrfs    linux/amd64    error\n":                                                  "",
		"": "",
	} {
		if got := brokenCRI(listed); got != want {
			t.Errorf("%q: %q, want %q", listed, got, want)
		}
	}
}
