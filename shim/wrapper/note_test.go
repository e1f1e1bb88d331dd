package wrapper

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
)

// What the engine is told is in the node's log, too: also of a command line that cannot be read.
func TestRefusalsAndWarningsAreNotedAndTheRestCounted(t *testing.T) {
	dir := t.TempDir()
	runtime := filepath.Join(dir, "runc") // which cannot be executed, so that Run returns
	if err := os.WriteFile(runtime, []byte("#!/nonexistent\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv(RuntimeVar, runtime)
	const docker = "--root /run/docker/runtime-runc/moby "
	failed := "executing " + runtime + ": no such file or directory"
	refuses := fakeHost{err: errors.New("the policy says no")}
	const runtimeReason, line = "||runtime", "||command-line"
	for _, tt := range []struct {
		name, args string
		host       fakeHost
		want       []string
		passed     []string
	}{
		{"refused at create", docker + "create --bundle / c1", refuses,
			[]string{"docker|refusal|create of container c1: the policy says no||other"}, nil},
		{"warned and refused", "exec c1 sh", fakeHost{err: hook.Because(notice.Spec, errors.New("no")), warning: "look"},
			[]string{"other|warning|exec of container c1: look", "other|refusal|exec of container c1: no||spec"}, nil},
		{"warned", docker + "start c1", fakeHost{warning: "look", ours: true},
			[]string{"docker|warning|start of container c1: look", "docker|refusal|start of container c1: " + failed + runtimeReason},
			[]string{"docker|start|"}},
		{"passed", docker + "exec c1 sh", fakeHost{label: "web", ours: true},
			[]string{"docker|refusal|exec of container c1: " + failed + "|web|runtime"}, []string{"docker|exec|web"}},
		{"a command line that is not known", docker + "create --new x c1", fakeHost{},
			[]string{"docker|refusal|create: the runtime's command line cannot be read for certain: " + unknownOption("--new").Error() + line}, nil},
		{"a global option that is not known", "--new x run c1", fakeHost{},
			[]string{"other|refusal|the runtime's command line cannot be read for certain: " + unknownOption("--new").Error() + line}, nil},
		{"a command that is none of ours", "state c1", refuses, []string{"other|refusal|" + failed + runtimeReason}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var stderr bytes.Buffer
			if code := Run(t.Context(), &tt.host, split("runc "+tt.args), nil, &stderr); code != 1 {
				t.Errorf("exit code %d", code)
			}
			if !slices.Equal(tt.host.notes, tt.want) {
				t.Errorf("noted\n%q, want\n%q; standard error has\n%s", tt.host.notes, tt.want, &stderr)
			}
			if !slices.Equal(tt.host.passed, tt.passed) {
				t.Errorf("passed %q, want %q", tt.host.passed, tt.passed)
			}
		})
	}
}
