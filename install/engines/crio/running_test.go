package crio

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// newHost returns an image with files by their paths, and with programs.
func newHost(t *testing.T, files map[string]string, programs ...string) *host.Host {
	t.Helper()
	h := host.New(t.TempDir(), "/usr/local/bin")
	put := func(p, text string, mode os.FileMode) {
		at := h.Tree.Real(p)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), mode)); err != nil {
			t.Fatal(err)
		}
	}
	put("/tmp/x", "", 0o644)
	for p, text := range files {
		put(p, text, 0o644)
	}
	for _, name := range programs {
		put("/usr/bin/"+name, "", 0o755)
	}
	return h
}

// Containers are looked for where a CRI-O that runs says that its storage is, or else its flags or its configuration.
func TestStorageOfCRIO(t *testing.T) {
	const (
		usual, usualRun = "/var/lib/containers/storage/overlay-containers", "/run/containers/storage/overlay-containers"
		config          = "[crio]\n# root = \"/srv/store\"\n\n  runroot = \"/no\"\nrunroot = \"/srv/run\"\n[crio.api]\nroot = \"/no\"\n"
		said            = "[crio]\nroot = \"/srv/said\"\nrunroot = \"/srv/run\"\n[crio.runtime.runtimes.crun]\nruntime_path = \"/usr/bin/crun\"\n"
	)
	runs := []host.Process{{PID: 7, Args: []string{"crio"}}}
	for _, tt := range []struct {
		name           string
		config, status string // what CRI-O prints; an error where it is empty
		files          string
		processes      []host.Process
		there          []string
		want           []string // besides the usual ones
		unknown        string
	}{
		{name: "as it says", config: config, status: said, processes: runs, there: []string{"/srv/said/overlay-containers", "/srv/run/vfs-containers"},
			want: []string{"/srv/said/overlay-containers", "/srv/run/vfs-containers"}},
		{name: "it has none there", config: config, status: said, processes: runs, there: []string{"/srv/store/overlay-containers"},
			unknown: "crio runs as process 7, and has no directory for containers in its storage /srv/said"},
		{name: "it does not run", config: config, there: []string{"/srv/store/overlay-containers"}, want: []string{"/srv/store/overlay-containers"}},
		{name: "it does not answer", config: config, processes: runs, there: []string{"/srv/store/overlay-containers"}, want: []string{"/srv/store/overlay-containers"}},
		{name: "it does not answer, and has a flag", config: config, processes: []host.Process{{PID: 7, Args: []string{"crio", "-r", "/srv/flag"}}},
			there: []string{"/srv/store/overlay-containers", "/srv/flag/vfs-containers"}, want: []string{"/srv/flag/vfs-containers"}},
		{name: "it cannot be asked", files: "[crio]\nroot = \"/srv/file\"\n", there: []string{"/srv/file/overlay-containers"},
			want: []string{"/srv/file/overlay-containers"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := map[string]string{main: tt.files}
			for _, dir := range tt.there {
				files[dir+"/x"] = ""
			}
			h := newHost(t, files, "crio")
			h.Run = func(_ context.Context, _ []string, program string, args ...string) ([]byte, error) {
				out, want := tt.config, []string{"--config", "", "--config-dir", "", "config"}
				if args[0] == "status" {
					out, want = tt.status, []string{"status", "--socket", socket, "config"}
				} else {
					args[1], args[3] = "", ""
				}
				if !slices.Equal(args, want) || program != "/usr/bin/crio" || out == "" {
					return nil, errors.New(strings.Join(args, " ") + " fails")
				}
				return []byte(out), nil
			}
			dirs, unknown := containers(t.Context(), h, tt.processes)
			var want []string
			for _, dir := range append([]string{usual, usualRun}, tt.want...) {
				want = append(want, h.Tree.Real(dir))
			}
			if !slices.Equal(dirs, want) {
				t.Errorf("%q, want %q", dirs, want)
			}
			if got := strings.Join(unknown, "; "); got != tt.unknown {
				t.Errorf("unknown: %q, want %q", got, tt.unknown)
			}
		})
	}
}

// A runtime that ours cannot stand before is named with the file and the line that say so.
func TestRuntimeThatOursCannotStandBefore(t *testing.T) {
	const packaged = "# theirs\n[crio.runtime]\ndefault_runtime = \"crun\"\n\n[crio.runtime.runtimes.crun]\nruntime_path = \"/usr/bin/crun\"\n" +
		"monitor_path = \"/usr/libexec/crio/conmonrs\"\n"
	for _, tt := range []struct{ name, table, want string }{
		{"pod, without conmon", packaged + "runtime_type = \"pod\"\n", dropIns + `/10-crio.conf:8: runtime_type of the runtime crun, which ours ` +
			`would call, is "pod", and for ours, which is of the type "oci", there is no program conmon`},
		{"vm", packaged + "runtime_type = 'vm'\n", dropIns + `/10-crio.conf:8: runtime_type of the runtime crun, which ours would call, is "vm"`},
		{"several programs", packaged + "[crio.runtime.runtimes.crun.platform_runtime_paths]\n\"linux/arm64\" = \"/x\"\n",
			dropIns + "/10-crio.conf:8: platform_runtime_paths of the runtime crun"},
		{"oci", packaged + "runtime_type = \"oci\"\n", ""},
		{"none", packaged, ""},
	} {
		h := newHost(t, map[string]string{dropIns + "/10-crio.conf": tt.table}, "crun")
		if err := os.MkdirAll(h.Tree.Real("/usr/local/bin"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(h.Tree.Real("/usr/local/bin/oci-apparmor-runtime"), nil, 0o755); err != nil {
			t.Fatal(err)
		}
		file, err := tomlfile.Parse("x", []byte(tt.table))
		if err != nil {
			t.Fatal(err)
		}
		c := merged([]*tomlfile.File{file})
		_, _, err = (&daemon{Host: h}).table(wire.NewDraft(h.Tree), c, "")
		if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}
