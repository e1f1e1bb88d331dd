package command

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/seen"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// looseText is a text about which there is much to say, and looseBlob what apparmor_parser 3.0.8 makes of it.
const looseText = "profile loose {\n  file,\n  deny /bin/sh x,\n}\n"

//go:embed testdata/loose.blob
var looseBlob []byte

// named is how the texts of tests begin.
var named = regexp.MustCompile(`(?m)^(?: *)(?:profile|hat) ([^ ]+)`)

// CompileText is the fake compiler's: a text defines what its lines of "profile NAME" say, and those that are indented as
// children of the first.
func (c fakeCompiler) CompileText(_ context.Context, source string, text []byte) (profile.Blob, error) {
	if bytes.Contains(text, []byte("BAD")) {
		return profile.Blob{}, &profile.TextError{Source: source, Line: 2, Msg: "syntax error"}
	}
	var names []string
	for _, m := range named.FindAllSubmatch(text, -1) {
		name := strings.Trim(string(m[1]), `"`)
		if m[0][0] == ' ' {
			name = names[0] + "//" + name
		}
		names = append(names, name)
	}
	data := kerneltest.Blob(string(text), names...)
	if string(text) == looseText {
		data = looseBlob
	}
	b, err := profile.Parse(data)
	if err != nil {
		err = &profile.TextError{Source: source, Msg: err.Error(), Err: err}
	}
	return b, err
}

// Standalone is the fake compiler's, which includes nothing.
func (fakeCompiler) Standalone(_ context.Context, text []byte, _ profile.Mode, want func() (profile.Blob, error)) ([]byte, error) {
	_, err := want()
	return text, err
}

// Outcomes is the fake compiler's, which gives the same each time.
func (c fakeCompiler) Outcomes(ctx context.Context, text []byte, is func(profile.Blob) bool) (bool, []profile.Blob, error) {
	b, err := c.AsLoaded(ctx, text)
	return err == nil && is(b), []profile.Blob{b}, err
}

// Inputs is the fake compiler's, of which nothing tells what it compiles from.
func (fakeCompiler) Inputs(*seen.Files) (*profile.Inputs, error) {
	return nil, errors.New("there are none")
}

// AsLoaded is the fake compiler's, for which there is no configuration.
func (c fakeCompiler) AsLoaded(ctx context.Context, text []byte) (profile.Blob, error) {
	return c.CompileText(ctx, "", text)
}

// Preprocess is the fake compiler's, which includes nothing.
func (fakeCompiler) Preprocess(_ context.Context, text []byte) ([]byte, error) { return text, nil }

// CompileSeveral is the fake compiler's, whose profiles have no meaning.
func (fakeCompiler) CompileSeveral(context.Context, string, []byte) ([]byte, error) {
	return nil, errors.New("the fake compiler compiles nothing to judge")
}

// Expand is the fake compiler's, which includes nothing.
func (fakeCompiler) Expand([]byte) (profile.Expanded, bool) { return profile.Expanded{}, false }

// The fake compiler's kernel has every feature.
func (fakeCompiler) Supports(string) bool           { return true }
func (fakeCompiler) ABIs(string) []string           { return nil }
func (fakeCompiler) Included([]byte) []profile.Text { return nil }
func (fakeCompiler) Theirs(string) bool             { return false }
func (fakeCompiler) Shipped(string) string          { return "" }

// newProfiles returns a machine whose kernel takes profiles.
func newProfiles(t *testing.T) (*machine, kerneltest.Machine) {
	m := newMachine(t)
	k := kerneltest.New(t)
	m.Kernel = k.Kernel()
	m.Kernel.Proc = filepath.Join(k.Dir, "proc")
	if err := os.MkdirAll(m.Kernel.Proc, 0o755); err != nil {
		t.Fatal(err)
	}
	m.Detect = func() kernel.Readiness { return kernel.Ready }
	k.Write(t, "fs/features/caps", "chown\n")
	m.write("web", sound("web", ""))
	m.write("work", sound("work", "  profile kid flags=(attach_disconnected) {\n    signal, ptrace, file,\n  }\n"))
	m.write("loose", looseText)
	m.write("bad", "profile bad {\n  BAD\n}\n")
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	m.Pause = time.Millisecond
	m.State = &status.Node{
		Host: &hook.Host{Kernel: m.Kernel, Containers: wd + "/records", Store: store.Store{Dir: wd + "/store"}},
		Run:  wd + "/run",
		Lib:  wd,
	}
	return m, k
}

// sound is a text without fault.
func sound(name, rules string) string {
	return "abi <abi/3.0>,\nprofile " + name + " flags=(attach_disconnected) {\n  signal, ptrace, file,\n" + rules + "}\n"
}

// judging is the fake compiler, with the machine's parser for what is to be judged.
type judging struct {
	fakeCompiler
	real *profile.Compiler
}

func (c judging) CompileSeveral(ctx context.Context, source string, text []byte) ([]byte, error) {
	return c.real.CompileSeveral(ctx, source, text)
}

func (c judging) Expand(text []byte) (profile.Expanded, bool) { return c.real.Expand(text) }

func TestProfileCheck(t *testing.T) {
	dir := packageDir(t)
	real := profiletest.Compiler(t, profiletest.Features())
	m, k := newProfiles(t)
	m.write("base/abi/3.0", string(profiletest.Features()))
	real.Base, _ = filepath.Abs("base")
	m.CompilerOf = func([]byte) (node.Compiler, error) { return judging{fakeCompiler{m}, real}, nil }
	m.run("profile", "check", "web", "work")
	m.run("profile", "check", "loose", "bad", "missing", ".", "web")
	m.run("profile", "check", "--json", "loose", "bad")
	m.run("profile", "check", "--strict", "web")
	m.run("profile", "check", "--strict", "loose")
	m.run("profile", "check")
	m.note("without a parser, what the text shows by itself")
	m.CompilerOf = func([]byte) (node.Compiler, error) { return nil, profile.ErrNoParser }
	m.run("profile", "check", "web", "loose", "missing")
	m.run("profile", "check", "--json", "loose")
	m.golden(dir)
	if k.Writes(t) != 0 {
		t.Error("a check has loaded something")
	}
}

func TestProfileLoad(t *testing.T) {
	dir := packageDir(t)
	m, k := newProfiles(t)
	m.run("profile", "load", "--dry-run", "web", "work")
	if k.Writes(t) != 0 {
		t.Error("a dry run has loaded something")
	}
	m.run("profile", "load", "web", "work")
	m.run("profile", "load", "web")
	m.note("the text of web changes")
	m.write("web", sound("web", "  audit deny /etc/** w,\n"))
	m.run("profile", "load", "web")
	m.run("profile", "load", "loose", "--quiet")

	m.note("somebody else has loaded other")
	k.Load(t, kerneltest.Blob("x", "other"))
	m.write("other", sound("other", ""))
	m.run("profile", "load", "other", "web")
	m.run("profile", "load", "other", "--replace")
	m.write("other", sound("other", "  network,\n"))
	m.run("profile", "load", "other")

	m.note("to replace a profile does not end a child that it had")
	m.write("work", sound("work", ""))
	m.run("profile", "load", "work", "web")
	m.run("profile", "list")
	m.run("profile", "load", "work", "--quiet")
	m.run("profile", "unload", "work//kid")
	m.run("profile", "load", "work")

	m.golden(dir)

	// A text that cannot be kept: the profile is loaded, and nothing says otherwise.
	m.write("third", sound("third", ""))
	if err := os.Mkdir("store/texts/third.json", 0o700); err != nil {
		t.Fatal(err)
	}
	code, _ := m.run("profile", "load", "web", "third", "work")
	if said := m.errOut.String(); code != exit.Cannot || strings.Contains(said, "nothing was loaded") ||
		!strings.Contains(said, "profile third is loaded, and its text cannot be kept") || !strings.Contains(said, "loaded: web, third\n") {
		t.Errorf("exit code %d, %s", code, said)
	}
}

// crowd is a compiler whose compilations end only when several are under way.
type crowd struct {
	node.Compiler
	together *sync.WaitGroup
}

func (c crowd) CompileText(ctx context.Context, source string, text []byte) (profile.Blob, error) {
	c.together.Done()
	all := make(chan struct{})
	go func() {
		c.together.Wait()
		close(all)
	}()
	select {
	case <-all:
		return c.Compiler.CompileText(ctx, source, text)
	case <-time.After(10 * time.Second):
		return profile.Blob{}, errors.New("it is compiled alone")
	}
}

// Several files are compiled at a time.
func TestProfilesAreCompiledInParallel(t *testing.T) {
	m, _ := newProfiles(t)
	runtime.GOMAXPROCS(2) // until the test ends
	var together sync.WaitGroup
	together.Add(2)
	before := m.CompilerOf
	m.CompilerOf = func(features []byte) (node.Compiler, error) {
		c, err := before(features)
		return crowd{c, &together}, err
	}
	if code, out := m.run("profile", "load", "--dry-run", "web", "work"); code != 0 {
		t.Errorf("exit code %d, %s%s", code, out, &m.errOut)
	}
}

// What cannot all be loaded is not loaded in part.
func TestProfileLoadRefuses(t *testing.T) {
	dir := packageDir(t)
	m, k := newProfiles(t)
	m.write("two", "profile web {\n}\nprofile unconfined {\n}\n")
	m.write("blank", "profile a\u00a0b {\n}\n")
	m.write("web2", sound("web", "  network,\n"))
	m.write("big", "#")
	m.write("open", sound("open", ""))
	m.write("etc/policy.yaml", "version: 1\nprofiles:\n  web: {file: profiles/web}\nassign:\n  - policy: keep\n")
	m.write("etc/profiles/web", sound("web", "  audit deny /tmp/** w,\n"))
	for _, err := range []error{
		os.Truncate("big", 50<<20),
		os.Chmod("open", 0o666), os.Symlink("work", "link"), os.Symlink("nowhere", "dangling"), os.Symlink("open", "link-to-open"),
		unix.Mkfifo("fifo", 0o600), os.Mkdir("directory", 0o755),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"web", "bad"}, {"two"}, {"blank"}, {"web", "web2"}, {"big"}, {"open"}, {"link-to-open"}, {"dangling"}, {"fifo"},
		{"directory"}, {"missing"}, {"web", "--name", "web,work"}, {"web", "work", "--name", "web"},
	} {
		m.run(append([]string{"profile", "load"}, args...)...)
	}
	m.note("web is one of the policy in force")
	m.run("policy", "apply", "--quiet")
	m.run("profile", "load", "web", "work")
	m.note("not root")
	m.Detect = func() kernel.Readiness { return kernel.NoRight }
	m.run("profile", "load", "web")
	if k.Writes(t) != 0 {
		t.Error("something was loaded")
	}
	m.Detect = func() kernel.Readiness { return kernel.Ready }
	m.note("a link is followed, and said")
	m.run("profile", "load", "link")
	m.golden(dir)
}

// task makes up a process.
func (m *machine) task(pid int, command, label, pending string) {
	m.t.Helper()
	proc := m.Kernel.Proc + "/" + strconv.Itoa(pid)
	for _, dir := range []string{proc, proc + "/task/" + strconv.Itoa(pid)} {
		m.write(dir+"/attr/apparmor/current", label+"\n")
		m.write(dir+"/attr/apparmor/exec", pending)
		m.write(dir+"/comm", command+"\n")
	}
}

// container makes up a container of the runtime runc, of which pid is the first process, and what we remember of it:
// nothing where the label is empty, and that its engine's choice was kept where it is "-".
func (m *machine) container(id string, pid int, label string, created bool) {
	m.t.Helper()
	m.write("run/runc/"+id+"/state.json", fmt.Sprintf(`{"init_process_pid": %d}`, pid))
	if created {
		m.write("run/runc/"+id+"/exec.fifo", "")
	}
	if label != "" {
		m.remember(id, strings.TrimPrefix(label, "-"), 0)
	}
}

// creating makes a container one that this process is creating: its runtime has made no more than its directory.
func (m *machine) creating(id string) {
	m.t.Helper()
	if err := errors.Join(os.RemoveAll("run/runc/"+id), os.MkdirAll("run/runc/"+id, 0o755)); err != nil {
		m.t.Fatal(err)
	}
	m.remember(id, "", os.Getpid())
}

// remember makes up what we remember of a container; pid creates it.
func (m *machine) remember(id, label string, pid int) {
	m.t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("records/"+id+".json", fmt.Sprintf(`{"id":%q,"root":%q,"bundle":%q,"engine":"docker","created":"2026-01-02T03:04:05Z",`+
		`"pid":%d,"policy":"p","label":%q,"profiles":{"web":{"dir":"web.1","compiled":{}}}}`, id, wd+"/run/runc",
		wd+"/bundles/"+id, pid, label))
}

func newUnloads(t *testing.T) (*machine, kerneltest.Machine) {
	m, k := newProfiles(t)
	m.run("profile", "load", "--quiet", "web", "work")
	k.Load(t, kerneltest.Blob("x", "other"))
	return m, k
}

func TestProfileUnload(t *testing.T) {
	dir := packageDir(t)
	m, k := newUnloads(t)
	revision := func() string { b, _ := os.ReadFile(k.Dir + "/fs/policy/revision"); return string(b) }
	before := revision()
	m.note("a process, one that is in a stack, one that has asked for it, and one of another profile")
	m.task(10, "sleep", "web (enforce)", "")
	m.task(11, "sh\x1b[31m", "crun//&web (mixed)", "")
	m.task(12, "runc", "unconfined", "web (enforce)\n")
	m.task(13, "sleep", "website (enforce)", "")
	m.run("profile", "unload", "web")
	m.note("of two profiles, one is idle")
	m.run("profile", "unload", "work", "web")
	for _, pid := range []string{"10", "11", "12"} {
		os.RemoveAll(m.Kernel.Proc + "/" + pid)
	}
	m.note("a container of ours that runs, and one that waits to be started")
	m.task(20, "nginx", "web (enforce)", "")
	m.container("front", 20, "web", false)
	m.task(21, "runc:[2:INIT]", "unconfined", "")
	m.container("next", 21, "base//&web", true)
	m.run("profile", "unload", "web")
	os.RemoveAll(m.Kernel.Proc + "/20")
	m.run("profile", "unload", "web")
	os.RemoveAll(m.Kernel.Proc + "/21")
	m.note("one that waits, of a runtime that is not wired, on a kernel that does not tell what is pending")
	m.task(22, "runc:[2:INIT]", "unconfined", "")
	m.container("theirs", 22, "", true)
	m.run("profile", "unload", "web")
	os.RemoveAll(m.Kernel.Proc + "/22")
	m.note("containers of ours that keep what their engine chose: web, something else, and what is not known any more")
	for i, chosen := range []string{"web", "other", ""} {
		id := "kept-" + strconv.Itoa(i)
		m.task(30+i, "runc:[2:INIT]", "unconfined", "")
		m.container(id, 30+i, "-", true)
		if chosen != "" {
			m.write("bundles/"+id+"/config.json", fmt.Sprintf(`{"process": {"apparmorProfile": %q}}`, chosen))
		}
	}
	m.run("profile", "unload", "web")
	m.note("the same while they are being created")
	for i := range 3 {
		m.creating("kept-" + strconv.Itoa(i))
		os.RemoveAll(m.Kernel.Proc + "/" + strconv.Itoa(30+i))
	}
	m.run("profile", "unload", "web")
	for i := range 3 {
		os.Remove("records/kept-" + strconv.Itoa(i) + ".json")
	}

	m.note("what is remembered cannot be read")
	m.write("records/x.json", "{")
	m.run("profile", "unload", "web")
	os.Remove("records/x.json")
	m.note("not ours, and not there")
	m.run("profile", "unload", "other", "nothing", "a b", "unconfined", "web")
	if after := revision(); after != before {
		t.Errorf("the kernel's revision went from %s to %s", before, after)
	}
	m.note("idle")
	m.run("profile", "unload", "web", "work")
	m.run("profile", "unload", "other", "--foreign")
	m.run("profile", "unload", "web")
	m.run("profile", "list")
	m.golden(dir)
}

// stops ends the process that is waited for, once that is said.
type stops struct {
	io.Writer
	proc string
}

func (s stops) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte("waiting until")) {
		os.RemoveAll(s.proc)
	}
	return s.Writer.Write(p)
}

func TestProfileUnloadWhenIdle(t *testing.T) {
	dir := packageDir(t)
	m, _ := newUnloads(t)
	m.task(10, "sleep", "web (enforce)", "")
	m.stderr = stops{m.stderr, m.Kernel.Proc + "/10"}
	if code, _ := m.run("profile", "unload", "--when-idle", "web"); code != 0 {
		t.Errorf("exit code %d", code)
	}
	m.golden(dir)
}

// Where processes end before they are read, nothing is removed, and --when-idle waits until it can be told.
func TestProfileUnloadOfWhatCannotBeTold(t *testing.T) {
	m, _ := newUnloads(t)
	gone := m.Kernel.Proc + "/10"
	if err := os.MkdirAll(gone, 0o755); err != nil {
		t.Fatal(err)
	}
	if code, _ := m.run("profile", "unload", "web"); code != exit.Cannot || !strings.Contains(m.errOut.String(), "try again") {
		t.Errorf("exit code %d, %s", code, m.errOut.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var said bytes.Buffer
	m.stderr = &said
	if code := run(ctx, m.session, []string{"profile", "unload", "--when-idle", "web"}); code != exit.Cannot ||
		!strings.Contains(said.String(), "not removed: web") {
		t.Errorf("exit code %d, %s", code, &said)
	}
	if _, err := m.Kernel.Details("web"); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(gone); err != nil {
		t.Fatal(err)
	}
	if code, _ := m.run("profile", "unload", "--when-idle", "web"); code != 0 {
		t.Errorf("exit code %d, %s", code, &said)
	}
}

// Of several profiles none is removed before all are idle.
func TestProfileUnloadWaitsForAll(t *testing.T) {
	m, _ := newUnloads(t)
	m.task(10, "sleep", "web (enforce)", "")
	ctx, cancel := context.WithCancel(t.Context())
	var said bytes.Buffer
	m.stderr = writes(func(p []byte) {
		if said.Write(p); bytes.Contains(p, []byte("waiting until")) {
			cancel()
		}
	})
	if code := run(ctx, m.session, []string{"profile", "unload", "--when-idle", "work", "web"}); code != exit.Cannot {
		t.Errorf("exit code %d, %s", code, &said)
	}
	if _, err := m.Kernel.Details("work"); err != nil || !strings.Contains(said.String(), "not removed: work, web") {
		t.Errorf("%v: %s", err, &said)
	}
}

// Starts wait for a look that may end in a removal, and not for one that finds a profile in use.
func TestProfileUnloadLetsContainersStart(t *testing.T) {
	m, _ := newUnloads(t)
	m.task(10, "sleep", "web (enforce)", "")
	release, err := m.State.Host.Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	done := make(chan int)
	go func() {
		code, _ := m.run("profile", "unload", "web")
		done <- code
	}()
	select {
	case code := <-done:
		if code != exit.Cannot {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(10 * time.Second):
		t.Error("it waits for containers that start")
	}
}

// writes is a writer that is a function.
type writes func(p []byte)

func (w writes) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}

func TestProfileListAndShow(t *testing.T) {
	dir := packageDir(t)
	m, k := newUnloads(t)
	m.write("etc/policy.yaml", "version: 1\nprofiles:\n  shop: {file: profiles/shop}\nassign:\n  - policy: keep\n")
	m.write("etc/profiles/shop", sound("shop", ""))
	m.run("policy", "apply", "--quiet")
	m.task(10, "sleep", "work//kid (enforce)", "")
	m.task(11, "evil\x1b[31m", "crun//&web (mixed)", "")
	m.run("profile", "list")
	m.run("profile", "list", "--json")
	m.run("profile", "show", "web")
	m.run("profile", "show", "web", "--text")
	m.run("profile", "show", "web", "--json")
	m.run("profile", "show", "work//kid")
	m.run("profile", "show", "other")
	m.run("profile", "show", "other", "--text")
	m.run("profile", "show", "shop")
	m.run("profile", "show", "nothing")
	m.note("somebody else has replaced web")
	k.Load(t, kerneltest.Blob("x", "web"))
	m.run("profile", "show", "web")
	m.run("profile", "list")
	m.note("the file of the policy has changed")
	m.write("etc/profiles/shop", sound("shop", "  network,\n"))
	m.run("profile", "show", "shop")
	m.run("profile", "show", "docker-default", "--variant", "2016")
	m.run("profile", "show", "docker-default", "--variant", "2015")
	m.golden(dir)
}

// What is generated depends on the node.
func TestProfileShowTemplate(t *testing.T) {
	m, _ := newProfiles(t)
	text, err := templates.Text("docker-default", "docker-default", templates.Target{})
	if err != nil {
		t.Fatal(err)
	}
	if code, got := m.run("profile", "show", "docker-default", "--text"); code != 0 || got != string(text) {
		t.Errorf("exit code %d, %s", code, got)
	}
	code, got := m.run("profile", "show", "docker-default")
	if code != 0 || !strings.HasSuffix(got, "\n\n"+string(text)) || !strings.Contains(got, "# kernel   not loaded\n") {
		t.Errorf("exit code %d, %s", code, got)
	}
}

// asWritten compiles the texts of a policy as any other, as the parser does.
type asWritten struct{ node.Compiler }

func (c asWritten) Compile(ctx context.Context, _ string, _ profile.Mode, source string, text []byte) (profile.Blob, error) {
	return c.CompileText(ctx, source, text)
}

func TestProfileDiff(t *testing.T) {
	dir := packageDir(t)
	m, k := newUnloads(t)
	m.write("web2", strings.Replace(sound("web", "  network,\n"), " file,", " file, umount,", 1))
	m.run("profile", "diff", "web", "web2")
	m.run("profile", "diff", "web", "web")
	m.run("profile", "diff", "kernel:web", "web")
	m.run("profile", "diff", "web2", "kernel:web")
	m.run("profile", "diff", "kernel:web", "kernel:work")
	m.run("profile", "diff", "web", "kernel:other")
	m.note("somebody else has replaced web")
	k.Load(t, kerneltest.Blob("x", "web"))
	m.run("profile", "diff", "kernel:web", "web")
	m.run("profile", "diff", "bad", "web")
	m.run("profile", "diff", "missing", "web")
	m.run("profile", "diff", "kernel:missing", "web")
	m.run("profile", "diff", "policy:web", "web")
	m.run("profile", "diff", "node:web", "web")
	m.run("profile", "diff", "1999:docker-default", "web")
	m.note("a profile of the policy in force")
	before := m.CompilerOf
	m.CompilerOf = func(features []byte) (node.Compiler, error) {
		c, err := before(features)
		return asWritten{c}, err
	}
	m.write("etc/policy.yaml", "version: 1\nprofiles:\n  shop: {file: profiles/shop}\nassign:\n  - policy: keep\n")
	m.write("etc/profiles/shop", sound("shop", ""))
	m.run("policy", "apply", "--quiet")
	m.run("profile", "diff", "policy:shop", "etc/profiles/shop")
	m.run("profile", "load", "--quiet", "etc/profiles/shop")
	m.run("profile", "diff", "policy:shop", "kernel:shop")
	m.write("etc/profiles/shop", sound("shop", "  network,\n"))
	m.run("profile", "diff", "policy:shop", "etc/profiles/shop")
	m.golden(dir)
}
