package crio

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// dump is what crio config of CRI-O 1.34.0 prints without a file, and with the neutral runtime, but for comments.
const dump = `[crio]
[crio.api]
[crio.runtime]
[crio.runtime.runtimes.crun]
runtime_path = ""
runtime_type = "oci"
runtime_root = "/run/crun"
inherit_default_runtime = false
runtime_config_path = ""
container_min_memory = "500KiB"
monitor_path = ""
monitor_cgroup = "system.slice"
monitor_exec_cgroup = ""
monitor_env = [
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
]
allowed_annotations = [
	"io.containers.trace-syscall",
	"io.kubernetes.cri-o.Devices",
]
privileged_without_host_devices = false
[crio.runtime.runtimes.oci-apparmor-neutral]
runtime_path = "/"
runtime_type = ""
monitor_cgroup = "system.slice"
[crio.image]
`

// ourDump is what it prints of our runtime besides.
const ourDump = `[crio.runtime.runtimes.apparmor]
runtime_path = "/usr/local/lib/oci-apparmor/cri-o/crun"
runtime_type = "oci"
runtime_root = "/run/crun"
inherit_default_runtime = false
container_min_memory = "500KiB"
monitor_cgroup = "system.slice"
monitor_env = [
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
]
allowed_annotations = [
	"io.containers.trace-syscall",
	"io.kubernetes.cri-o.Devices",
]
`

// Only what CRI-O reads as our runtime, with all that the default one has, and all else as before is taken.
func TestProof(t *testing.T) {
	before, err := parseDump([]byte(dump))
	if err != nil || before.standard != "crun" || len(before.runtimes) != 1 {
		t.Fatalf("%+v, %v", before, err)
	}
	table := map[string]any{}
	for key, v := range before.runtimes["crun"] {
		table[key] = v
	}
	table["runtime_path"] = "/usr/local/lib/oci-apparmor/cri-o/crun"
	const standard = "[crio.runtime]\ndefault_runtime = \"apparmor\"\n"
	for _, tt := range []struct {
		name, after string
		isDefault   bool
		want        string // part of the error; empty where it is taken
	}{
		{"beside", dump + ourDump, false, ""},
		{"the default", strings.Replace(dump, "[crio.runtime]\n", standard, 1) + ourDump, true, ""},
		{"no default", dump + ourDump, true, "crio.runtime.default_runtime = apparmor would be lost"},
		{"a default that nobody asked for", strings.Replace(dump, "[crio.runtime]\n", standard, 1) + ourDump, false, "default_runtime would be apparmor"},
		{"not read", dump, false, "runtimes.apparmor.runtime_path = /usr/local/lib/oci-apparmor/cri-o/crun would be lost"},
		{"another root", dump + strings.Replace(ourDump, "/run/crun", "/run/x", 1), false, "runtime_root would be /run/x"},
		{"another image table", dump + "pause_image = \"x\"\n" + ourDump, false, "crio.image.pause_image would be x"},
		{"without crun", strings.Replace(dump, "runtimes.crun", "runtimes.apparmor", 1), false, "crio.runtime.runtimes.crun.runtime_root = /run/crun would be lost"},
	} {
		after, err := parseDump([]byte(tt.after))
		if err != nil {
			t.Fatal(err)
		}
		if err := proof(before, after, table, tt.isDefault); (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	for _, out := range []string{"", "[crio]\n", "[crio\n"} {
		if _, err := parseDump([]byte(out)); err == nil {
			t.Errorf("%q is read", out)
		}
	}
}

func TestStripKeepsWhatOthersWrote(t *testing.T) {
	const table = "[crio.runtime.runtimes.apparmor]\nruntime_path = \"/usr/local/lib/oci-apparmor/cri-o/crun\"\n[crio.runtime.runtimes.apparmor.default_annotations]\na = \"b\"\n"
	for _, tt := range []struct{ name, was, now, want string }{
		{"ours alone", "", mark + table, ""},
		{"ours as the default", "", mark + "[crio.runtime]\ndefault_runtime = \"apparmor\"\n\n" + table, ""},
		{"a table of theirs", "", mark + table + "[crio.image]\npause_image = \"x\" # why\n", "[crio.image]\npause_image = \"x\" # why\n"},
		{"the default of before", "[crio.runtime]\ndefault_runtime = \"runc\"\n", "[crio.runtime]\ndefault_runtime = \"apparmor\" # why\n" + table,
			"[crio.runtime]\ndefault_runtime = \"runc\" # why\n"},
		{"somebody else's of that name", "", "[crio.runtime.runtimes.apparmor]\nruntime_path = \"/opt/theirs\"\n",
			"[crio.runtime.runtimes.apparmor]\nruntime_path = \"/opt/theirs\"\n"},
	} {
		var was *wire.Entry
		if tt.was != "" {
			was = &wire.Entry{Data: []byte(tt.was)}
		}
		got, err := Engine{}.Strip(dropIn, was, &wire.Entry{Data: []byte(tt.now)})
		if err != nil || string(got) != tt.want || (got == nil) != (tt.want == "") {
			t.Errorf("%s: %v, got\n%s\nwant\n%s", tt.name, err, got, tt.want)
		}
	}
}

// What is read after ours counts.
func TestWhatIsReadLastIsNamed(t *testing.T) {
	file := func(path, text string) *tomlfile.File {
		t.Helper()
		f, err := tomlfile.Parse(path, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	const theirs = "[crio.runtime]\nlog_level = \"info\"\ndefault_runtime = \"runc\"\n"
	ours := file(dropIn, "")
	if err := last([]*tomlfile.File{file(main, theirs), ours}, true); err != nil {
		t.Error(err)
	}
	late := []*tomlfile.File{ours, file(dropIns+"/zz", theirs)}
	if err := last(late, false); err != nil {
		t.Error(err)
	}
	if err := last(late, true); err == nil || !strings.HasPrefix(err.Error(), dropIns+"/zz:3: ") {
		t.Error(err)
	}
}

func TestPodsOfOursAreFound(t *testing.T) {
	dir := t.TempDir()
	for id, text := range map[string]string{
		"a":  `{"annotations": {"io.kubernetes.cri-o.RuntimeHandler": "apparmor", "io.kubernetes.cri-o.ContainerType": "sandbox", "io.kubernetes.cri-o.SandboxName": "shop"}}`,
		"b":  `{"annotations": {"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxName": "shop"}}`,
		"c":  `{"annotations": {"io.kubernetes.cri-o.RuntimeHandler": "", "io.kubernetes.cri-o.ContainerType": "sandbox", "io.kubernetes.cri-o.SandboxName": "desk"}}`,
		"c2": `{"annotations": {"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxName": "desk"}}`,
		"d":  `{"annotations": {"io.container.manager": "libpod"}}`, "e": "{",
	} {
		if err := os.MkdirAll(filepath.Join(dir, id, "userdata"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, id, "userdata/config.json"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "containers.json"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var need host.Need
	pods(&need, []string{dir, dir, filepath.Join(dir, "none")}, map[string]bool{"b": true, "c2": true})
	if !slices.Equal(need.Containers, []string{"shop", "desk (by default)"}) || len(need.Unknown) != 2 || !strings.Contains(need.Unknown[0], "e/userdata/config.json") {
		t.Errorf("%+v", need)
	}
}
