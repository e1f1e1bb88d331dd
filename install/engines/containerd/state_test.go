package containerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
)

// Tasks are looked for where the flag or the configuration of a containerd that runs has its state, and where neither has one, in
// the usual place. A directory that is missing is no answer.
func TestStates(t *testing.T) {
	const usual = "/run/containerd"
	run := func(args ...string) []host.Process {
		return []host.Process{{PID: 7, Args: append([]string{"containerd"}, args...)}}
	}
	for _, tt := range []struct {
		name    string
		config  string // what the main file has
		dump    string // what containerd makes of it; an error where it is empty
		running []host.Process
		there   []string // states that have tasks
		want    []string
		unknown string // part of it; empty for none
	}{
		{name: "the default", dump: "version = 3\nstate = '/run/containerd'\n", running: run(), there: []string{usual}, want: []string{usual}},
		{name: "configured", dump: "state = '/srv/state'\n", running: run(), there: []string{"/srv/state"}, want: []string{usual, "/srv/state"}},
		{name: "by a flag", dump: "state = '/srv/state'\n", running: run("--state", "/srv/flag/"), there: []string{"/srv/flag"},
			want: []string{usual, "/srv/state", "/srv/flag"}},
		{name: "changed since it was started", dump: "state = '/srv/state'\n", running: run(), there: []string{usual},
			want: []string{usual, "/srv/state"}, unknown: "process 7, and there is no /srv/state/io.containerd.runtime.v2.task,"},
		{name: "a relative flag", dump: "state = '/srv/state'\n", running: run("--state=here"), there: []string{"/srv/state"},
			want: []string{usual, "/srv/state"}, unknown: "there is no here/"},
		{name: "one that does not run", dump: "state = '/srv/state'\n", want: []string{usual, "/srv/state"}},
		{name: "files that it refuses", config: "version = 2\nstate = '/srv/file'\n", running: run(), there: []string{"/srv/file"},
			want: []string{usual, "/srv/file"}},
		{name: "a file that nobody can read", config: "state = '", running: run(), there: []string{usual}, want: []string{usual}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := host.New(t.TempDir(), "/usr/local/bin")
			put := func(p, text string, mode os.FileMode) {
				at := h.Tree.Real(p)
				if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), mode)); err != nil {
					t.Fatal(err)
				}
			}
			put("/usr/bin/containerd", "", 0o755)
			put("/tmp/x", "", 0o644)
			put(Config, tt.config, 0o644)
			for _, state := range tt.there {
				put(state+"/io.containerd.runtime.v2.task/x", "", 0o644)
			}
			h.Run = func(_ context.Context, _ []string, program string, args ...string) ([]byte, error) {
				if said := strings.Join(args, " "); program != "/usr/bin/containerd" || !strings.HasSuffix(said, Config+" config dump") || tt.dump == "" {
					return nil, errors.New(program + " " + said + " fails")
				}
				return []byte(tt.dump), nil
			}
			states, unknown := own.states(t.Context(), h, tt.running)
			if !slices.Equal(states, tt.want) {
				t.Errorf("%q, want %q", states, tt.want)
			}
			if said := strings.Join(unknown, "; "); (said == "") != (tt.unknown == "") || !strings.Contains(said, tt.unknown) {
				t.Errorf("unknown: %q, want %q", said, tt.unknown)
			}
		})
	}
}
