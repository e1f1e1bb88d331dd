package docker

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
)

// What dockerd says of itself is compared with its file.
func TestTaken(t *testing.T) {
	const ours, without = `"runtimes": {"apparmor": {"path": "/usr/local/bin/oci-apparmor-runtime"}}`, `"runtimes": {}`
	const has, hasNot = `"Runtimes":{"runc":{"path":"runc"},"apparmor":{"path":"/usr/local/bin/oci-apparmor-runtime"}}`, `"Runtimes":{"runc":{"path":"runc"}}`
	for _, c := range []struct {
		name, file, says string
		taken            bool
		err              string
	}{
		{"ours", ours, has + `,"DefaultRuntime":"runc"`, true, ""},
		{"not yet", ours, hasNot + `,"DefaultRuntime":"runc"`, false, ""},
		{"another program", strings.Replace(ours, "local", "libexec", 1), has + `,"DefaultRuntime":"runc"`, false, ""},
		{"a default", ours + `, "default-runtime": "apparmor"`, has + `,"DefaultRuntime":"apparmor"`, true, ""},
		{"a default that is not yet", ours + `, "default-runtime": "apparmor"`, has + `,"DefaultRuntime":"runc"`, false, ""},
		{"a default that is still", ours, has + `,"DefaultRuntime":"apparmor"`, false, ""},
		{"none", without, hasNot + `,"DefaultRuntime":"runc"`, true, ""},
		{"still", without, has + `,"DefaultRuntime":"runc"`, false, ""},
		{"no answer", ours, `"Runtimes":null,"ServerErrors":["Cannot connect to the Docker daemon"]`, false, "Cannot connect"},
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
				return []byte("{" + c.says + `,"LiveRestoreEnabled":true}`), nil
			}
			taken, err := Engine{}.Taken(t.Context(), h)
			if taken != c.taken || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v, %v", taken, err)
			}
			if stops, err := (Engine{}).Stops(t.Context(), h); stops != (c.err != "") || err != nil { // its file has no live-restore
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
