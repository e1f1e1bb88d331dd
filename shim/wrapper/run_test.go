package wrapper

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
)

// fakeHost returns fixed answers and writes down what it was asked.
type fakeHost struct {
	label, warning string
	ours           bool
	err            error
	asked          []string
	notes          []string
	passed         []string
}

func (f *fakeHost) ask(what string, w hook.Caller, args ...string) {
	f.asked = append(f.asked, strings.Join(append([]string{what, w.Engine + "@" + w.Root}, args...), " "))
}

func (f *fakeHost) Prepare(_ context.Context, w hook.Caller, id string, bundle *hook.Bundle) (hook.Outcome, error) {
	dir, err := bundle.Dir()
	if err != nil {
		return hook.Outcome{}, err
	}
	f.ask("prepare", w, id, dir)
	return hook.Outcome{Label: f.label, Warning: f.warning}, f.err
}

func (f *fakeHost) Start(_ context.Context, w hook.Caller, id string) (hook.Process, error) {
	f.ask("start", w, id)
	return hook.Process{Warning: f.warning, Ours: f.ours}, f.err
}

func (f *fakeHost) Exec(_ context.Context, w hook.Caller, id string) (hook.Process, error) {
	f.ask("exec", w, id)
	return hook.Process{Label: f.label, Warning: f.warning, Ours: f.ours}, f.err
}

func (f *fakeHost) Forget(w hook.Caller, id string, _ ...hook.Ran) { f.ask("forget", w, id) }
func (f *fakeHost) Drop(w hook.Caller, id string)                  { f.ask("drop", w, id) }

func (f *fakeHost) Sweep(hook.Caller) { f.asked = append(f.asked, "sweep") }

func (f *fakeHost) Note(w hook.Caller, n notice.Notice, out hook.Outcome) {
	f.notes = append(f.notes, strings.TrimRight(w.Engine+"|"+string(n.Level)+"|"+n.String()+"|"+out.Label+"|"+string(n.Reason), "|"))
}

func (f *fakeHost) Passed(w hook.Caller, command string, out hook.Outcome, took time.Duration) {
	if took <= 0 || took > time.Hour {
		command += " after " + took.String()
	}
	f.passed = append(f.passed, w.Engine+"|"+command+"|"+out.Label)
}

func TestCommandsActOnTheHost(t *testing.T) {
	here, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(here, "x"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(here)
	b := here + "/x"
	ours := fakeHost{ours: true, label: "a//&b"}
	for _, tt := range []struct {
		name    string
		host    fakeHost
		dialect Dialect
		args    string
		asked   []string
		want    string // the command line for the runtime; empty for the same
	}{
		{"create", ours, Runc, `--root /r create --bundle ` + b + ` c1`, []string{"prepare other@/r c1 " + b}, ``},
		{"create without a bundle", ours, Runc, `--root /r create c1`, []string{"prepare other@/r c1 " + here}, ``},
		{"create with a relative bundle", ours, Runc, `--root /r create -b=x c1`, []string{"prepare other@/r c1 " + b}, ``},
		{"run", ours, Crun, `--root /r run -b` + b + ` c1`, []string{"sweep", "prepare other@/r c1 " + b}, ``},
		{"restore", ours, Runc, `--root /r restore --lsm-profile apparmor:u --bundle ` + b + ` c1`,
			[]string{"prepare other@/r c1 " + b}, `--root /r restore --lsm-profile=apparmor:a//&b --bundle ` + b + ` c1`},
		{"restore of a container that keeps the engine's choice", fakeHost{}, Runc,
			`--root /r restore --lsm-profile apparmor:u --bundle ` + b + ` c1`, []string{"prepare other@/r c1 " + b}, ``},
		{"start", ours, Runc, `--root /r start c1`, []string{"start other@/r c1"}, ``},
		{"exec", ours, Runc, `--root /r exec --apparmor u c1 sh`, []string{"exec other@/r c1"},
			`--root /r exec --apparmor=a//&b c1 sh`},
		{"exec in a container that is not ours", fakeHost{}, Runc, `--root /r exec --apparmor u c1 sh`,
			[]string{"exec other@/r c1"}, ``},
		{"exec with a process file in a container that is not ours", fakeHost{}, Runc, `--root /r exec -p /none c1`,
			[]string{"exec other@/r c1"}, ``},
		{"exec with an empty name for a process file", ours, Runc, `--root /r exec --process= c1 sh`,
			[]string{"exec other@/r c1"}, `--root /r exec --apparmor=a//&b --process= c1 sh`},
		{"delete", ours, Runc, `--root /r delete --force c1`, []string{"forget other@/r c1", "sweep"}, ``},
		{"delete by pattern", ours, Crun, `--root /r delete --regex .`, []string{"sweep"}, ``},
		{"state", ours, Runc, `--root /r state c1`, nil, ``},
		{"kill", ours, Crun, `--root /r kill c1 KILL`, nil, ``},
		{"kubernetes", ours, Runc, `--root /run/containerd/runc/k8s.io start c1`,
			[]string{"start containerd@/run/containerd/runc/k8s.io c1"}, ``},
	} {
		t.Run(tt.name, func(t *testing.T) {
			argv := split("x " + tt.args)
			a, err := ParseArgs(tt.dialect, argv)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := a.apply(t.Context(), &tt.host, tt.dialect)
			if err != nil {
				t.Fatal(err)
			}
			want := argv
			if tt.want != "" {
				want = split("x " + tt.want)
			}
			if !slices.Equal(got, want) {
				t.Errorf("the runtime gets %q, want %q", got, want)
			}
			if !slices.Equal(tt.host.asked, tt.asked) {
				t.Errorf("the host was asked %q, want %q", tt.host.asked, tt.asked)
			}
		})
	}
}

// A runtime goes to its bundle by chdir, to which link/.. is the parent of what the link leads to. What is cut short as
// text is another directory, and the container would start with a spec that nobody looked at.
func TestBundleIsTheOneThatTheRuntimeReads(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "real/sub"), 0o755),
		os.Mkdir(filepath.Join(dir, "real/b"), 0o755), // the bundle
		os.Mkdir(filepath.Join(dir, "b"), 0o755),      // not the bundle
		os.Symlink("real/sub", filepath.Join(dir, "link")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ pwd, bundle string }{
		{dir, dir + "/link/../b"},
		{dir, "link/../b"},
		{dir + "/link", "../b"}, // a shell's cd leaves $PWD so
		{dir + "/link/../b", ""},
		{dir + "/link/../b", "."},
	} {
		for d, name := range map[Dialect]string{Runc: "runc", Crun: "crun"} {
			for _, command := range []string{"create", "run", "restore"} {
				t.Chdir(tt.pwd)
				t.Setenv("PWD", tt.pwd)
				argv := []string{name, "--root", "/r", command}
				if tt.bundle != "" {
					argv = append(argv, "--bundle", tt.bundle)
				}
				a, err := ParseArgs(d, append(argv, "c1"))
				if err != nil {
					t.Fatal(err)
				}
				host := fakeHost{}
				_, _, err = a.apply(t.Context(), &host, d)
				if want := "prepare other@/r c1 " + dir + "/real/b"; err != nil || !slices.Contains(host.asked, want) {
					t.Errorf("in %s, %q: the host was asked %q, want %q (%v)", tt.pwd, argv, host.asked, want, err)
				}
			}
		}
	}
}

func TestRefusalReachesNoRuntime(t *testing.T) {
	why := errors.New("because")
	for _, args := range []string{"create c1", "run c1", "restore c1", "start c1", "exec c1 sh"} {
		for _, d := range []Dialect{Runc, Crun} {
			a, err := ParseArgs(d, split("x "+args))
			if err != nil {
				t.Fatal(err)
			}
			if argv, _, err := a.apply(t.Context(), &fakeHost{ours: true, label: "l", err: why}, d); !errors.Is(err, why) {
				t.Errorf("%s: got %q and %v, want the host's error", args, argv, err)
			}
		}
	}
}

func TestExecWithoutALabelIsRefused(t *testing.T) {
	a, err := ParseArgs(Runc, split("runc exec c1 sh"))
	if err != nil {
		t.Fatal(err)
	}
	if argv, _, err := a.apply(t.Context(), &fakeHost{ours: true}, Runc); err == nil {
		t.Errorf("got %q, want an error", argv)
	}
}

func TestRootIsOneHoweverItIsSpelled(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "run/runc"), 0o755),
		os.MkdirAll(filepath.Join(dir, "real/sub"), 0o755),
		os.Symlink("run", filepath.Join(dir, "link")),
		os.Symlink("real/sub", filepath.Join(dir, "sub")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	t.Setenv("XDG_RUNTIME_DIR", dir+"/link")
	for _, tt := range []struct {
		dialect    Dialect
		args, want string
	}{
		{Runc, "--root " + dir + "/run/runc/ start c1", "/run/runc"},
		{Runc, "--root " + dir + "/link/../run//runc start c1", "/run/runc"},
		{Runc, "--root=link/runc start c1", "/run/runc"},
		{Runc, "--root link/not/there/yet start c1", "/run/not/there/yet"},
		{Runc, "--root= start c1", ""},
		{Crun, "start c1", "/run/crun"},
		// To runc .. is text, to crun it is the kernel's.
		{Runc, "--root " + dir + "/sub/../x start c1", "/x"},
		{Crun, "--root " + dir + "/sub/../x/y start c1", "/real/x/y"},
	} {
		a, err := ParseArgs(tt.dialect, split("x "+tt.args))
		if err != nil {
			t.Fatal(err)
		}
		if w, err := a.caller(tt.dialect); err != nil || w.Root != dir+tt.want {
			t.Errorf("%s: got %q and %v, want %q", tt.args, w.Root, err, dir+tt.want)
		}
	}

	t.Setenv("XDG_RUNTIME_DIR", "")
	for d, want := range map[Dialect]string{Runc: "/run/runc", Crun: "/run/crun"} {
		if got := defaultRoot(d); got != want {
			t.Errorf("default root: got %q, want %q", got, want)
		}
	}
}

func TestRuntimeIsFound(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, d := range []string{"ours", "plain", "real", "crun"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file("plain/runc", 0o644)
	runc := file("real/runc", 0o755)
	crun := file("crun/crun", 0o755)
	link := filepath.Join(dir, "ours/runc")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	all := []string{dir + "/none", dir + "/ours", dir + "/plain", dir + "/real", dir + "/crun"}

	for _, tt := range []struct {
		name, named, argv0 string
		dirs               []string
		want               string // empty for an error
	}{
		{"runc by default, not ourselves", "", "/usr/bin/oci-apparmor-runtime", all, runc},
		{"crun where there is no runc", "", "oci-apparmor-runtime", []string{dir + "/ours", dir + "/crun"}, crun},
		{"under the name crun", "", "/usr/libexec/oci-apparmor/podman/crun", all, crun},
		{"under the name runc", "", link, all, runc},
		{"under the name oci-apparmor-crun", "", "oci-apparmor-crun", all, crun},
		{"no other runtime than the name's", "", "runc", []string{dir + "/crun"}, ""},
		{"none", "", "oci-apparmor-runtime", []string{dir + "/plain", dir + "/ours"}, ""},
		{"named by the administrator", crun, "runc", all, crun},
		{"named, but not absolute", "crun", "runc", all, ""},
		{"named, but ourselves", link, "runc", all, ""},
		{"named, but not there", dir + "/none", "runc", all, ""},
		{"named, but a directory", dir, "runc", all, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := findRuntime(tt.named, runtimeNames(tt.argv0), tt.dirs)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q and %v, want %q", got, err, tt.want)
			}
		})
	}
}
