package engines

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// image is an engine in an image.
type image struct {
	name, engine string
	choice       Choice
	files        map[string]string // that are there
	want         map[string]string // that are there besides when it is wired; a link's is its target
}

// images are engines in images in which their own programs cannot run, so that their files are read by ours alone. What the
// programs make of such files is shown in guests.
var images = []image{
	{
		name: "podman", engine: "podman",
		files: map[string]string{"etc/containers/containers.conf": "[engine] # theirs\nruntime_supports_json = [\"crun\"]\n"},
		want: map[string]string{
			"etc/containers/containers.conf.d/oci-apparmor.conf": "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n" +
				"[engine]\nruntime_supports_json = [\"crun\", \"apparmor\"]\nruntime_supports_nocgroup = [\"crun\", \"krun\", \"apparmor\"]\n\n" +
				"[engine.runtimes]\napparmor = [\"/usr/local/lib/oci-apparmor/podman/crun\"]\n",
			"usr/local/lib/oci-apparmor/podman/crun": "/usr/local/bin/oci-apparmor-runtime",
		},
	},
	{
		name: "podman by default", engine: "podman", choice: Choice{Default: yes()},
		files: map[string]string{"etc/containers/containers.conf.d/10-runc.conf": "[engine]\nruntime = \"runc\"\n" +
			"[engine.runtimes]\nrunc = [\"/usr/sbin/runc\"]\n[engine.runtimes_flags]\nrunc = [\"debug\"]\n"},
		want: map[string]string{
			"etc/containers/containers.conf.d/oci-apparmor.conf": "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n" +
				"[engine]\nruntime = \"apparmor\"\nruntime_supports_json = [\"crun\", \"runc\", \"kata\", \"runsc\", \"youki\", \"krun\", \"apparmor\"]\n\n" +
				"[engine.runtimes]\napparmor = [\"/usr/local/lib/oci-apparmor/podman/runc\"]\n\n[engine.runtimes_flags]\napparmor = [\"debug\"]\n",
			"etc/containers/containers.rootless.conf.d/oci-apparmor.conf": "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n" +
				"[engine]\nruntime = \"runc\"\n",
			"usr/local/lib/oci-apparmor/podman/runc": "/usr/local/bin/oci-apparmor-runtime",
		},
	},
	{
		name: "podman by the hook", engine: "podman", choice: Choice{Via: "hook"},
		files: map[string]string{"usr/share/containers/containers.conf": "[engine]\nhooks_dir = []\n"},
		want: map[string]string{
			"etc/containers/containers.conf.d/oci-apparmor.conf": "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n" +
				"[engine]\nhooks_dir = [\"/usr/share/containers/oci/hooks.d\", \"/etc/containers/oci/hooks.d\", " +
				"\"/usr/local/lib/oci-apparmor/podman-hooks.d\"]\n",
			"usr/local/lib/oci-apparmor/podman-hooks.d/oci-apparmor.json": `{"version": "1.0.0", "when": {"annotations": {"^oci-apparmor/policy(\\..*)?$": ".*"}}, ` +
				`"stages": ["precreate"], "hook": {"path": "/usr/local/bin/oci-apparmor-hook",` + "\n" + `  "args": ["oci-apparmor-hook", "precreate", "--engine", "podman"]}}` + "\n",
		},
	},
	{
		name: "podman by the hook for all", engine: "podman", choice: Choice{Via: "hook", Default: yes()},
		want: map[string]string{
			"etc/containers/containers.conf.d/oci-apparmor.conf": "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n" +
				"[engine]\nhooks_dir = [\"/usr/share/containers/oci/hooks.d\", \"/usr/local/lib/oci-apparmor/podman-hooks.d\"]\n",
			"etc/containers/containers.rootless.conf.d/oci-apparmor.conf": "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n" +
				"[engine]\nhooks_dir = [\"/usr/share/containers/oci/hooks.d\", {append = false}]\n",
			"usr/local/lib/oci-apparmor/podman-hooks.d/oci-apparmor.json": `{"version": "1.0.0", "when": {"always": true}, ` +
				`"stages": ["precreate"], "hook": {"path": "/usr/local/bin/oci-apparmor-hook",` + "\n" + `  "args": ["oci-apparmor-hook", "precreate", "--engine", "podman"]}}` + "\n",
		},
	},
	{
		name: "cri-o", engine: "cri-o",
		files: map[string]string{"usr/libexec/crio/crun": "", "etc/crio/crio.conf.d/10-crio": "# theirs\n[crio.runtime.runtimes.crun]\nruntime_path = \"/usr/libexec/crio/crun\"\n" +
			"monitor_path = \"/usr/libexec/crio/conmon\"\n[crio.runtime.runtimes.crun.default_annotations]\n\"a.b/c\" = \"d\"\n"},
		want: map[string]string{
			"etc/crio/crio.conf.d/oci-apparmor.conf": "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n" +
				"[crio.runtime.runtimes.apparmor]\nmonitor_path = \"/usr/libexec/crio/conmon\"\nruntime_path = \"/usr/local/lib/oci-apparmor/cri-o/crun\"\n\n" +
				"[crio.runtime.runtimes.apparmor.default_annotations]\n\"a.b/c\" = \"d\"\n",
			"usr/local/lib/oci-apparmor/cri-o/crun": "/usr/local/bin/oci-apparmor-runtime",
		},
	},
	{
		name: "cri-o by default", engine: "cri-o", choice: Choice{Default: yes()},
		want: map[string]string{
			"etc/crio/crio.conf.d/oci-apparmor.conf": "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n" +
				"[crio.runtime]\ndefault_runtime = \"apparmor\"\n\n[crio.runtime.runtimes.apparmor]\nruntime_path = \"/usr/local/lib/oci-apparmor/cri-o/crun\"\n",
			"usr/local/lib/oci-apparmor/cri-o/crun": "/usr/local/bin/oci-apparmor-runtime",
		},
	},
	{
		name: "cri-o beside nvidia", engine: "cri-o", // as nvidia-ctk writes it, with its runtime beside the default
		files: map[string]string{"etc/crio/crio.conf.d/99-nvidia.toml": "\n[crio]\n\n  [crio.runtime]\n\n    [crio.runtime.runtimes]\n\n" +
			"      [crio.runtime.runtimes.nvidia]\n        monitor_path = \"/usr/libexec/crio/conmon\"\n" +
			"        runtime_path = \"/usr/bin/nvidia-container-runtime\"\n        runtime_type = \"oci\"\n"},
		want: map[string]string{
			"etc/crio/crio.conf.d/oci-apparmor.conf": "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n" +
				"[crio.runtime.runtimes.apparmor]\nruntime_path = \"/usr/local/lib/oci-apparmor/cri-o/crun\"\n",
			"usr/local/lib/oci-apparmor/cri-o/crun": "/usr/local/bin/oci-apparmor-runtime",
		},
	},
	{
		name: "cri-o whose default has conmon-rs", engine: "cri-o", // as newer packages of CRI-O write it
		files: map[string]string{"usr/libexec/crio/crun": "", "usr/libexec/crio/conmon": "", "etc/crio/crio.conf.d/10-crio.conf": "[crio.runtime]\n" +
			"default_runtime = \"crun\"\n\n[crio.runtime.runtimes.crun]\nruntime_path = \"/usr/libexec/crio/crun\"\nruntime_type = \"pod\"\n" +
			"monitor_path = \"/usr/libexec/crio/conmonrs\"\n"},
		want: map[string]string{
			"etc/crio/crio.conf.d/oci-apparmor.conf": "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n" +
				"[crio.runtime.runtimes.apparmor]\nmonitor_path = \"/usr/libexec/crio/conmon\"\nruntime_path = \"/usr/local/lib/oci-apparmor/cri-o/crun\"\n" +
				"runtime_type = \"oci\"\n",
			"usr/local/lib/oci-apparmor/cri-o/crun": "/usr/local/bin/oci-apparmor-runtime",
		},
	},
	{
		name: "podman beside nvidia's hook", engine: "podman", choice: Choice{Via: "hook"}, // of its toolkit before CDI
		files: map[string]string{"usr/share/containers/oci/hooks.d/oci-nvidia-hook.json": "{\"version\": \"1.0.0\", \"hook\": {\"path\": " +
			"\"/usr/bin/nvidia-container-toolkit\"}, \"when\": {\"always\": true}, \"stages\": [\"prestart\"]}\n"},
		want: map[string]string{
			"etc/containers/containers.conf.d/oci-apparmor.conf": "# oci-apparmor install has written this file, and oci-apparmor uninstall removes it\n" +
				"[engine]\nhooks_dir = [\"/usr/share/containers/oci/hooks.d\", \"/usr/local/lib/oci-apparmor/podman-hooks.d\"]\n",
			"usr/local/lib/oci-apparmor/podman-hooks.d/oci-apparmor.json": `{"version": "1.0.0", "when": {"annotations": {"^oci-apparmor/policy(\\..*)?$": ".*"}}, ` +
				`"stages": ["precreate"], "hook": {"path": "/usr/local/bin/oci-apparmor-hook",` + "\n" + `  "args": ["oci-apparmor-hook", "precreate", "--engine", "podman"]}}` + "\n",
		},
	},
}

func yes() *bool {
	b := true
	return &b
}

// newImage makes an image.
func newImage(t *testing.T, files map[string]string) *host.Host {
	t.Helper()
	root, err := os.MkdirTemp("/dev/shm", "image-") // in memory: every step waits for the disk
	if err != nil {
		root = t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	all := map[string]string{"tmp/keep": ""}
	for _, p := range []string{"usr/bin/podman", "usr/bin/crio", "usr/bin/crun", "usr/sbin/runc", "usr/local/bin/oci-apparmor-runtime", "usr/local/bin/oci-apparmor-hook"} {
		all[p] = "" // no program of this machine
	}
	maps.Copy(all, files)
	for p, text := range all {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, p)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, p), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return host.New(root, "/usr/local/bin")
}

// contents returns the files and links of an image, but those of the book, and its directories.
func contents(t *testing.T, h *host.Host) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(h.Tree.Root, func(p string, e fs.DirEntry, err error) error {
		rel := strings.TrimPrefix(strings.TrimPrefix(p, h.Tree.Root), "/")
		switch {
		case err != nil:
			return err
		case rel == "var", rel == "var/lib", strings.HasPrefix("/"+rel, filepath.Dir(wire.Dir)):
		case e.IsDir():
			all[rel] = "a directory"
		case e.Type() == fs.ModeSymlink:
			all[rel], err = os.Readlink(p)
		default:
			var data []byte
			data, err = os.ReadFile(p)
			all[rel] = string(data)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// do wires an engine, or takes that back.
func do(t *testing.T, h *host.Host, engine string, choice *Choice) {
	t.Helper()
	b, err := wire.Open(t.Context(), h.Tree)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	var plans []*Plan
	if choice != nil {
		plans, err = Install(t.Context(), b, h, []string{engine}, *choice)
	} else {
		plans, err = Uninstall(t.Context(), b, h, []string{engine})
	}
	if err == nil {
		_, err = Commit(b, plans)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func wantContents(t *testing.T, what string, got, want map[string]string) {
	t.Helper()
	for _, p := range slices.Sorted(maps.Keys(want)) {
		if got[p] != want[p] {
			t.Errorf("%s: %s is\n%s\nwant\n%s", what, p, got[p], want[p])
		}
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			t.Errorf("%s: there is %s", what, p)
		}
	}
}

func TestEnginesInImages(t *testing.T) {
	for _, i := range images {
		t.Run(i.name, func(t *testing.T) {
			h := newImage(t, i.files)
			before := contents(t, h)
			do(t, h, i.engine, &i.choice)
			wired := contents(t, h)
			want := maps.Clone(before)
			maps.Copy(want, i.want)
			for p := range i.want {
				for dir := filepath.Dir(p); dir != "."; dir = filepath.Dir(dir) {
					want[dir] = "a directory"
				}
			}
			wantContents(t, "wired", wired, want)
			for _, s := range Look(t.Context(), nil, h) { // as the doctor does
				way := "wrapper"
				if i.choice.Via != "" {
					way = i.choice.Via
				}
				if s.Name == i.engine && (!s.Wired() || s.Via != way || len(s.Faults) > 0 || way == "wrapper" && s.Default != (i.choice.Default != nil)) {
					t.Errorf("it stands as %+v", s)
				}
			}
			do(t, h, i.engine, &Choice{})
			wantContents(t, "wired twice", contents(t, h), wired)
			do(t, h, i.engine, nil)
			wantContents(t, "as before", contents(t, h), before)

			// Without a record ours is known all the same.
			do(t, h, i.engine, &i.choice)
			if err := os.RemoveAll(h.Tree.Real(wire.Dir)); err != nil {
				t.Fatal(err)
			}
			do(t, h, i.engine, nil)
			left := contents(t, h)
			for p := range i.want {
				if _, ok := left[p]; ok && left[p] != "/usr/local/bin/oci-apparmor-runtime" {
					t.Errorf("without a record %s is left", p)
				}
			}
		})
	}
}

// byHand are lines as older documents of ours had them.
const byHand = "# as an older README had it\n[crio.runtime.runtimes.apparmor]\nruntime_path = \"/usr/local/lib/oci-apparmor/cri-o/crun\"\nmonitor_path = \"/usr/bin/conmon\"\n"

// What was wired by hand is taken over, and what others wrote in the same files stays.
func TestEnginesWiredByHand(t *testing.T) {
	for _, tt := range []struct {
		name, engine string
		files        map[string]string
		isDefault    bool
		after        map[string]string // what is left of them when ours is taken out; none for a file that is gone
		link         string            // by which ours is called when it is wired
	}{
		{"cri-o", "cri-o", map[string]string{"etc/crio/crio.conf.d/50-apparmor.conf": strings.Replace(byHand, "/crun", "/runc", 1)}, false, map[string]string{}, "cri-o/runc"},
		{"cri-o by default", "cri-o", map[string]string{
			"etc/crio/crio.conf": "# theirs\n[crio.runtime]\ndefault_runtime = \"apparmor\" # by hand\nlog_level = \"info\"\n\n[crio.image]\npause_image = \"x\" # why\n\n" + byHand,
		}, true, map[string]string{
			"etc/crio/crio.conf": "# theirs\n[crio.runtime]\nlog_level = \"info\"\n\n[crio.image]\npause_image = \"x\" # why\n\n# as an older README had it\n",
		}, "cri-o/crun"},
		{"podman", "podman", map[string]string{
			"etc/containers/containers.conf": "# theirs\n[engine]\nruntime = \"apparmor\"\nstop_timeout = 7 # why\n[engine.runtimes]\n" +
				"apparmor = [\"/usr/local/lib/oci-apparmor/podman/runc\"]\nkata = [\"/opt/kata\"]\n",
		}, true, map[string]string{
			"etc/containers/containers.conf": "# theirs\n[engine]\nstop_timeout = 7 # why\n[engine.runtimes]\nkata = [\"/opt/kata\"]\n",
		}, "podman/runc"},
		{"podman by a path", "podman", map[string]string{
			"etc/containers/containers.conf.d/a.conf": "[engine]\nruntime = \"/usr/local/lib/oci-apparmor/podman/crun\"\n",
		}, true, map[string]string{"etc/containers/containers.conf.d/a.conf": "[engine]\n"}, "podman/crun"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newImage(t, tt.files)
			b, err := wire.Open(t.Context(), h.Tree)
			if err != nil {
				t.Fatal(err)
			}
			plans, err := Install(t.Context(), b, h, []string{tt.engine}, Choice{})
			b.Close()
			if err != nil || plans[0].Default() != tt.isDefault || !strings.Contains(strings.Join(plans[0].Notes, "\n"), "without a record, is taken over") {
				t.Fatalf("it is planned as %+v, %v", plans, err)
			}
			do(t, h, tt.engine, &Choice{})
			if to := contents(t, h)["usr/local/lib/oci-apparmor/"+tt.link]; to != "/usr/local/bin/oci-apparmor-runtime" {
				t.Errorf("%s leads to %q", tt.link, to)
			}
			do(t, h, tt.engine, nil)
			got := contents(t, h)
			for p := range tt.files {
				if text, ok := got[p]; text != tt.after[p] || ok != (tt.after[p] != "") {
					t.Errorf("%s is\n%s\nwant\n%s", p, text, tt.after[p])
				}
				delete(got, p)
			}
			for p, text := range got {
				if strings.HasPrefix(p, "etc/") && strings.Contains(text, "apparmor") {
					t.Errorf("ours is still in %s", p)
				}
			}
		})
	}
}

// What cannot be parsed, and what is somebody else's, is not touched, and named with its line.
func TestEnginesThatAreNotWired(t *testing.T) {
	for _, tt := range []struct {
		name, engine string
		files        map[string]string
		choice       Choice
		want         string
	}{
		{"cri-o, broken", "cri-o", map[string]string{"etc/crio/crio.conf.d/x/y": "[crio]\n[crio.runtime\n"}, Choice{}, "/etc/crio/crio.conf.d/x/y:2:14: "},
		{"cri-o, another one's", "cri-o", map[string]string{"etc/crio/crio.conf": "[crio.runtime.runtimes.apparmor]\nruntime_path = \"/opt/theirs\"\n"}, Choice{},
			"/etc/crio/crio.conf:1: there is a runtime apparmor that is not ours"},
		{"cri-o, a file of our name", "cri-o", map[string]string{"etc/crio/crio.conf.d/oci-apparmor.conf": "[crio.image]\npause_image = \"x\"\n"}, Choice{}, "is there already, and is not ours"},
		{"cri-o, kata", "cri-o", map[string]string{"etc/crio/crio.conf": "[crio.runtime]\ndefault_runtime = \"kata\"\n[crio.runtime.runtimes.kata]\nruntime_type = \"vm\"\n"}, Choice{},
			`/etc/crio/crio.conf:4: runtime_type of the runtime kata, which ours would call, is "vm"`},
		{"cri-o, nvidia by default", "cri-o", map[string]string{"usr/bin/nvidia-container-runtime": "", "etc/crio/crio.conf.d/99-nvidia.toml": "[crio.runtime]\ndefault_runtime = \"nvidia\"\n" +
			"[crio.runtime.runtimes.nvidia]\nruntime_path = \"/usr/bin/nvidia-container-runtime\"\nruntime_type = \"oci\"\n"}, Choice{},
			"the default now is /usr/bin/nvidia-container-runtime"},
		{"cri-o, elsewhere", "cri-o", map[string]string{"etc/crio/crio.conf": "[crio.runtime.runtimes.crun]\nruntime_path = \"/opt/theirs/crun\"\n"}, Choice{}, "/opt/theirs/crun"},
		{"cri-o, two of them", "cri-o", map[string]string{"usr/libexec/crio/crun": "", "etc/crio/crio.conf": "[crio.runtime.runtimes.crun]\nruntime_path = \"/usr/bin/crun\"\n"}, Choice{},
			"/usr/bin/crun, while our wrapper would call /usr/libexec/crio/crun"},
		{"cri-o, late", "cri-o", map[string]string{"etc/crio/crio.conf.d/zz": "[crio.runtime]\ndefault_runtime = \"crun\"\n"}, Choice{Default: yes()},
			"/etc/crio/crio.conf.d/zz:2: default_runtime is set there, and is read after ours"},
		{"podman, broken", "podman", map[string]string{"etc/containers/containers.conf": "[engine]\nruntime = \"crun\n"}, Choice{}, "/etc/containers/containers.conf:2:16: "},
		{"podman, a list of another kind", "podman", map[string]string{"etc/containers/containers.conf": "[engine]\nruntimes = {apparmor = [\"/usr/local/bin/oci-apparmor-runtime\"]}\n"}, Choice{},
			"/etc/containers/containers.conf:2: engine.runtimes.apparmor is written in a way that is not understood here"},
		{"podman, a file of our name", "podman", map[string]string{"etc/containers/containers.conf.d/oci-apparmor.conf": "[engine]\nstop_timeout = 7\n"}, Choice{}, "is there already, and is not ours"},
		{"podman, two of them", "podman", map[string]string{"usr/local/bin/crun": ""}, Choice{Default: yes()}, "/usr/bin/crun, while our wrapper would call /usr/local/bin/crun"},
		{"docker, a snap", "docker", map[string]string{"snap/docker/current/meta/snap.yaml": "name: docker\nconfinement: strict\n",
			"var/snap/docker/current/config/daemon.json": "{\"log-level\": \"error\"}\n"}, Choice{}, "the snap docker is strictly confined"},
		{"docker, none", "docker", nil, Choice{}, "there is no program dockerd"},
		{"podman by the shim", "podman", nil, Choice{Via: "shim"}, "take --via wrapper or --via hook"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := newImage(t, tt.files)
			before := contents(t, h)
			b, err := wire.Open(t.Context(), h.Tree)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			if _, err := Install(t.Context(), b, h, []string{tt.engine}, tt.choice); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %s", err, tt.want)
			}
			wantContents(t, "afterwards", contents(t, h), before)
		})
	}
}

// subjects are what the process is killed over at every step: all images, a directory of imports, and a template.
func subjects() (all []subject) {
	for _, i := range images {
		all = append(all, subject{i.name, i.engine, i.choice, func(t *testing.T) *host.Host { return newImage(t, i.files) },
			func(root string) *host.Host { return host.New(root, "/usr/local/bin") }})
	}
	for _, tt := range trees {
		if name := tt.of + " " + tt.name; tt.refused == "" && (name == "k3s fresh" || name == "k3s commented") {
			all = append(all, subject{name, tt.of, tt.choice, func(t *testing.T) *host.Host {
				h := newNode(t, tt)
				distributions[tt.of].start(t, distributions[tt.of], h.Tree.Root, tt)
				return h
			}, func(root string) *host.Host { return nodeAt(root, tt) }})
		}
	}
	return all
}

// subject is an engine in an image that is made, and then opened by another process.
type subject struct {
	name, engine string
	choice       Choice
	make         func(t *testing.T) *host.Host
	open         func(root string) *host.Host
}

// The process is killed, as by kill -9, before each of its steps. The next call finds the old files or makes them, or finishes.
func TestEnginesKilledAtEveryStep(t *testing.T) {
	if at := os.Getenv("ENGINES_TEST_KILL"); at != "" {
		n, err := strconv.Atoi(at)
		if err != nil {
			t.Fatal(err)
		}
		all := subjects()
		of := all[slices.IndexFunc(all, func(s subject) bool { return s.name == os.Getenv("ENGINES_TEST_NAME") })]
		h, count := of.open(os.Getenv("ENGINES_TEST_ROOT")), 0
		h.Tree.Step = func(string) error {
			if count++; count == n {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {} // until it arrives
			}
			return nil
		}
		choice := &of.choice
		if os.Getenv("ENGINES_TEST_VERB") == "uninstall" {
			choice = nil
		}
		do(t, h, of.engine, choice)
		return
	}
	for _, i := range subjects() {
		for _, verb := range []string{"install", "uninstall"} {
			t.Run(i.name+" "+verb, func(t *testing.T) {
				t.Parallel()
				whole := i.make(t)
				old := contents(t, whole)
				do(t, whole, i.engine, &i.choice)
				wired := contents(t, whole)
				for n, killed := 1, true; killed; n++ {
					h := i.make(t)
					if verb == "uninstall" {
						do(t, h, i.engine, &i.choice)
					}
					cmd := exec.Command(os.Args[0], "-test.run=^TestEnginesKilledAtEveryStep$")
					cmd.Env = append(os.Environ(), "ENGINES_TEST_KILL="+strconv.Itoa(n), "ENGINES_TEST_ROOT="+h.Tree.Root,
						"ENGINES_TEST_NAME="+i.name, "ENGINES_TEST_VERB="+verb)
					out, err := cmd.CombinedOutput()
					var exit *exec.ExitError
					killed = errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
					if !killed && err != nil {
						t.Fatalf("kill %d: %v\n%s", n, err, out)
					}
					b, err := wire.Open(t.Context(), h.Tree)
					if err != nil {
						t.Fatal(err)
					}
					_, is := b.Wiring(i.engine)
					b.Close()
					want := old
					if is {
						want = wired
					}
					wantContents(t, fmt.Sprintf("killed at %d", n), contents(t, h), want)
					do(t, h, i.engine, nil)
					wantContents(t, fmt.Sprintf("killed at %d, then uninstalled", n), contents(t, h), old)
					if !killed && n < 5 {
						t.Errorf("it took %d steps", n)
					}
				}
			})
		}
	}
}
