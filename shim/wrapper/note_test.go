package wrapper

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// What the engine is told is in the node's log, too: also of a command line that cannot be read.
func TestRefusalsAndWarningsAreNoted(t *testing.T) {
	dir := t.TempDir()
	runtime := filepath.Join(dir, "runc") // which cannot be executed, so that Run returns
	if err := os.WriteFile(runtime, []byte("#!/nonexistent\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv(RuntimeVar, runtime)
	const docker = "--root /run/docker/runtime-runc/moby "
	failed := "executing " + runtime + ": no such file or directory"
	refuses := fakeHost{err: errors.New("the policy says no")}
	for _, tt := range []struct {
		name, args string
		host       fakeHost
		want       []string
	}{
		{"refused at create", docker + "create --bundle / c1", refuses,
			[]string{"docker|refusal|create of container c1: the policy says no"}},
		{"warned and refused", "exec c1 sh", fakeHost{err: errors.New("no"), warning: "look"},
			[]string{"other|warning|exec of container c1: look", "other|refusal|exec of container c1: no"}},
		{"warned", docker + "start c1", fakeHost{warning: "look", ours: true},
			[]string{"docker|warning|start of container c1: look", "docker|refusal|start of container c1: " + failed}},
		{"a command line that is not known", docker + "create --new x c1", fakeHost{},
			[]string{"docker|refusal|create: the runtime's command line cannot be read for certain: " + unknownOption("--new").Error()}},
		{"a global option that is not known", "--new x run c1", fakeHost{},
			[]string{"other|refusal|the runtime's command line cannot be read for certain: " + unknownOption("--new").Error()}},
		{"a command that is none of ours", "state c1", refuses, []string{"other|refusal|" + failed}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			if code := Run(t.Context(), &tt.host, split("runc "+tt.args), nil, &stderr); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if !slices.Equal(tt.host.notes, tt.want) {
				t.Errorf("noted\n%q, want\n%q; standard error has\n%s", tt.host.notes, tt.want, &stderr)
			}
		})
	}
}
