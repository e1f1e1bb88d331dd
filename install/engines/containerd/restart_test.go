package containerd

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// containerd reads its files once: what it has of ours is what they had when it was started.
func TestTaken(t *testing.T) {
	boot, start := wire.Now().Boot, wire.Now().Ticks+1000 // later than the files below
	for name, c := range map[string]struct {
		file    string
		changed uint64 // ticks, where its start is 1000
		ours    bool
		older   bool
	}{
		"it has read ours":            {"version = 2\n" + runc + wired, 999, true, false},
		"it has not read ours":        {"version = 2\n" + runc + wired, 1500, false, true},
		"it has read that it is gone": {"version = 2\n" + runc, 999, false, false},
		"it goes on with ours":        {"version = 2\n" + runc, 1001, true, true},
	} {
		h := host.New(t.TempDir(), "/usr/local/bin")
		at := h.Tree.Real(Config)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(c.file), 0o644)); err != nil {
			t.Fatal(err)
		}
		changes := wire.Changes{First: wire.Moment{Boot: boot, Ticks: start - 1000}, Last: wire.Moment{Boot: boot, Ticks: start - 1000 + c.changed}}
		if name == "it has not read ours" {
			changes.First = changes.Last
		}
		got, err := Engine{}.Taken(t.Context(), h, host.Process{PID: 7, Start: start}, changes)
		if err != nil || got.Ours != c.ours || (got.Older != "") != c.older {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

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

// A command of containerd's is no daemon, and of two daemons none is chosen.
func TestWhichContainerdRuns(t *testing.T) {
	for args, is := range map[string]bool{
		"containerd": false, "/usr/bin/containerd --config /x/config.toml -l info": false, "containerd -c /x/config --state /run/x": false,
		"containerd --config /x/config.toml config dump": true, "containerd --address /x publish --topic /tasks/exit": true, "containerd --version": true,
	} {
		if got := isCommand(host.Process{Args: strings.Fields(args)}); got != is {
			t.Errorf("%s: %v", args, got)
		}
	}
	one, two := host.Process{PID: 7}, host.Process{PID: 9}
	if err := single([]host.Process{one}); err != nil {
		t.Error(err)
	}
	if err := single([]host.Process{one, two}); err == nil || !strings.Contains(err.Error(), "as processes 7 and 9") {
		t.Error(err)
	}
}
