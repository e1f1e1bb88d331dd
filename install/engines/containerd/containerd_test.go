package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// What containerd itself makes of these files is shown in guests, by TestContainerdInstallTrees.

const head = `[plugins."io.containerd.grpc.v1.cri".containerd`

const table = mark + "\n" + head + ".runtimes.apparmor]\n  runtime_type = \"io.containerd.runc.v2\"\n" +
	"  runtime_path = \"/usr/local/bin/containerd-shim-apparmor-v2\"\n  " + head + ".runtimes.apparmor.options]\n    SystemdCgroup = true\n"

func TestStripKeepsWhatOthersWrote(t *testing.T) {
	const main = "version = 2\n# theirs\n" + head + "]\n  default_runtime_name = \"crun\" # why\n"
	wired := strings.Replace(main, `"crun"`, `"apparmor"`, 1)
	const theirs = "[debug]\nlevel = \"debug\" # new\n"
	for _, tt := range []struct{ name, was, now, want string }{
		{"appended to", main, wired + "\n" + table + theirs, main + theirs},
		{"changed in place", main, strings.Replace(wired, "# theirs", "# changed", 1) + "\n" + table, strings.Replace(main, "# theirs", "# changed", 1)},
		{"default chosen anew", main, strings.Replace(main, "crun", "kata", 1) + "\n" + table, strings.Replace(main, "crun", "kata", 1)},
		{"a key added to ours", "version = 2\n", "version = 2\n\n" + table + "    NoNewKeyring = true\n", "version = 2\n"},
		{"our own file, with theirs", "", "version = 3\n\n" + table + theirs, "version = 3\n" + theirs},
		{"our own file", "", "version = 3\n\n" + table + "# a comment\n", ""},
	} {
		var was *wire.Entry
		if tt.was != "" {
			was = &wire.Entry{Data: []byte(tt.was)}
		}
		got, err := Engine{}.Strip("f", was, &wire.Entry{Data: []byte(tt.now)})
		if err != nil || string(got) != tt.want || (got == nil) != (tt.want == "") {
			t.Errorf("%s: %v, got\n%s\nwant\n%s", tt.name, err, got, tt.want)
		}
	}
}

func TestForeignRuntimeOfOurNameStays(t *testing.T) {
	text := "version = 2\n" + head + "]\n  default_runtime_name = \"apparmor\"\n" + head + ".runtimes.apparmor]\n  runtime_type = \"io.containerd.kata.v2\"\n"
	f, err := tomlfile.Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := cut(f, nil); changed || err != nil || string(f.Text) != text {
		t.Errorf("changed %v, %v:\n%s", changed, err, f.Text)
	}
	if n := namesake([]*tomlfile.File{f}); n == nil || *n != (host.Namesake{Name: "apparmor", Program: "io.containerd.kata.v2", Place: "f:4"}) {
		t.Errorf("%+v", n)
	}
}

// A file that is in the place of ours is named.
func TestDropInOfOthers(t *testing.T) {
	d := wire.NewDraft(wire.Tree{Root: t.TempDir()})
	if err := d.WriteFile("/etc/containerd/conf.d/"+dropIn, []byte("# theirs\n")); err != nil {
		t.Fatal(err)
	}
	w := &Wanted{daemon: &daemon{}, table: map[string]any{"runtime_type": "x"}, before: &dump{}}
	err := w.DropIn(d, "/etc/containerd/conf.d", 2)
	if err == nil || err.Error() != "/etc/containerd/conf.d/"+dropIn+" is there already, and is not ours: move it away" {
		t.Error(err)
	}
}

// The copy that containerd reads leads nowhere else than into the copy.
func TestCandidateImportsItself(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"config.toml":     "imports = [\"/etc/containerd/conf.d/*.toml\", 'more/*.toml', \"/nowhere.toml\"] # all\n",
		"conf.d/1.toml":   "version = 2\nimports = ['/etc/containerd/x.toml']\n",
		"conf.d/2.conf":   "not = read\n",
		"more/3.toml":     "a = 1\n",
		"x.toml":          "b = 1\n",
		"more/.hidden.to": "",
	} {
		at := filepath.Join(root, "etc/containerd", name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	files, err := own.candidate(wire.NewDraft(wire.Tree{Root: root}), "/tmp/copy")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		Config:                          "imports = [\"/tmp/copy/etc/containerd/conf.d/*.toml\", \"more/*.toml\", \"/tmp/copy/nowhere.toml\"] # all\n",
		"/etc/containerd/conf.d/1.toml": "version = 2\nimports = [\"/tmp/copy/etc/containerd/x.toml\"]\n",
		"/etc/containerd/more/3.toml":   "a = 1\n",
		"/etc/containerd/x.toml":        "b = 1\n",
	} {
		if got := string(files[name]); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
		delete(files, name)
	}
	if len(files) > 0 {
		t.Errorf("there is more: %q", files)
	}
}

func TestProofNamesWhatDiffers(t *testing.T) {
	parse := func(text string) *dump {
		t.Helper()
		d, err := parseDump([]byte("version = 2\n" + head + "]\n" + text))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	before := parse("default_runtime_name = \"runc\"\n" + head + ".runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n")
	w := Wanted{table: map[string]any{"runtime_type": stock, "pod_annotations": []any{pattern}}, before: before}
	const ours = head + ".runtimes.apparmor]\nruntime_type = \"io.containerd.runc.v2\"\npod_annotations = [\"oci-apparmor/*\"]\nruntime_path = \"\"\n"
	const runc = head + ".runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n"
	for text, want := range map[string]string{
		"default_runtime_name = \"runc\"\n" + runc + ours:                           "",
		"default_runtime_name = \"runc\"\n" + ours:                                  "runtimes.runc.runtime_type = io.containerd.runc.v2 would be lost",
		"default_runtime_name = \"runc\"\n" + runc:                                  "runtimes.apparmor.pod_annotations = [oci-apparmor/*] would be lost",
		"default_runtime_name = \"x\"\n" + runc + ours:                              "default_runtime_name would be x",
		"default_runtime_name = \"runc\"\nsnapshotter = \"native\"\n" + runc + ours: "snapshotter would be native",
	} {
		err := w.proof(parse(text))
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestOldContainerdIgnoresRuntimePath(t *testing.T) {
	for _, tt := range []struct {
		version []int
		want    bool
	}{{[]int{1, 6, 20}, true}, {[]int{1, 6, 21}, false}, {[]int{1, 5, 40}, true}, {[]int{1, 7, 0}, false}, {[]int{2, 0, 0}, false}} {
		if got := (&daemon{Host: host.New("/", "/bin"), version: tt.version}).ignoresRuntimePath(); got != tt.want {
			t.Errorf("%v: %v", tt.version, got)
		}
	}
}
