package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// The policies of the tests. Profile web denies writes to /etc, work to /mnt; base, a floor, denies /etc too.
const (
	webPolicy = `version: 1
profiles:
  web:  {file: profiles/web}
  work: {file: profiles/work}
policies:
  web:       {profile: web}
  work:      {profile: work}
  hands-off: {profile: keep}
assign:
  - container: ["kept-*"]
    policy: hands-off
  - policy: work
    request: [web]
`
	keepPolicy = `version: 1
policies:
  hands-off: {profile: keep}
assign:
  - policy: hands-off
`
	floorPolicy = `version: 1
profiles:
  web:   {file: profiles/web}
  work:  {file: profiles/work}
  batch: {template: docker-default}
  base:  {file: profiles/base}
policies:
  web:   {profile: web}
  work:  {profile: work, floor: base}
  batch: {profile: batch, floor: base}
assign:
  - container: ["floored-*"]
    policy: web
    request: [work]
    floor: batch
    onRefused: assigned
  - policy: web
    request: [work, batch]
`
	modesPolicy = `version: 1
profiles:
  watched: {file: profiles/watched}
  killing: {file: profiles/killing}
policies:
  watch:  {profile: watched, mode: complain}
  strict: {profile: killing, mode: kill}
assign:
  - policy: strict
    request: [watch]
`
)

// confining returns the text of a profile for containers, with the rules for peers that every stack needs.
func confining(name, rules string) string {
	peers := ""
	for _, p := range []string{name, name + "//&**", "**//&" + name, "**//&" + name + "//&**"} {
		peers += fmt.Sprintf("  signal (send,receive) peer=%q,\n  ptrace (trace,tracedby,read,readby) peer=%q,\n", p, p)
	}
	for _, p := range []string{"unconfined", "runc", "crun"} {
		peers += "  signal (receive) peer=" + p + ",\n"
	}
	return "abi <abi/3.0>,\n#include <tunables/global>\nprofile " + name +
		" flags=(attach_disconnected,mediate_deleted) {\n  #include <abstractions/base>\n  network,\n  capability,\n  umount,\n" +
		peers + rules + "}\n"
}

var texts = map[string]string{
	"web":     confining("web", "  file,\n  audit deny /etc/** w,\n"),
	"work":    confining("work", "  file,\n  audit deny /mnt/** w,\n"),
	"base":    confining("base", "  file,\n  audit deny /etc/** w,\n"),
	"pause":   confining("pause", "  file,\n  audit deny signal (receive) set=(usr2),\n"),
	"watched": confining("watched", "  / r,\n  /** rix,\n  /tmp/** rw,\n  /dev/** rw,\n"),
	"killing": confining("killing", "  / r,\n  /** rix,\n  /{etc,tmp,dev}/** rw,\n"),
}

// loose gives a text that confines nothing, under a name that should.
func loose(name string) string {
	return "abi <abi/3.0>,\nprofile " + name + " flags=(attach_disconnected,mediate_deleted) { file, signal, ptrace, }\n"
}

const securityfs = "/sys/kernel/security/apparmor"

// setPolicy puts a policy in force on this guest, with nothing of an earlier test left in the kernel or on disk.
func setPolicy(t *testing.T, policy string) {
	t.Helper()
	guesttest.Require(t)
	guesttest.RemoveProfilesAtEnd(t)
	apply(t, policy)
}

func apply(t *testing.T, policy string, options ...string) {
	t.Helper()
	for _, dir := range []string{"/etc/oci-apparmor", "/var/lib/oci-apparmor", "/run/oci-apparmor"} {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("/etc/apparmor.d/*.oci-apparmor")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			t.Fatal(err)
		}
	}
	writePolicy(t, policy, texts)
	if kept := applied[policy]; kept != "" && options == nil {
		guesttest.MustRun(t, "tar", "-C", "/", "-xf", kept)
		return
	}
	guesttest.MustRun(t, "oci-apparmor", append([]string{"policy", "apply"}, options...)...)
	if options == nil {
		kept := fmt.Sprintf("/var/lib/applied-%d.tar", len(applied))
		guesttest.MustRun(t, "sh", "-c", "cd / && tar -cf "+kept+" var/lib/oci-apparmor $(ls -d etc/apparmor.d/*.oci-apparmor)")
		applied[policy] = kept
	}
}

// applied has for a policy the archive in which what apply made of it is kept. Half of the tests have the same policy, and
// the compiler takes seconds here.
var applied = map[string]string{}

func writePolicy(t *testing.T, policy string, texts map[string]string) {
	t.Helper()
	if err := os.MkdirAll("/etc/oci-apparmor/profiles", 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, "/etc/oci-apparmor/policy.yaml", policy)
	for name, text := range texts {
		write(t, "/etc/oci-apparmor/profiles/"+name, text)
	}
}

// arms are the two ways to call a runtime: as it is, and behind the wrapper, which tells by its own name which runtime
// it stands for.
type arms struct{ bare, wrapped string }

// eachRuntime runs f as a subtest for runc and for crun, and under make test for those that guesttest.EnoughRuntimes leaves.
func eachRuntime(t *testing.T, f func(t *testing.T, rt arms)) {
	t.Helper()
	for _, name := range guesttest.Runtimes {
		t.Run(name, func(t *testing.T) {
			guesttest.EnoughRuntimes(t, name)
			f(t, armsOf(t, name))
		})
	}
}

func armsOf(t *testing.T, name string) arms {
	t.Helper()
	const wrappers = "/run/wrappers"
	wrapped := filepath.Join(wrappers, name)
	if err := os.MkdirAll(wrappers, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(program(t, "oci-apparmor-runtime"), wrapped); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
	return arms{bare: program(t, name), wrapped: wrapped}
}

func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// asks makes a container ask for a policy.
func asks(policy string) func(*specs.Spec) {
	return func(s *specs.Spec) { annotate(s, "oci-apparmor/policy", policy) }
}

func annotate(s *specs.Spec, key, value string) {
	if s.Annotations == nil {
		s.Annotations = map[string]string{}
	}
	s.Annotations[key] = value
}

// names makes a spec name a profile, as an engine does.
func names(profile string) func(*specs.Spec) {
	return func(s *specs.Spec) { s.Process.ApparmorProfile = profile }
}

// wantLabel checks that the kernel has the container's process under every one of profiles, in enforce mode. A stack
// that the runtime or the kernel adds to is as good.
func wantLabel(t *testing.T, c *guesttest.Container, profiles ...string) {
	t.Helper()
	text := c.Label(t)
	label, err := kernel.ParseLabel(text)
	if err != nil || !label.Covers(profiles...) {
		t.Errorf("the process of container %s has label %q, want %q (%v)", c.ID, text, profiles, err)
	}
	// The profile of a runtime, which confines nothing, makes the mode of a stack mixed; the kernel's own unconfined
	// does not.
	if want := "enforce"; label.Mode != want && !(label.Mode == "mixed" && hasRuntime(label)) {
		t.Errorf("the process of container %s has label %q, want mode %s", c.ID, text, want)
	}
}

// hasRuntime tells of a label that a runtime's own profile is part of it.
func hasRuntime(l kernel.Label) bool {
	return slices.ContainsFunc(guesttest.Runtimes, func(name string) bool { return slices.Contains(l.Components, name) })
}

// tries are operations of probe and how they must go: "ok" or "errno EACCES".
type tries map[string]string

const denied = "errno EACCES"

// webTries are those that show profile web, workTries those that show work: a denied write and an allowed one.
var (
	webTries  = tries{"write /etc/x": denied, "write /mnt/x": "ok", "write /tmp/x": "ok"}
	workTries = tries{"write /etc/x": "ok", "write /mnt/x": denied, "write /tmp/x": "ok"}
	bothTries = tries{"write /etc/x": denied, "write /mnt/x": denied, "write /tmp/x": "ok"}
	freeTries = tries{"write /etc/x": "ok", "write /mnt/x": "ok", "write /tmp/x": "ok"}
)

// wantConfined checks the label of the container's own process and what the kernel lets it do.
func wantConfined(t *testing.T, c *guesttest.Container, what tries, profiles ...string) {
	t.Helper()
	wantLabel(t, c, profiles...)
	for op, want := range what {
		if got := c.Ask(t, op); got != want {
			t.Errorf("container %s, %s: %s, want %s", c.ID, op, got, want)
		}
	}
}

// wantExecConfined checks label and operations of a process that is started in the container, by the arguments of the
// runtime's exec that stand before the program.
func wantExecConfined(t *testing.T, c *guesttest.Container, what tries, label string, how func(args ...string) []string) {
	t.Helper()
	ops := tries{"label": label}
	for op, want := range what {
		ops[op] = want
	}
	for op, want := range ops {
		args := append([]string{"exec"}, how(append([]string{"/bin/probe"}, strings.Fields(op)...)...)...)
		if args[1] == "--process" {
			before := read(t, args[2])
			defer func() {
				if after := read(t, args[2]); after != before {
					t.Errorf("the caller's process file was changed from %s to %s", before, after)
				}
			}()
		}
		if o := guesttest.Run(t, c.Runtime, args...); o.Code != 0 || strings.TrimSpace(o.Stdout) != want {
			t.Errorf("container %s, %s exec %q: %q, want %q (exit code %d, %s)", c.ID, c.Runtime, args[1:], o.Stdout, want,
				o.Code, o.Stderr)
		}
	}
}

// byCommandLine is exec without a process file.
func byCommandLine(c *guesttest.Container, options ...string) func(args ...string) []string {
	return func(args ...string) []string {
		return append(append(options[:len(options):len(options)], c.ID), args...)
	}
}

// byFile is exec with a process file as engines write it. profile nil leaves the field out.
func byFile(t *testing.T, c *guesttest.Container, profile *string) func(args ...string) []string {
	t.Helper()
	dir := t.TempDir()
	return func(args ...string) []string {
		path := filepath.Join(dir, strings.ReplaceAll(strings.Join(args, "-"), "/", "_"))
		p := map[string]any{
			"args": args, "cwd": "/", "env": []string{"PATH=/bin", "GODEBUG=asyncpreemptoff=1"},
			"user": map[string]int{"uid": 0, "gid": 0},
		}
		if profile != nil {
			p["apparmorProfile"] = *profile
		}
		data, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, string(data))
		return []string{"--process", path, c.ID}
	}
}

// wantSignalsAndTraces checks that processes in the container can signal themselves, their children and their parents,
// and trace their children: those that are started in it, and its own. These two must reach each other as well.
func wantSignalsAndTraces(t *testing.T, c *guesttest.Container) {
	t.Helper()
	for op, want := range map[string]string{"kill-self-child": "self ok\nchild ok\nparent ok", "ptrace-child": "ok"} {
		if got := c.Ask(t, op); got != want {
			t.Errorf("container %s, %s: %q, want %q", c.ID, op, got, want)
		}
		if got := c.ExecProbe(t, op); got != want {
			t.Errorf("container %s, exec %s: %q, want %q", c.ID, op, got, want)
		}
	}
	if got := c.ExecProbe(t, "signal", "1"); got != "ok" {
		t.Errorf("container %s, a signal from an exec'd process to the first: %q", c.ID, got)
	}
	file := filepath.Join(t.TempDir(), "pid")
	cmd := exec.Command(c.Runtime, "exec", "--detach", "--pid-file", file, c.ID, "/bin/probe", "sleep")
	if o := guesttest.RunCommand(t, cmd); o.Code != 0 {
		t.Fatal(o.Stderr)
	}
	proc := "/proc/" + strings.TrimSpace(read(t, file))
	waitFor(t, "the exec'd process to run its program", func() bool { return read(t, proc+"/comm") == "probe\n" })
	_, pids, _ := strings.Cut(read(t, proc+"/status"), "\nNSpid:")
	pids, _, _ = strings.Cut(pids, "\n")
	all := strings.Fields(pids) // as seen from here, and then from the container
	if got := c.Ask(t, "signal "+all[len(all)-1]); got != "ok" {
		t.Errorf("container %s, a signal from the first process to an exec'd one: %q", c.ID, got)
	}
}

// wantRefused starts a container that must not start, and checks that the error is one harmless line which names the
// container and says every one of reasons.
func wantRefused(t *testing.T, b *guesttest.Bundle, runtime string, reasons ...string) {
	t.Helper()
	log := guesttest.KernelLog(t)
	c, o := b.TryStart(t, runtime)
	if c != nil {
		t.Errorf("container %s started, and should have been refused", b.ID)
		return
	}
	// Newer cruns drop what a hook says on standard error.
	said := o.Stderr + strings.Join(log.Grep(t, "oci-apparmor: level=refusal "), "\n")
	for _, r := range append(reasons, b.ID) {
		if !strings.Contains(said, r) {
			t.Errorf("the error does not say %q: %s", r, said)
		}
	}
	if o := guesttest.Run(t, runtime, "state", b.ID); o.Code == 0 {
		t.Errorf("the refused container is there: %s", o.Stdout)
	}
}

// loadOurs loads a profile of the policy by hand, with the very content that is in the store.
func loadOurs(t *testing.T, name string) {
	t.Helper()
	blobs, err := filepath.Glob("/var/lib/oci-apparmor/blobs/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blobs {
		if data := read(t, b); strings.Contains(data, "\x00"+name+"\x00") {
			write(t, securityfs+"/.replace", data)
			return
		}
	}
	t.Fatalf("no blob of profile %s in the store", name)
}

// unload removes a profile by hand if it is loaded.
func unload(t *testing.T, name string) {
	t.Helper()
	if _, ok := guesttest.Profiles(t)[name]; ok {
		guesttest.RemoveProfile(t, name)
	}
}

// revision returns the kernel's count of loads, replacements and removals.
func revision(t *testing.T) int64 {
	t.Helper()
	r, err := kernel.New().Revision()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// trapParser puts a script in the place of apparmor_parser that notes its calls in a file.
func trapParser(t *testing.T) (calls string) {
	t.Helper()
	parser, err := filepath.EvalSymlinks(program(t, "apparmor_parser"))
	if err != nil {
		t.Fatal(err)
	}
	calls = filepath.Join(t.TempDir(), "calls")
	if err := os.Rename(parser, parser+".real"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Rename(parser+".real", parser); err != nil {
			t.Error(err)
		}
	})
	write(t, parser, "#!/bin/sh\necho \"$0 $*\" >>"+calls+"\nexec "+parser+".real \"$@\"\n")
	if err := os.Chmod(parser, 0o755); err != nil {
		t.Fatal(err)
	}
	guesttest.MustRun(t, parser, "--version")
	if !strings.Contains(read(t, calls), "--version") {
		t.Fatal("the trap does not work")
	}
	os.Remove(calls)
	return calls
}

// tryLoad loads a profile by hand and gives what the parser says where that fails.
func tryLoad(t *testing.T, text string) error {
	t.Helper()
	cmd := exec.Command("apparmor_parser", "--replace", "--skip-cache")
	cmd.Stdin = strings.NewReader(text)
	if o := guesttest.RunCommand(t, cmd); o.Code != 0 {
		return fmt.Errorf("exit code %d: %s", o.Code, o.Stderr)
	}
	return nil
}

// poison brings a kernel that has this defect into the state in which every load of something new fails: a profile name
// that is too long for a directory leaves an entry behind which the next load meets. The same bytes do that only once: salt
// makes others.
func poison(t *testing.T, salt string) {
	t.Helper()
	cmd := exec.Command("apparmor_parser", "--skip-kernel-load", "--skip-cache", "--stdout")
	cmd.Stdin = strings.NewReader("profile " + strings.Repeat("p", 300) + salt + " { file, }")
	blob, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(securityfs+"/.replace", blob, 0); !errors.Is(err, syscall.ENAMETOOLONG) {
		t.Fatalf("loading a profile with a name of 300 bytes gave %v, want ENAMETOOLONG", err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
