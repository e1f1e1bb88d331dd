package integration

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/bundle"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
)

// From nothing to a profile in force: for each workload a first profile is made of its spec, what it does is recorded, what the
// recording made is tightened, compared with what nothing may do, tried in complain mode, and enforced. Then the workload does
// all its work without a denial, and whoever has taken over its program can do nothing else.

// A workload is a program in a container, and how to see that it works.
type workload struct {
	name string

	// image returns the root file system of the container, which the test copies and does not change. It skips the test where
	// the guest has not got what it is made of.
	image   func(t *testing.T) string
	program string            // the file that the kernel maps as the program, by its path in the image
	args    []string          // of the container's first process
	edit    func(*specs.Spec) // nil if an engine's usual spec is as the workload wants it
	volumes []string          // directories of the container that are the node's, and writable
	owner   int               // the user to whom the volumes belong
	before  string            // a shell's commands before each start; empty for none
	ready   string            // a shell's command that exits 0 as soon as the container works; see workFunctions
	work    string            // shell's commands between its start and its stop, which fail if something does not work
	stop    string            // the signal by which engines stop it
	never   []string          // accesses that its profile must not allow, beside those of every workload
	sockets bool              // it needs unix sockets, or an abstraction allows them: where the kernel does not ask who connects, it can connect
	leave   string            // why make test leaves it to make test-all; empty if it does not

	// wholly is set if the workload does without something for a while only: see profile tighten --no-denials.
	wholly bool
	// tightens reports whether the machine is fast enough for tightening; nil if each is.
	tightens func(t *testing.T) bool
}

// workFunctions is the script of a workload. Its arguments are the runtimes that start and stop the container in turn, without
// any the node's own; the work is done under the first. BUNDLE and ROOT are the directories of the bundle and of the container's root file system.
// Any command that fails fails the script.
const workFunctions = `#!/bin/sh
set -e
BUNDLE=%[1]s ROOT=%[1]s/rootfs ID=work-%[2]s pid=
ends() {
	code=$?
	[ $code = 0 ] || tail -n 5 $BUNDLE/output
	[ -z "$pid" ] || kill -KILL $pid 2>/dev/null || true
	$runtime delete --force $ID >/dev/null 2>&1 || true
	exit $code
}
trap ends EXIT
trap 'exit 1' TERM
within() { # a command of the node in the network of the container
	nsenter --target $pid --net "$@"
}
asks() { # the answer to a request by HTTP
	within busybox wget -T 2 -qO- "http://127.0.0.1$1" 2>/dev/null
}
inside() { # a command in the container, by the runtime, as an engine's exec is
	$runtime exec $ID "$@"
}
gone() {
	! kill -0 $pid 2>/dev/null || grep -q '^State:.*Z' /proc/$pid/status 2>/dev/null
}
soon() { # waits until a command works
	for _ in $(busybox seq 50); do
		if "$@"; then return 0; fi
		! gone || { echo "the container has ended"; return 1; }
		sleep 0.1
	done
	echo "in vain: $*"
	return 1
}
starts() { # with a pipe for its output, as engines do: of a file the profile would be asked
	$runtime delete --force $ID >/dev/null 2>&1 || true
	rm -f $BUNDLE/pid $BUNDLE/failed
	%[7]s
	{
		$runtime run --detach --pid-file $BUNDLE/pid.new --bundle $BUNDLE $ID || echo >$BUNDLE/failed
		mv $BUNDLE/pid.new $BUNDLE/pid || true
	} </dev/null 2>&1 | cat >$BUNDLE/output 2>/dev/null &
	until [ -e $BUNDLE/pid ] || [ -e $BUNDLE/failed ]; do sleep 0.02; done
	[ ! -e $BUNDLE/failed ]
	pid=$(cat $BUNDLE/pid)
}
stops() {
	$runtime kill $ID %[3]s
	for _ in $(busybox seq 100); do
		if gone; then pid=; $runtime delete --force $ID; return 0; fi
		sleep 0.1
	done
	echo "it does not stop"
	return 1
}
ready() {
	%[4]s
}
work() {
	%[5]s
}
[ $# -gt 0 ] || set -- %[6]s
for runtime; do
	starts
	soon ready
	if [ "$runtime" = "$1" ]; then
		work
	fi
	stops
done
`

// script returns the text of the workload's script for a bundle.
func (w *workload) script(b *guesttest.Bundle, runtimes []string) string {
	return fmt.Sprintf(workFunctions, b.Dir, w.name, w.stop, w.ready, w.work, strings.Join(runtimes, " "), cmp.Or(w.before, ":"))
}

// provenPolicy gives every container the profile of the workload. Its argument is the mode.
const provenPolicy = `version: 1
profiles: {app: {file: profiles/app}}
policies: {app: {profile: app, mode: %s}}
assign:
  - policy: app
`

// neverOfAll are accesses that no profile of a workload allows.
var neverOfAll = []string{
	"mount", "umount", "pivot_root", "change_profile", "w /proc/sysrq-trigger", "w /proc/sys/kernel/**", "r /etc/shadow",
	"w /{,usr/}{,s}bin/**", "w /{,usr/}lib/**", "x /{,var/}tmp/**", "w /{,var/}run/*.sock", "network inet raw", "network packet",
	"ptrace trace peer=**", "capability sys_admin", "capability sys_module", "capability sys_ptrace",
}

// A proof is a workload on its way.
type proof struct {
	*workload
	t       *testing.T
	dir     string
	bundle  *guesttest.Bundle
	script  string
	bare    []string // the runtimes, of which each starts and stops the container
	wrapped []string // the same behind the wrapper

	signals bool // the rule for signals among the container's processes counts as needed, which needsSignals must show
}

func (w *workload) prove(t *testing.T) {
	t.Helper()
	guesttest.Require(t)
	if w.leave != "" {
		guesttest.Leave(t, w.leave)
	}
	image := w.image(t)
	p := &proof{workload: w, t: t, dir: noPolicy(t)}
	logEverything(t)
	loadRuntimes(t)
	for _, name := range guesttest.Runtimes {
		a := armsOf(t, name)
		p.bare, p.wrapped = append(p.bare, a.bare), append(p.wrapped, a.wrapped)
	}
	p.bundle = w.newBundle(t, image)
	p.script = textIn(t, p.dir, "work", w.script(p.bundle, p.bare))
	if err := os.Chmod(p.script, 0o755); err != nil {
		t.Fatal(err)
	}
	p.does("without a profile", p.bare)
	first := p.drafted()
	learned := p.learned(first)
	tightened := learned
	if w.tightens == nil || w.tightens(t) {
		tightened = p.tightened(learned)
	}
	p.complains(tightened)
	p.enforces(tightened)
	p.needsSignals(tightened)
	p.keepsOut(image)
}

// loadRuntimes loads the profiles of the runtimes, under which they send their signals. AppArmor has them since 4.0.
func loadRuntimes(t *testing.T) {
	t.Helper()
	for _, name := range guesttest.Runtimes {
		if text, err := os.ReadFile("/etc/apparmor.d/" + name); err == nil {
			guesttest.LoadProfile(t, string(text))
		}
	}
}

// newBundle makes a bundle of the workload with files of its own.
func (w *workload) newBundle(t *testing.T, image string, edits ...func(*specs.Spec)) *guesttest.Bundle {
	t.Helper()
	b := guesttest.NewBundle(t, func(s *specs.Spec) {
		*s = *bundle.EngineSpec(w.args...)
		s.Process.Capabilities = bundle.Capabilities(engine.Named("docker").Capabilities...)
		s.Process.NoNewPrivileges = false // as Docker has it
	})
	guesttest.MustRun(t, "rm", "-r", b.Rootfs())
	guesttest.MustRun(t, "cp", "--archive", image, b.Rootfs())
	spec := b.Spec(t)
	for i, at := range w.volumes {
		dir := filepath.Join(b.Dir, fmt.Sprint("volume-", i))
		for _, d := range []string{dir, filepath.Join(b.Rootfs(), at)} {
			if err := os.MkdirAll(d, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chown(dir, w.owner, w.owner); err != nil {
			t.Fatal(err)
		}
		spec.Mounts = append(spec.Mounts, bundle.Mount(at, "bind", dir, "rbind", "rw"))
	}
	if w.edit != nil {
		w.edit(spec)
	}
	for _, edit := range edits {
		edit(spec)
	}
	b.SetSpec(t, spec)
	return b
}

// does has the workload work, under some runtimes.
func (p *proof) does(when string, runtimes []string) {
	p.t.Helper()
	if out, err := exec.Command(p.script, runtimes...).CombinedOutput(); err != nil { // in emulation it may take minutes
		p.t.Fatalf("%s: the work ends with %v: %s", when, err, out)
	}
}

// drafted makes the first profile of the spec.
func (p *proof) drafted() (text string) {
	p.t.Helper()
	file := filepath.Join(p.dir, "first")
	p.t.Log(guesttest.MustRun(p.t, "oci-apparmor", "profile", "new", "--from", "bundle:"+p.bundle.Dir, "--name", "app", "--output", file))
	guesttest.MustRun(p.t, "oci-apparmor", "profile", "check", "--strict", file)
	text = read(p.t, file)
	p.nothingOfEngines(text)
	return text
}

// learned records the work, and returns what the recording made of it.
func (p *proof) learned(first string) (text string) {
	p.t.Helper()
	p.apply(first, "complain")
	guesttest.MustRun(p.t, "oci-apparmor", "profile", "learn", "start", "app")
	p.t.Cleanup(func() { guesttest.Run(p.t, "oci-apparmor", "profile", "learn", "finish", "app") }) // ends what a failed test has left
	for range 2 {
		p.does("recorded", p.wrapped)
	}
	if out := guesttest.MustRun(p.t, "oci-apparmor", "profile", "learn", "status"); !strings.Contains(out, "app: is recorded") {
		p.t.Errorf("learn status: %s", out)
	}
	o := guesttest.Run(p.t, "oci-apparmor", "profile", "learn", "finish", "app")
	if o.Code != 0 {
		p.t.Fatalf("learn finish: %+v", o)
	}
	p.t.Logf("learn finish: %s\n%s", o.Stderr, o.Stdout)
	return o.Stdout
}

// tightened finds which rules the work needs, and returns the text of these.
func (p *proof) tightened(learned string) (text string) {
	p.t.Helper()
	for _, name := range []string{"/etc/oci-apparmor", "/var/lib/oci-apparmor", "/run/oci-apparmor", "/etc/apparmor.d/app.oci-apparmor"} {
		if err := os.RemoveAll(name); err != nil { // no policy gives the profile
			p.t.Fatal(err)
		}
	}
	spec := p.bundle.Spec(p.t)
	spec.Process.ApparmorProfile = "app" // as by an engine's own option
	p.bundle.SetSpec(p.t, spec)
	file := textIn(p.t, p.dir, "app", learned)
	began := time.Now()
	script := strings.ReplaceAll(block(p.t, "install/README.md#a-first-profile:2"), "web", "app")
	if p.wholly {
		script = strings.Replace(script, "--deny", "--no-denials --timeout=4m", 1)
	}
	_, said := p.run("sh", "-e", "-c", script)
	p.t.Logf("tightened in %s: %s", time.Since(began).Round(time.Second), said)
	p.wantNeeded(said)
	if out := guesttest.MustRun(p.t, "oci-apparmor", "profile", "diff", "kernel:app", file); !strings.Contains(out, "same content") {
		p.t.Errorf("the profile is not as it was: %s", out)
	}
	guesttest.MustRun(p.t, "oci-apparmor", "profile", "unload", "app")
	if read(p.t, filepath.Join(p.dir, "app.patch")) != "" {
		cmd := exec.Command("busybox", "patch", "-p0", "-i", "app.patch")
		cmd.Dir = p.dir
		if o := guesttest.RunCommand(p.t, cmd); o.Code != 0 {
			p.t.Fatalf("%+v", o)
		}
	}
	text = read(p.t, file)
	p.t.Logf("the profile:\n%s", text)
	p.nothingOfEngines(text)
	return text
}

// run runs a command in the directory of the proof that may take longer than others.
func (p *proof) run(name string, args ...string) (stdout, stderr string) {
	p.t.Helper()
	var out, said bytes.Buffer
	cmd := exec.Command(name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, &out, &said
	began, done := time.Now(), make(chan error, 1)
	go func() { done <- cmd.Run() }()
	for {
		select {
		case err := <-done:
			if err != nil {
				p.t.Fatalf("%s %q: %v: %s", name, args, err, &said)
			}
			return out.String(), said.String()
		case <-time.After(2 * time.Minute): // a guest that says nothing for long is taken for one that has stopped
			p.t.Logf("%s goes on, after %s", name, time.Since(began).Round(time.Second))
		}
	}
}

var tightenedLine = regexp.MustCompile(`app: of (\d+) rules that allow something, the command does without (\d+), as (\d+) runs showed. It fails without each of (\d+), and (\d+) stay`)

// leastNeeded is the least share of the rules, in percent, that must be shown to be needed: by tighten, as the work fails without them,
// and the one for signals among the container's processes by needsSignals.
const leastNeeded = 95

// ownSignals is the rule that the kernel asks for only where the profile is a part of a stack. Tighten does not stack, and says so.
var ownSignals = regexp.MustCompile(`(?m)^ *signal \(send,receive\) peer=\{@\{profile_name\},.*\n`)

const staysForSignals = ": stays: without it, the container's processes cannot signal each other where the profile is part of a stack"

// wantNeeded checks what tighten says of the rules that are left.
func (p *proof) wantNeeded(said string) {
	p.t.Helper()
	m := tightenedLine.FindStringSubmatch(said)
	if m == nil {
		p.t.Fatal("tighten does not say what it found")
	}
	var n [6]int
	for i := range m {
		n[i], _ = strconv.Atoi(m[i])
	}
	if p.signals = strings.Count(said, staysForSignals) == 1; p.signals {
		n[4], n[5] = n[4]+1, n[5]-1
	}
	if n[1] != n[2]+n[4]+n[5] || n[4] < 5 || n[4]*100 < leastNeeded*(n[4]+n[5]) {
		p.t.Errorf("of %d rules, %d are gone, %d needed, and %d stay: %d %% of those that are left are shown to be needed, want %d",
			n[1], n[2], n[4], n[5], n[4]*100/(n[4]+n[5]), leastNeeded)
	}
}

// ofEngines finds what only runtimes and engines have to do with.
var ofEngines = regexp.MustCompile(`runc|crun|containerd|docker|shim|podman|crio|overlay|/var/lib/bundles|/run/user|pivot_root|fifo`)

// nothingOfEngines checks that a text allows nothing but signals from engines.
func (p *proof) nothingOfEngines(text string) {
	p.t.Helper()
	for line := range strings.Lines(text) {
		rule, _, _ := strings.Cut(line, " #")
		if ofEngines.MatchString(rule) && !regexp.MustCompile(`^ *(#|audit deny |signal \(receive\) )`).MatchString(rule) {
			p.t.Errorf("a rule allows something of an engine's: %s", line)
		}
	}
}

// apply puts a policy in force that gives every container the profile.
func (p *proof) apply(text, mode string) {
	p.t.Helper()
	writePolicy(p.t, fmt.Sprintf(provenPolicy, mode), map[string]string{"app": text})
	guesttest.MustRun(p.t, "oci-apparmor", "policy", "apply", "--quiet")
}

// complains checks the profile against what nothing may do, and has the workload work in complain mode, where nothing that it
// does may be worth a complaint.
func (p *proof) complains(text string) {
	p.t.Helper()
	tests := "never:\n  - name: nothing\n    allow:\n"
	for _, a := range slices.Concat(neverOfAll, p.never) {
		tests += fmt.Sprintf("      - %q\n", a)
	}
	writePolicy(p.t, fmt.Sprintf(provenPolicy, "enforce"), map[string]string{"app": text})
	write(p.t, "/etc/oci-apparmor/tests.yaml", tests)
	if o := guesttest.Run(p.t, "oci-apparmor", "policy", "test"); o.Code != 0 {
		p.t.Errorf("policy test: %s%s", o.Stdout, o.Stderr)
	}
	// The test can fail: a profile that is not made of what the workload did fails it.
	write(p.t, "/etc/oci-apparmor/profiles/app", free("app"))
	if o := guesttest.Run(p.t, "oci-apparmor", "policy", "test"); o.Code != 1 || !strings.Contains(o.Stdout, "never capability sys_module") {
		p.t.Errorf("policy test of a profile that allows all: %+v", o)
	}
	p.apply(text, "complain")
	p.quietly("in complain mode", "complain")
}

// enforces puts the profile in force, and has the workload work.
func (p *proof) enforces(text string) {
	p.t.Helper()
	p.apply(text, "enforce")
	p.quietly("enforced", "denied")
}

// needsSignals shows that the rule for signals among the container's processes is needed, where a text has it: under a floor the work
// is denied something without it, and nothing with it.
func (p *proof) needsSignals(text string) {
	p.t.Helper()
	without, err := withoutSignals(text, p.signals)
	if err != nil {
		p.t.Error(err)
	}
	if without == text {
		return
	}
	stack := func(text string) {
		p.t.Helper()
		writePolicy(p.t, `version: 1
profiles: {app: {file: profiles/app}, under: {file: profiles/under}}
policies: {app: {profile: app, floor: under}}
assign:
  - policy: app
`, map[string]string{"app": text, "under": free("under")})
		guesttest.MustRun(p.t, "oci-apparmor", "policy", "apply", "--quiet")
	}
	stack(without)
	log := guesttest.KernelLog(p.t)
	most := time.Minute // who waits for a signal may wait for ever
	if guesttest.Emulated(p.t) {
		most = 4 * time.Minute
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), most)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.script, p.wrapped...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) } // the script ends only after what it waits for
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.CombinedOutput()
	if len(log.Grep(p.t, `apparmor="DENIED"`, `operation="signal"`, `profile="app"`)) == 0 {
		p.t.Errorf("on a floor and without the rule for signals, no signal was denied (%v: %s)", err, out)
	}
	stack(text)
	p.quietly("on a floor", "denied")
}

// withoutSignals returns a text without the rule for signals among the container's processes. The error says that it has none,
// although that counts as needed.
func withoutSignals(text string, counts bool) (string, error) {
	without := ownSignals.ReplaceAllString(text, "")
	if counts && without == text {
		return text, fmt.Errorf("tighten says that the rule for signals stays, which counts as needed, but the text has none like %s", ownSignals)
	}
	return without, nil
}

func TestARuleForSignalsThatCountsIsShownToBeNeeded(t *testing.T) {
	const rule, other = "  signal (send,receive) peer={@{profile_name},@{profile_name}//&**},\n", "  signal send set=(hup) peer=@{profile_name},\n"
	for text, fails := range map[string]bool{"profile app {\n" + rule + "}\n": false, "profile app {\n" + other + "}\n": true} {
		for _, counts := range []bool{true, false} {
			without, err := withoutSignals(text, counts)
			if (err != nil) != (fails && counts) || without != strings.Replace(text, rule, "", 1) {
				t.Errorf("it counts: %v, %q: %q, %v", counts, text, without, err)
			}
		}
	}
}

// quietly has the workload work, of which there may be no record.
func (p *proof) quietly(when, kind string) {
	p.t.Helper()
	log, since := guesttest.KernelLog(p.t), time.Now()
	p.does(when, p.wrapped)
	for _, line := range log.Grep(p.t, `apparmor="`, `profile="app"`) {
		p.t.Errorf("%s: %s", when, line)
	}
	o := guesttest.Run(p.t, "oci-apparmor", "audit", "--type", kind, "--profile", "app", "--since", since.Format(time.RFC3339Nano))
	if o.Code != 0 || !strings.Contains(o.Stdout, "is alive, and nothing was lost") {
		p.t.Errorf("%s: audit says %+v", when, o)
	}
}

// An intrusion is what somebody tries who has taken over the program of a container.
type intrusion struct {
	what    string
	command string   // of probe
	free    string   // its answer without a profile
	records []string // one of these is in the record of the denial
}

// provenIntrusions work without a profile in a container that has all capabilities and hides nothing.
var provenIntrusions = []intrusion{
	{"a shell", "exec /bin/sh -c true", "ok", []string{`operation="exec"`}},
	{"to write into /usr", "write /usr/bin/new", "ok", []string{`name="/usr/bin/new"`}},
	{"a raw socket", "socket inet raw", "ok", []string{`sock_type="raw"`, `capname="net_raw"`}},
	{"to trace another process", "ptrace-child", "ok", []string{`operation="ptrace"`}},
	{"to mount", "mount /mnt", "ok", []string{`operation="mount"`, `capname="sys_admin"`}},
	{"/proc/sysrq-trigger", "open /proc/sysrq-trigger w", "ok", []string{`name="/proc/sysrq-trigger"`}},
	{"a kernel module", "module", "errno ENOEXEC", []string{`capname="sys_module"`}}, // it is none
	{"the hashes of passwords", "read /etc/shadow", "ok", []string{`name="/etc/shadow"`}},
	{"a new program in /tmp", "exec /tmp/new label", "ok", []string{`operation="exec"`}},
	{"the engine's socket", "unix-connect /run/docker.sock", "ok", []string{`family="unix"`, `name="/run/docker.sock"`}},
}

// keepsOut has probe run in place of the workload's program, with all capabilities and nothing hidden: only the profile is in
// the way of what it tries, and of each of its denials there is a record.
func (p *proof) keepsOut(image string) {
	t := p.t
	t.Helper()
	socket, err := net.Listen("unix", filepath.Join(p.dir, "docker.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	all := profileAlone(t)
	b := p.newBundle(t, image, func(s *specs.Spec) {
		all(s)
		s.Process.Args, s.Process.User = []string{p.program, "hold"}, specs.User{}
		s.Process.Env = append(s.Process.Env, "GODEBUG=asyncpreemptoff=1")
		s.Linux.MaskedPaths, s.Linux.ReadonlyPaths, s.Linux.Seccomp, s.Root.Readonly = nil, nil, nil, false
		s.Mounts = append(s.Mounts, bundle.Mount("/run/docker.sock", "bind", socket.Addr().String(), "bind", "rw"))
	})
	probe := read(t, program(t, "probe"))
	place := func(at, text string) {
		path := filepath.Join(b.Rootfs(), at)
		os.Remove(path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	place(p.program, probe)
	place("/tmp/new", probe)
	place("/etc/shadow", "root:*:1::::::\n")
	for _, dir := range []string{"mnt", "usr/bin"} {
		if err := os.MkdirAll(filepath.Join(b.Rootfs(), dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(filepath.Join(b.Rootfs(), "bin/sh")); err != nil {
		place("/bin/sh", read(t, program(t, "busybox")))
	}

	answers := func(runtime string) (c *guesttest.Container, all []string) {
		c = b.Start(t, runtime)
		for _, i := range provenIntrusions {
			all = append(all, c.Ask(t, i.command))
			os.Remove(filepath.Join(b.Rootfs(), "usr/bin/new"))
		}
		return c, all
	}
	c, freely := answers(p.bare[0])
	for n, i := range provenIntrusions {
		if freely[n] != i.free {
			t.Errorf("without a profile, %s: %s, want %s", i.what, freely[n], i.free)
		}
	}
	guesttest.MustRun(t, p.bare[0], "delete", "--force", c.ID)

	log := guesttest.KernelLog(t)
	c, got := answers(p.wrapped[0])
	wantLabel(t, c, "app")
	records := log.Grep(t, `apparmor="DENIED"`, `profile="app"`)
	for n, i := range provenIntrusions {
		switch {
		case !slices.Contains([]string{"errno EACCES", "errno EPERM"}, got[n]):
			if p.sockets && strings.HasPrefix(i.command, "unix-connect") && !asksOfSockets() {
				t.Log("AppArmor is not asked here who connects to a socket that is a file; profile new says so")
				continue
			}
			t.Errorf("%s: %s, want a denial", i.what, got[n])
		case !slices.ContainsFunc(records, func(line string) bool {
			return slices.ContainsFunc(i.records, func(words string) bool { return strings.Contains(line, words) })
		}):
			t.Errorf("%s: no record of the denial has one of %q: %q", i.what, i.records, records)
		}
	}
}
