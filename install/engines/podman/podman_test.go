package podman

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/engines/tomlfile"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// What Podman itself makes of these files is shown in guests, by TestInstallPodmanTrees.

func parsed(t *testing.T, path, text string) *tomlfile.File {
	t.Helper()
	f, err := tomlfile.Parse(path, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Files that are read later replace a list, or add to it from the first {append=true} on.
func TestListsAreMergedAsPodmanDoes(t *testing.T) {
	const d = "/usr/share/containers/oci/hooks.d"
	for _, tt := range []struct {
		lists []string // of one file each
		want  string
	}{
		{nil, d}, {[]string{`["/a"]`}, "/a"}, {[]string{`["/a"]`, `["/b"]`}, "/b"},
		{[]string{`["/a", {append=true}]`}, d + " /a"},
		{[]string{`["/a", {append=true}]`, `["/b"]`}, d + " /a /b"},
		{[]string{`["/a"]`, `["/b", {append=true}]`}, "/a /b"},
		{[]string{`["/a", {append=true}]`, `["/b", {append=false}]`, `["/c"]`}, "/c"},
		{[]string{`[]`, `["/b", {append=true}]`}, "/b"},
	} {
		var files []*tomlfile.File
		for _, l := range tt.lists {
			files = append(files, parsed(t, "f", "[engine]\nhooks_dir = "+l+"\n"))
		}
		m := merge(files)
		if got := strings.Join(m.strings(keyHooks), " "); got != tt.want {
			t.Errorf("%q: %s, want %s", tt.lists, got, tt.want)
		}
		// One file that stands for them says the same.
		again := merged{}
		mergeInto(again, plain(m))
		if got := strings.Join(again.strings(keyHooks), " "); got != tt.want {
			t.Errorf("%q in one file: %s, want %s", tt.lists, got, tt.want)
		}
	}
}

func TestStripKeepsWhatOthersWrote(t *testing.T) {
	const ours = mark + "[engine]\nruntime = \"apparmor\"\nruntime_supports_json = [\"apparmor\", {append = true}]\n"
	const table = "[engine.runtimes]\napparmor = [\"/usr/local/lib/oci-apparmor/podman/crun\"]\n"
	for _, tt := range []struct{ name, path, was, now, want string }{
		{"ours alone", dropIn, "", ours + "\n" + table, ""},
		{"a key of theirs", dropIn, "", ours + "num_locks = 7 # why\n" + table, mark + "[engine]\nnum_locks = 7 # why\n[engine.runtimes]\n"},
		{"a default of theirs", dropIn, "", strings.Replace(ours, `"apparmor"`, `"crun"`, 1) + table, mark + "[engine]\nruntime = \"crun\"\n[engine.runtimes]\n"},
		{"a directory of theirs", dropIn, "", mark + "[engine]\nhooks_dir = [\"/theirs\", \"/usr/local/lib/oci-apparmor/podman-hooks.d\", {append = true}]\n",
			mark + "[engine]\nhooks_dir = [\"/theirs\", {append = true}]\n"},
		{"the directories that there were", dropIn, "",
			mark + "[engine]\nhooks_dir = [\"/usr/share/containers/oci/hooks.d\", \"/usr/local/lib/oci-apparmor/podman-hooks.d\"]\n", ""},
		{"for other users", rootlessDropIn, "", mark + "[engine]\nruntime = \"crun\"\n[containers]\npids_limit = 7\n", mark + "[engine]\n[containers]\npids_limit = 7\n"},
		{"wired by hand", system, "[engine]\n", "[engine]\nruntime = \"apparmor\"\n[engine.runtimes]\napparmor = [\"/usr/local/bin/oci-apparmor-runtime\"]\n",
			"[engine]\n[engine.runtimes]\n"},
		{"somebody else's of that name", system, "", "[engine.runtimes]\napparmor = [\"/opt/theirs\"]\n", "[engine.runtimes]\napparmor = [\"/opt/theirs\"]\n"},
		{"the hook", "/usr/local/lib/oci-apparmor/podman-hooks.d/oci-apparmor.json", "", "{", ""},
	} {
		var was *wire.Entry
		if tt.was != "" {
			was = &wire.Entry{Data: []byte(tt.was)}
		}
		got, err := Engine{}.Strip(tt.path, was, &wire.Entry{Data: []byte(tt.now)})
		if err != nil || string(got) != tt.want || (got == nil) != (tt.want == "") {
			t.Errorf("%s: %v, got\n%s\nwant\n%s", tt.name, err, got, tt.want)
		}
	}
}

func TestWhatIsWrittenInAnotherWayIsRefused(t *testing.T) {
	now := &wire.Entry{Data: []byte("[engine]\nstop_timeout = 7\nruntimes = {apparmor = [\"/usr/local/bin/oci-apparmor-runtime\"]}\n")}
	if _, err := (Engine{}).Strip(dropIn, nil, now); err == nil || !strings.HasPrefix(err.Error(), dropIn+":3: ") {
		t.Error(err)
	}
}

// A user of rootless Podman before 5.6 would be given what is for root.
func TestRootlessUsersAreSpared(t *testing.T) {
	h := host.New(t.TempDir(), "/usr/local/bin")
	write := func(p, text string) {
		t.Helper()
		d := wire.NewDraft(h.Tree)
		if err := d.WriteFile(p, []byte(text)); err != nil {
			t.Fatal(err)
		}
		b, err := wire.Open(t.Context(), h.Tree)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := b.Commit(p, nil, d, d); err != nil {
			t.Fatal(err)
		}
	}
	write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\nben:x:1001:1001::/home/ben:/bin/sh\ncem:x:1002:1002::/home/cem:/bin/sh\nbroken\n")
	for _, home := range []string{"/root", "/home/anna", "/home/ben"} {
		write(home+"/.local/share/containers/storage/storage.lock", "")
	}
	for _, tt := range []struct{ text, want string }{
		{"", "anna ben"}, {"[engine]\nruntime = \"apparmor\"\n", "anna ben"}, {"[engine\n", "anna ben"}, {"[engine]\nruntime = \"crun\"\n", "anna"},
	} {
		write("/home/ben/.config/containers/containers.conf.d/mine.conf", tt.text)
		users, err := rootlessUsers(wire.NewDraft(h.Tree), keyRuntime)
		if err != nil || strings.Join(users, " ") != tt.want {
			t.Errorf("%q: %q, %v, want %s", tt.text, users, err, tt.want)
		}
	}
	// Root's own file is below root's home directory, wherever that is.
	write("/etc/passwd", "root:x:0:0::/var/admin:/bin/sh\nanna:x:1000:1000::/home/anna:/bin/sh\nben:x:1001:1001::/home/ben:/bin/sh\n")
	write("/var/admin/.config/containers/containers.conf", "[engine]\nruntime = \"crun\"\n")
	for major, want := range map[int]int{4: 0, 5: 1} {
		files, err := (&podman{Host: h, version: []int{major, 0, 0}}).files(wire.NewDraft(h.Tree))
		if err != nil || len(files) != want {
			t.Errorf("podman %d: %d files, %v, want %d", major, len(files), err, want)
		}
	}
	write("/var/admin/.config/containers/containers.conf", "")
	w := &wanted{podman: &podman{Host: h, version: []int{5, 4, 2}}, draft: wire.NewDraft(h.Tree)}
	line := func(name string, _ merged) string { return "runtime = \"" + name + "\"\n" }
	if err := w.spare("runtime", keyRuntime, line); err == nil || !strings.Contains(err.Error(), "for anna, set runtime") {
		t.Error(err)
	}
	write("/usr/bin/crun", "")
	write("/etc/containers/containers.rootless.conf", "[engine]\nruntime = \"theirs\"\n")
	w = &wanted{podman: &podman{Host: h, version: []int{5, 6, 0}}, draft: wire.NewDraft(h.Tree)}
	if err := w.spare("runtime", keyRuntime, line); err != nil || len(w.draft.Edits()) > 0 {
		t.Errorf("somebody has seen to it: %v, %v", err, w.draft.Edits())
	}
}

func TestInfoHasWhatDependsOnFiles(t *testing.T) {
	i, err := parseInfo([]byte(`{"host": {"memFree": 7, "logDriver": "journald", "ociRuntime": {"name": "crun", "path": "/usr/bin/crun", "version": "1"}},
		"store": {"graphRootUsed": 9}, "registries": {"search": ["docker.io"]}}`))
	if err != nil || i.runtime != (runtime{"crun", "/usr/bin/crun", "1"}) || len(i.rest) != 2 || i.rest["registries.search"] != "[docker.io]" {
		t.Errorf("%+v, %v", i, err)
	}
	if err := same(i.rest, map[string]string{"host.logDriver": "none"}); err == nil ||
		!strings.Contains(err.Error(), `host.logDriver would be none, and not "journald"`) || !strings.Contains(err.Error(), "registries.search = [docker.io] would be lost") {
		t.Error(err)
	}
	for _, out := range []string{"", "{}", "Error"} {
		if _, err := parseInfo([]byte(out)); err == nil {
			t.Errorf("%q is read", out)
		}
	}
}

func TestInspectSeesTheWrapperByItsPath(t *testing.T) {
	h := host.New(t.TempDir(), "/usr/local/bin")
	d := wire.NewDraft(h.Tree)
	for _, tt := range []struct {
		text      string
		isDefault bool
	}{
		{"[engine]\nruntime = \"/opt/oci-apparmor-runtime\"\n", true},
		{"[engine]\nruntime = \"apparmor\"\n[engine.runtimes]\napparmor = [\"/opt/oci-apparmor-runtime\"]\n", true},
		{"[engine.runtimes]\napparmor = [\"/opt/oci-apparmor-runtime\"]\n", false},
	} {
		if err := d.WriteFile(system, []byte(tt.text)); err != nil {
			t.Fatal(err)
		}
		i, err := Engine{}.Inspect(t.Context(), h, d)
		if err != nil || i.Via != "wrapper" || i.Default != tt.isDefault || len(i.Faults) != 1 || i.Faults[0].Kind != host.ProgramGone {
			t.Errorf("%s: %+v, %v", tt.text, i, err)
		}
	}
}

// Containers need ours that were made with it by any of its names or as a path, also where no file of Podman's has anything of ours.
func TestContainersThatNeedOurRuntime(t *testing.T) {
	h := host.New(t.TempDir(), "/usr/local/bin")
	h.Run = func(_ context.Context, _ []string, _ string, args ...string) ([]byte, error) {
		if args[0] == "ps" {
			return []byte("a\nb\nc\nd\n"), nil
		}
		return []byte("aaaaaaaaaaaaaaaa one apparmor\nb two /usr/bin/oci-apparmor-runtime\nc three crun\nd four x\n"), nil
	}
	need, err := needed(t.Context(), h, "/usr/bin/podman", []string{Runtime, "x"})
	if want := []string{"aaaaaaaaaaaa (one)", "b (two)", "d (four)"}; err != nil || !slices.Equal(need.Containers, want) || need.Why == "" {
		t.Errorf("%+v, %v, want %q", need, err, want)
	}
}
