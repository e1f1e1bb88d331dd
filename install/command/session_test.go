package command

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

var update = flag.Bool("update", false, "write the golden files in testdata anew")

// machine is a made-up node in a directory of its own, which is also the working directory.
type machine struct {
	*session
	t           *testing.T
	transcript  bytes.Buffer
	out, errOut bytes.Buffer
	parser      string // version
	revision    int    // of the made-up kernel's policy
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	t.Chdir(t.TempDir())
	old := runtime.GOMAXPROCS(1) // profiles compile one by one, in their order
	t.Cleanup(func() { runtime.GOMAXPROCS(old) })
	m := &machine{t: t, parser: "4.1.0"}
	k := &kernel.Kernel{FS: "securityfs", Module: "parameters", State: "run", BootID: "boot_id", Proc: "proc"}
	m.session = &session{
		Node: &node.Node{
			Config:     "etc",
			Store:      "store",
			Service:    "apparmor.d",
			Kernel:     k,
			Programs:   "programs",
			Uname:      "6.12.1",
			Root:       true,
			CompilerOf: func([]byte) (node.Compiler, error) { return fakeCompiler{m}, nil },
			State: &status.Node{
				Host: &hook.Host{Store: store.Store{Dir: "store"}, Kernel: k, Containers: "run/containers"},
				Run:  "run", Lib: ".",
			},
		},
		stdout: &m.out,
		stderr: &m.errOut,
		label: func(pid int) (kernel.Label, error) {
			text, err := os.ReadFile(fmt.Sprint("proc/", pid))
			if err != nil {
				return kernel.Label{}, err
			}
			return kernel.ParseLabel(string(text))
		},
	}
	m.Warn = m.warn
	m.write("parameters/enabled", "Y\n")
	m.write("parameters/hash_policy", "Y\n")
	m.write("parameters/mode", "enforce\n")
	m.write("securityfs/features/caps/mask", "chown\n")
	m.write("boot_id", "2f1e6a0c-93c5-4c1d-8f33-0a4b6c1d2e3f\n")
	m.write("securityfs/policy/revision", "7\n")
	m.write("securityfs/policy/profiles/lsb_release.1/name", "lsb_release\n")
	return m
}

// fakeCompiler stands in for apparmor_parser. A text that holds the word BAD does not compile.
type fakeCompiler struct{ *machine }

func (c fakeCompiler) Version(context.Context) (string, error) { return c.parser, nil }

func (c fakeCompiler) Compile(_ context.Context, name string, mode profile.Mode, source string, text []byte) (
	profile.Blob, error) {
	if bytes.Contains(text, []byte("BAD")) {
		return profile.Blob{}, &profile.TextError{Source: source, Line: 2, Msg: "syntax error"}
	}
	content := fmt.Sprintf("%s %s %s", c.parser, name, mode)
	if !strings.Contains(source, "template ") { // those of a template depend on what is installed here
		content += string(text)
	}
	data := kerneltest.Blob(content, name)
	compiled := profile.Compiled{Name: name, Mode: mode, SHA256: sha256.Sum256(data)}
	return profile.Blob{Data: data, Profiles: []profile.Compiled{compiled}}, nil
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// load puts a profile with this content into the made-up kernel.
func (m *machine) load(name string, sha256 [32]byte) {
	dir := "securityfs/policy/profiles/" + name + ".7/"
	m.write(dir+"name", name+"\n")
	m.write(dir+"sha256", hex.EncodeToString(sha256[:])+"\n")
	if err := os.Chtimes(dir, time.Time{}, time.Now()); err != nil { // as the kernel dates it
		m.t.Fatal(err)
	}
	m.revision++
	m.write("securityfs/policy/revision", fmt.Sprintln(7+m.revision))
}

// run runs a command line and adds it, with all that it prints, to the transcript.
func (m *machine) run(args ...string) (code int, stdout string) {
	m.t.Helper()
	m.out.Reset()
	m.errOut.Reset()
	code = run(m.t.Context(), m.session, args)
	quoted := make([]string, len(args))
	for i, a := range args {
		if quoted[i] = a; strings.ContainsAny(a, " \n") {
			quoted[i] = fmt.Sprintf("%q", a)
		}
	}
	fmt.Fprintf(&m.transcript, "$ oci-apparmor %s\n%s", strings.Join(quoted, " "), m.out.String())
	for line := range strings.Lines(m.errOut.String()) {
		fmt.Fprintf(&m.transcript, "2> %s", line)
	}
	if code != 0 {
		fmt.Fprintf(&m.transcript, "exit code %d\n", code)
	}
	m.transcript.WriteString("\n")
	return code, m.out.String()
}

// note adds a line of what happens between commands.
func (m *machine) note(text string) { fmt.Fprintf(&m.transcript, "# %s\n\n", text) }

// What differs from one run of a test to the next.
var changing = []struct{ pattern, replacement string }{
	{`\d{4}-\d\d-\d\d \d\d:\d\d UTC`, "DATE"},
	{`"\d{4}-\d\d-\d\dT[^"]*Z"`, `"DATE"`},
	{`compiled in \S+`, "compiled in TIME"},
	{`\d+\.\d\ds\)`, "TIME)"},
	{`\t\d+\.\d{3}s`, "\tTIME"},
	{`oci-apparmor (unknown|v\S+)\n`, "oci-apparmor VERSION\n"},
	{`"text": ".*"`, `"text": "HASH"`},                // that of a template depends on what is installed here
	{`"version": "[^"]{2,}"`, `"version": "VERSION"`}, // a format's has one digit
}

// golden compares the transcript with the one in testdata.
func (m *machine) golden(dir string) {
	m.t.Helper()
	got := m.transcript.String()
	if wd, err := os.Getwd(); err == nil {
		got = strings.ReplaceAll(got, wd, "/DIRECTORY")
	}
	for _, c := range changing {
		got = regexp.MustCompile(c.pattern).ReplaceAllString(got, c.replacement)
	}
	path := filepath.Join(dir, "testdata", strings.TrimPrefix(m.t.Name(), "Test")+".golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			m.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	if got != string(want) {
		m.t.Errorf("the output is not that of %s; go test -update writes it anew. Output:\n%s", path, got)
	}
}

// packageDir is where testdata is, asked before a machine changes the directory.
func packageDir(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
