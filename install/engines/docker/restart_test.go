package docker

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// What dockerd says of itself is compared with its file. Where it says nothing, a process that is younger than the last change has
// read that.
func TestTaken(t *testing.T) {
	const ours, without = `"runtimes": {"apparmor": {"path": "/usr/local/bin/oci-apparmor-runtime"}}`, `"runtimes": {}`
	const has, hasNot = `"Runtimes":{"runc":{"path":"runc"},"apparmor":{"path":"/usr/local/bin/oci-apparmor-runtime"}}`, `"Runtimes":{"runc":{"path":"runc"}}`
	const silent = `"Runtimes":null,"ServerErrors":["Cannot connect to the Docker daemon"]`
	const foreign, foreignShim = `"runtimes": {"apparmor": {"path": "/opt/theirs"}}`, `"runtimes": {"apparmor": {"runtimeType": "io.containerd.other.v2"}}`
	const shim = `"Runtimes":{"apparmor":{"path":""}}`
	start := wire.Now().Ticks + 1000 // later than the files below
	now := wire.Moment{Boot: wire.Now().Boot, Ticks: start + 1}
	earlier := wire.Moment{Boot: now.Boot, Ticks: start - 1}
	for _, c := range []struct {
		name, file, says string
		changed          wire.Moment
		ours             bool
		older            string // a part of it
		then             string
		err              string
	}{
		{name: "ours", file: ours, says: has + `,"DefaultRuntime":"runc"`, ours: true},
		{name: "not yet", file: ours, says: hasNot + `,"DefaultRuntime":"runc"`, older: "runs without our runtime", then: "systemctl reload docker"},
		{name: "not yet, and a reload is not enough", file: ours, says: hasNot + `,"DefaultRuntime":"runc","ServerVersion":"20.10.5"`,
			older: "runs without our runtime"},
		{name: "another program", file: strings.Replace(ours, "local", "libexec", 1), says: has + `,"DefaultRuntime":"runc"`, ours: true,
			older: "is another one than in", then: "systemctl reload docker"},
		{name: "a default", file: ours + `, "default-runtime": "apparmor"`, says: has + `,"DefaultRuntime":"apparmor"`, ours: true},
		{name: "a default that is not yet", file: ours + `, "default-runtime": "apparmor"`, says: has + `,"DefaultRuntime":"runc"`, ours: true,
			older: "default runtime is runc", then: "systemctl reload docker"},
		{name: "a default that is still", file: ours, says: has + `,"DefaultRuntime":"apparmor"`, ours: true,
			older: "as its default, which it is not in"},
		{name: "a default in whose place another one came", file: ours + `, "default-runtime": "crun"`, says: has + `,"DefaultRuntime":"apparmor"`,
			ours: true, older: "as its default, which it is not in", then: "systemctl reload docker"},
		{name: "none", file: without, says: hasNot + `,"DefaultRuntime":"runc"`},
		{name: "still", file: without, says: has + `,"DefaultRuntime":"runc"`, ours: true, older: "does not have any more"},
		{name: "somebody else's", file: foreign, says: strings.Replace(has, "/usr/local/bin/oci-apparmor-runtime", "/opt/theirs", 1)},
		{name: "somebody else's shim", file: foreignShim, says: shim, changed: earlier},
		{name: "somebody else's shim, where ours may have been read", file: foreignShim, says: shim, changed: now, ours: true,
			older: "before ours was taken out"},
		{name: "a shim, of which it says no more than the name", file: `"runtimes": {"apparmor": {"runtimeType": "/usr/local/bin/containerd-shim-apparmor-v2"}}`,
			says: shim, ours: true},
		{name: "no answer", file: ours, says: silent, changed: now, err: "Cannot connect"},
		{name: "no answer of one that was started since", file: ours, says: silent, changed: earlier, ours: true},
		{name: "no answer of one that was started since it was taken out", file: without, says: silent, changed: earlier},
		{name: "no answer since it was taken out", file: without, says: silent, changed: now, ours: true, older: "before ours was taken out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := host.New(t.TempDir(), "/usr/local/bin")
			for name, text := range map[string]string{"usr/bin/docker": "", "etc/docker/daemon.json": "{" + c.file + "}"} {
				at := filepath.Join(h.Tree.Root, name)
				if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(at, []byte(text), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			h.Run = func(_ context.Context, _ []string, program string, args ...string) ([]byte, error) {
				if got := program + " " + strings.Join(args[:3], " "); got != "/usr/bin/docker --host unix:///var/run/docker.sock info" {
					t.Errorf("it runs %s", got)
				}
				if !strings.Contains(c.says, "ServerVersion") {
					c.says += `,"ServerVersion":"26.1.5+dfsg1"`
				}
				return []byte("{" + c.says + `,"LiveRestoreEnabled":true}`), nil
			}
			answers := !strings.Contains(c.says, "ServerErrors")
			taken, err := Engine{}.Taken(t.Context(), h, host.Process{PID: 7, Start: start}, wire.Changes{First: c.changed, Last: c.changed})
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Error(err)
			}
			if err == nil && (taken.Ours != c.ours || taken.Then != c.then || (taken.Older == "") != (c.older == "") || !strings.Contains(taken.Older, c.older)) {
				t.Errorf("%+v", taken)
			}
			if err := (Engine{}).Works(t.Context(), h); (err == nil) != answers {
				t.Errorf("it works: %v", err)
			}
			if stops, err := (Engine{}).Stops(t.Context(), h); stops == answers || err != nil { // its file has no live-restore
				t.Errorf("it stops its containers: %v, %v", stops, err)
			}
			at := filepath.Join(h.Tree.Root, "etc/docker/daemon.json")
			if err := os.WriteFile(at, []byte("{"+c.file+`, "live-restore": true}`), 0o644); err != nil {
				t.Fatal(err)
			}
			if stops, err := (Engine{}).Stops(t.Context(), h); stops || err != nil {
				t.Errorf("with live-restore in its file it stops its containers: %v, %v", stops, err)
			}
		})
	}
}
