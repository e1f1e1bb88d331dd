package engines

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"text/template"

	containerdconfig "github.com/containerd/containerd/v2/cmd/containerd/server/config"
	"github.com/pelletier/go-toml/v2"

	"github.com/oci-apparmor/oci-apparmor/install/engines/compare"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

var update = flag.Bool("update", false, "write the diffs in testdata anew")

// A distribution is a distribution of Kubernetes, by where its files are and by what it makes of them at each start. None of
// the modules of K3s, RKE2, k0s and MicroK8s is served by the Go proxy. So what they do is done again here, as their code of
// 2026-08 does it: where they call text/template, a merge patch or sed, so does this.
type distribution struct {
	dir     string // of the files that its trees have
	config  string // containerd's main file
	program string // containerd
	start   func(t *testing.T, of distribution, root string, tt tree)
}

var distributions = map[string]distribution{
	"k3s": {
		dir: "var/lib/rancher/k3s/agent/etc/containerd", config: "var/lib/rancher/k3s/agent/etc/containerd/config.toml",
		program: "var/lib/rancher/k3s/data/current/bin/containerd", start: startK3s,
	},
	"rke2": {
		dir: "var/lib/rancher/rke2/agent/etc/containerd", config: "var/lib/rancher/rke2/agent/etc/containerd/config.toml",
		program: "var/lib/rancher/rke2/bin/containerd", start: startK3s,
	},
	"k0s": {dir: "etc/k0s", config: "etc/k0s/containerd.toml", program: "var/lib/k0s/bin/containerd", start: startK0s},
	"microk8s": {
		dir: "var/snap/microk8s/current/args", config: "var/snap/microk8s/current/args/containerd.toml",
		program: "snap/microk8s/current/bin/containerd", start: startMicroK8s,
	},
}

// tree is the files that people have written on a node, below testdata/DISTRIBUTION/NAME, and what comes of it.
type tree struct {
	of, name   string
	version    string // of the distribution
	containerd string // its version
	base       string // a file of testdata/DISTRIBUTION: what the built-in template comes to
	choice     Choice
	refused    string // part of why it is not wired; empty where it is
	handled    bool   // ours is in it already
}

var trees = []tree{
	{of: "k3s", name: "fresh", version: "v1.36.4+k3s1", containerd: "2.3.4", base: "base-v3.toml"},
	{of: "k3s", name: "fresh-default", version: "v1.36.4+k3s1", containerd: "2.3.4", base: "base-v3.toml", choice: Choice{Default: yes()}},
	{of: "rke2", name: "fresh", version: "v1.36.4+rke2r1", containerd: "2.3.4", base: "base-v3.toml"},
	{of: "rke2", name: "fresh-older", version: "v1.30.4+rke2r1", containerd: "1.7.20", base: "base-v2.toml"},
	{of: "k3s", name: "fresh-older", version: "v1.32.2+k3s1", containerd: "2.0.2", base: "base-v3-older.toml"},
	{of: "k3s", name: "fresh-older-default", version: "v1.32.2+k3s1", containerd: "2.0.2", base: "base-v3-older.toml", choice: Choice{Default: yes()}},
	{of: "k3s", name: "fresh-1.7", version: "v1.30.4+k3s1", containerd: "1.7.20", base: "base-v2.toml"},
	{of: "k3s", name: "fresh-1.7", version: "v1.30.4+k3s1", containerd: "1.7.20", base: "base-v2.toml", choice: Choice{Default: yes()},
		refused: "config.toml.tmpl: /var/lib/rancher/k3s/agent/etc/containerd/config.toml:"},
	{of: "k3s", name: "no-base", version: "v1.27.4+k3s1", containerd: "1.7.1", base: "base-v2.toml", refused: "a template cannot name the built-in one"},
	{of: "k3s", name: "no-shim", version: "v1.24.8+k3s1", containerd: "1.6.8", base: "base-v2.toml", refused: "containerd 1.6.8 ignores runtime_path"},
	{of: "k3s", name: "fresh", version: "v1.36.4+k3s1", containerd: "2.3.4", base: "base-v3.toml", choice: Choice{Via: "wrapper"}, refused: "take --via shim"},
	{of: "k3s", name: "commented", version: "v1.33.1+k3s1", containerd: "2.0.5", base: "base-v3-older.toml"},
	{of: "k3s", name: "whole-template", version: "v1.32.2+k3s1", containerd: "2.0.2"},
	{of: "k3s", name: "nvidia", version: "v1.36.4+k3s1", containerd: "2.3.4", base: "base-v3.toml", choice: Choice{Default: yes()}},
	{of: "k3s", name: "nvidia-template", version: "v1.32.2+k3s1", containerd: "2.0.2"},
	{of: "k3s", name: "by-hand", version: "v1.32.2+k3s1", containerd: "2.0.2", base: "base-v3-older.toml", handled: true},
	{of: "k3s", name: "broken", version: "v1.36.4+k3s1", containerd: "2.3.4", refused: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml:2:9: "},
	{of: "k3s", name: "broken-drop-in", version: "v1.36.4+k3s1", containerd: "2.3.4", base: "base-v3.toml", refused: "config-v3.toml.d/theirs.toml:2:5: "},
	{of: "k3s", name: "foreign", version: "v1.32.2+k3s1", containerd: "2.0.2", base: "base-v3-older.toml",
		refused: "config-v3.toml.tmpl:2: a runtime apparmor stands here that is not ours"},
	{of: "k3s", name: "not-understood", version: "v1.32.2+k3s1", containerd: "2.0.2", base: "base-v3-older.toml",
		refused: "config-v3.toml.tmpl:2: a runtime apparmor stands here that is not ours, or in a way that is not understood"},

	{of: "k0s", name: "fresh", containerd: "2.2.1"},
	{of: "k0s", name: "fresh-1.7", containerd: "1.7.29"},
	{of: "k0s", name: "fresh-1.7-default", containerd: "1.7.29", choice: Choice{Default: yes()}},
	{of: "k0s", name: "commented", containerd: "2.2.1", choice: Choice{Default: yes()}},
	{of: "k0s", name: "nvidia", containerd: "1.7.29"},
	{of: "k0s", name: "by-hand", containerd: "1.7.29", handled: true},
	{of: "k0s", name: "broken", containerd: "2.2.1", refused: "/etc/k0s/containerd.d/theirs.toml:2:9: "},
	{of: "k0s", name: "foreign", containerd: "2.2.1", refused: "/etc/k0s/containerd.d/kata.toml:1: there is a runtime apparmor that is not ours"},
	{of: "k0s", name: "unmanaged", containerd: "2.2.1", refused: `/etc/k0s/containerd.toml does not begin with "# k0s_managed=true"`},

	{of: "microk8s", name: "fresh", containerd: "2.2.3"},
	{of: "microk8s", name: "fresh-default", containerd: "2.2.3", choice: Choice{Default: yes()}},
	{of: "microk8s", name: "commented", containerd: "2.2.3", choice: Choice{Default: yes()}},
	{of: "microk8s", name: "older-us", containerd: "1.7.28", handled: true},
	{of: "microk8s", name: "broken", containerd: "2.2.3", refused: "/var/snap/microk8s/current/args/containerd-template.toml:2:18: "},
	{of: "microk8s", name: "foreign", containerd: "2.2.3", refused: "containerd-template.toml:38: there is a runtime apparmor that is not ours"},
	{of: "microk8s", name: "strict", containerd: "2.2.3", refused: "the snap microk8s is strictly confined"},
}

// Of each tree, what changes is in testdata, containerd's own code reads it as our runtime and all else as before, also
// after the distribution has made its files anew, and after uninstall the tree is the same again.
func TestDistributions(t *testing.T) {
	for _, tt := range trees {
		name := tt.of + " " + tt.name
		if tt.refused != "" {
			name += " refused"
		}
		t.Run(name, func(t *testing.T) {
			of := distributions[tt.of]
			h := newNode(t, tt)
			restart := func() { of.start(t, of, h.Tree.Root, tt) }
			restart()
			before := contents(t, h)
			b, err := wire.Open(t.Context(), h.Tree)
			if err != nil {
				t.Fatal(err)
			}
			plans, err := Install(t.Context(), b, h, []string{tt.of}, tt.choice)
			b.Close()
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("%v, want %s", err, tt.refused)
				}
				wantContents(t, "afterwards", contents(t, h), before)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			wantDiff(t, filepath.Join("testdata", tt.of, tt.name+".diff"), wire.Diff(plans[0].Edits))
			was := loaded(t, h, of.config)
			do(t, h, tt.of, &tt.choice)
			restart()
			isDefault := tt.choice.Default != nil || tt.handled
			if !tt.handled {
				wantLoaded(t, was, loaded(t, h, of.config), isDefault)
			}
			wired := contents(t, h)
			for _, s := range Look(t.Context(), nil, h) { // as the doctor does
				if s.Name == tt.of && (!s.Wired() || s.Via != "shim" || len(s.Faults) > 0 || s.Default != isDefault || s.Err != nil || s.Engine != "containerd") {
					t.Errorf("it stands as %+v", s)
				}
				if s.Name == "containerd" && s.Absent == "" {
					t.Errorf("it is taken for the node's own: %+v", s)
				}
			}
			do(t, h, tt.of, &Choice{})
			wantContents(t, "wired twice", contents(t, h), wired)
			do(t, h, tt.of, nil)
			restart()
			if !tt.handled {
				wantContents(t, "as before", contents(t, h), before)
			}

			// What somebody has written since stays.
			do(t, h, tt.of, &tt.choice)
			for _, e := range plans[0].Edits {
				if !e.Old.IsFile() || !e.New.IsFile() || tt.handled {
					continue
				}
				at, later := h.Tree.Real(e.Path), "# later\n"
				text, err := os.ReadFile(at)
				if err == nil {
					err = os.WriteFile(at, append(text, later...), 0o644)
				}
				if err != nil {
					t.Fatal(err)
				}
				do(t, h, tt.of, nil)
				if left, err := os.ReadFile(at); err != nil || string(left) != string(e.Old.Data)+later {
					t.Errorf("%v, of what is written after install stays\n%s", err, left)
				}
				if err := os.WriteFile(at, e.Old.Data, 0o644); err != nil {
					t.Fatal(err)
				}
			}

			// Without a record ours is known all the same.
			do(t, h, tt.of, &tt.choice)
			restart()
			if err := os.RemoveAll(h.Tree.Real(wire.Dir)); err != nil {
				t.Fatal(err)
			}
			do(t, h, tt.of, nil)
			restart()
			for key := range loaded(t, h, of.config) {
				if strings.Contains(key, "apparmor") {
					t.Errorf("without a record %s is left", key)
				}
			}
		})
	}
}

// newNode makes an image with a tree. Its containerd is containerd's own code of reading files.
func newNode(t *testing.T, tt tree) *host.Host {
	t.Helper()
	of := distributions[tt.of]
	files := map[string]string{of.program: "", "usr/local/bin/" + tt.of: "", "usr/local/bin/containerd-shim-apparmor-v2": ""}
	from := filepath.Join("testdata", tt.of, strings.TrimSuffix(tt.name, "-default"))
	err := filepath.WalkDir(from, func(p string, e fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && p == from { // nobody has written anything
			return nil
		}
		if err != nil || e.IsDir() {
			return err
		}
		data, err := os.ReadFile(p)
		rel, _ := filepath.Rel(from, p)
		files[path.Join(of.dir, filepath.ToSlash(rel))] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if tt.of == "microk8s" {
		files["snap/microk8s/current/meta/snap.yaml"] = "name: microk8s\nconfinement: classic\n"
		if tt.name == "strict" {
			files["snap/microk8s/current/meta/snap.yaml"] = "name: microk8s\nconfinement: strict\n"
		}
	}
	return nodeAt(newImage(t, files).Tree.Root, tt)
}

// nodeAt returns the host of a tree below a root.
func nodeAt(root string, tt tree) *host.Host {
	of := distributions[tt.of]
	h := host.New(root, "/usr/local/bin")
	h.Run = func(ctx context.Context, _ []string, program string, args ...string) ([]byte, error) {
		switch said := strings.Join(args, " "); {
		case program == "/usr/local/bin/"+tt.of && said == "--version":
			return []byte(tt.of + " version " + tt.version + " (0123abcd)\ngo version go1.26.5\n"), nil
		case program != "/"+of.program:
			return nil, fmt.Errorf("%s: %w", program, host.ErrNoProgram)
		case said == "--version":
			return []byte("containerd github.com/k3s-io/containerd v" + tt.containerd + "-k3s1 0123abcd\n"), nil
		case len(args) == 4 && args[0] == "--config" && args[2] == "config" && args[3] == "dump":
			return dumped(ctx, h, args[1])
		}
		return nil, fmt.Errorf("%s %q is not known here", program, args)
	}
	return h
}

// dumped reads a main file in an image as containerd does.
func dumped(ctx context.Context, h *host.Host, main string) ([]byte, error) {
	// Imports are absolute paths of the image: those of a copy lead into a directory that this machine does not have.
	if dir := strings.Join(strings.Split(main, "/")[:3], "/"); strings.HasPrefix(main, "/tmp/oci-apparmor-check-") {
		if err := os.Symlink(h.Tree.Real(dir), dir); err != nil {
			return nil, err
		}
		defer os.Remove(dir)
	}
	var c containerdconfig.Config
	if err := containerdconfig.LoadConfig(ctx, main, &c); err != nil {
		return nil, err
	}
	values := map[string]any{"version": c.Version, "plugins": c.Plugins}
	for _, name := range []string{"io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"} { // a dump has the defaults of plugins
		if table, ok := c.Plugins[name].(map[string]any); ok && table["containerd"] == nil {
			table["containerd"] = map[string]any{}
		}
	}
	return toml.Marshal(values)
}

// loaded returns what containerd reads in an image, flat.
func loaded(t *testing.T, h *host.Host, config string) map[string]string {
	t.Helper()
	read := host.New(h.Tree.Root, h.Bin)
	dir, remove, err := read.Candidate(func(dir string) (map[string][]byte, error) {
		all := map[string][]byte{}
		for p, text := range contents(t, h) {
			if strings.HasSuffix(p, ".toml") {
				all[p] = []byte(strings.ReplaceAll(text, `imports = ["/`, `imports = ["`+dir+"/"))
			}
		}
		return all, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	defer remove()
	out, err := dumped(t.Context(), h, path.Join(dir, config))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := toml.Unmarshal(out, &values); err != nil {
		t.Fatal(err)
	}
	return compare.Flatten(values, func(any) bool { return false })
}

// wantLoaded compares what containerd reads before and after an install.
func wantLoaded(t *testing.T, before, after map[string]string, isDefault bool) {
	t.Helper()
	want := maps.Clone(before)
	found := false
	for key, value := range after {
		_, ours, is := strings.Cut(key, ".containerd.runtimes.apparmor.")
		if is {
			want[key] = value
			found = found || ours == "pod_annotations" && strings.Contains(value, "oci-apparmor/*")
		}
		if isDefault && strings.HasSuffix(key, ".containerd.default_runtime_name") {
			want[key] = "apparmor"
		}
	}
	if err := compare.Same(want, after); err != nil || !found {
		t.Errorf("ours is read: %v; %v", found, err)
	}
}

func wantDiff(t *testing.T, golden, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatalf("%v; -update writes it", err)
	}
	if got != string(want) {
		t.Errorf("%s (-update writes it anew): got\n%s\nwant\n%s", golden, got, want)
	}
}

// startK3s makes the main file as k3s and RKE2 do (k3s, pkg/agent/containerd/config.go and pkg/agent/templates): of
// config-v3.toml.tmpl, of config.toml.tmpl, or of the built-in template, which the others call base.
func startK3s(t *testing.T, of distribution, root string, tt tree) {
	t.Helper()
	if _, err := os.Stat(filepath.Join("testdata", tt.of, tt.name, "config.toml")); err == nil {
		return // the node's is as it is
	}
	base := ""
	if tt.base != "" {
		data, err := os.ReadFile(filepath.Join("testdata/k3s", tt.base))
		if err != nil {
			t.Fatal(err)
		}
		base = strings.ReplaceAll(string(data), "k3s/agent", tt.of+"/agent")
	}
	text := base
	for _, name := range []string{"config-v3.toml.tmpl", "config.toml.tmpl"} {
		if strings.HasPrefix(tt.containerd, "1.") && name != "config.toml.tmpl" {
			continue
		}
		if data, err := os.ReadFile(filepath.Join(root, of.dir, name)); err == nil {
			text = string(data)
			break
		}
	}
	parsed := template.Must(template.New("compiled_template").Parse(text))
	template.Must(parsed.New("base").Parse(base))
	var out strings.Builder
	err := parsed.Execute(&out, map[string]any{
		"NodeConfig":    map[string]any{"Containerd": map[string]any{"Opt": "/var/lib/rancher/k3s/agent/containerd"}, "SELinux": false},
		"SystemdCgroup": true, "DisableCgroup": true, "ExtraRuntimes": map[string]any{"wasmtime": map[string]any{"RuntimeType": "io.containerd.wasmtime.v2"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var trimmed strings.Builder // its trimEmpty
	for lines := bufio.NewScanner(strings.NewReader(out.String())); lines.Scan(); {
		if strings.TrimSpace(lines.Text()) == "" {
			continue
		}
		if strings.HasPrefix(lines.Text(), "[") {
			trimmed.WriteString("\n")
		}
		trimmed.WriteString(lines.Text() + "\n")
	}
	at := filepath.Join(root, of.config)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(trimmed.String()), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// startK0s makes the main file as k0s does (k0s, pkg/component/worker/containerd/component.go), and before 1.36 also the file
// into which it merges what is about CRI (configurer.go of v1.35).
func startK0s(t *testing.T, of distribution, root string, tt tree) {
	t.Helper()
	const header = "# k0s_managed=true\n# This is a placeholder configuration for k0s managed containerd.\n"
	write := func(p, text string) {
		t.Helper()
		at := filepath.Join(root, p)
		if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o755), os.WriteFile(at, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(root, of.config)); err == nil && !strings.HasPrefix(string(data), header) {
		return
	}
	if err := os.MkdirAll(filepath.Join(root, "etc/k0s/containerd.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(tt.containerd, "1.") {
		write(of.config, header+`imports = ["/etc/k0s/containerd.d/*.toml"]
version = 3

[plugins]
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "registry.k8s.io/pause:3.10"
  [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2" # as the defaults of the plugin have it
`)
		return
	}
	read := func(p string) (values map[string]any) {
		t.Helper()
		data, err := os.ReadFile(p)
		if err == nil {
			err = toml.Unmarshal(data, &values)
		}
		if err != nil {
			t.Fatal(err)
		}
		return values
	}
	merged := read("testdata/k0s/base-v2.toml")
	imports := ""
	found, err := filepath.Glob(filepath.Join(root, "etc/k0s/containerd.d/*.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		values := read(p)
		if plugins, _ := values["plugins"].(map[string]any); plugins["io.containerd.grpc.v1.cri"] == nil {
			imports += strconv.Quote(strings.TrimPrefix(p, root)) + ", "
			continue
		}
		mergePatch(merged, values)
	}
	text, err := toml.Marshal(merged)
	if err != nil {
		t.Fatal(err)
	}
	write("run/k0s/containerd-cri.toml", string(text))
	write(of.config, header+"imports = ["+imports+"\"/run/k0s/containerd-cri.toml\"]\nversion = 2\n")
}

// mergePatch applies a merge patch (RFC 7396) without nulls.
func mergePatch(to, patch map[string]any) {
	for key, v := range patch {
		sub, ok := v.(map[string]any)
		if !ok {
			to[key] = v
			continue
		}
		if _, ok := to[key].(map[string]any); !ok {
			to[key] = map[string]any{}
		}
		mergePatch(to[key].(map[string]any), sub)
	}
}

// startMicroK8s makes the main file as the snap does (microk8s, microk8s-resources/wrappers/run-containerd-with-args).
func startMicroK8s(t *testing.T, of distribution, root string, _ tree) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, of.dir, "containerd-template.toml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range [][2]string{{"SNAP", "/snap/microk8s/7589"}, {"SNAP_DATA", "/var/snap/microk8s/7589"}, {"SNAPSHOTTER", "overlayfs"},
		{"RUNTIME", "runc"}, {"RUNTIME_TYPE", "io.containerd.runc.v2"}} {
		text = bytes.ReplaceAll(text, []byte("${"+v[0]+"}"), []byte(v[1]))
	}
	if err := os.WriteFile(filepath.Join(root, of.config), text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// What starts an engine that is down starts it: to try a restart, and to change a file, do not.
func TestStartsWhatIsDown(t *testing.T) {
	for name, want := range map[string]string{
		"k3s": "", "rke2": "", "k0s": "k0s start", "microk8s": "snap start microk8s.daemon-containerd",
	} {
		h := newNode(t, tree{of: name, name: "fresh"})
		e, err := named(name)
		if err == nil && name != "microk8s" {
			main := h.Tree.Real(distributions[name].config)
			err = errors.Join(os.MkdirAll(filepath.Dir(main), 0o755), os.WriteFile(main, []byte("# k0s_managed=true\nversion = 3\n"), 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
		if s := look(t.Context(), nil, h, e); s.Absent != "" || s.Err != nil || s.Start != want {
			t.Errorf("%s is started by %q, want %q: %+v", name, s.Start, want, s)
		}
	}
}
