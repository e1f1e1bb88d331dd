package integration

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/bundle"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

const quietPolicy = `version: 1
profiles: {web: {file: profiles/web}}
policies: {web: {profile: web, mode: complain, enforceAfter: 10s}}
assign:
  - policy: web
`

// quietText is the text of a profile that lacks a part of what a container does.
var quietText = confining("web", "  file,\n  audit deny /etc/** w,\n  audit deny capability chown,\n")

// A standing is what status says of a profile that is to be enforced.
type standing struct {
	Profile, Mode string
	Quiet         float64
	Missing       []string
	LastDenial    *struct {
		Time                        time.Time
		Sentence, Container, Record string
	}
}

// standingOf returns what status says of the only such profile.
func standingOf(t *testing.T) standing {
	t.Helper()
	var s struct{ Quiet []standing }
	o := guesttest.Run(t, "oci-apparmor", "status", "--json") // its exit code says whether a profile is loaded
	if err := json.Unmarshal([]byte(o.Stdout), &s); err != nil || len(s.Quiet) != 1 {
		t.Fatalf("status --json: %v, %+v", err, s)
	}
	return s.Quiet[0]
}

// missing reports whether status says that something is missing.
func missing(t *testing.T, what string) bool {
	t.Helper()
	return strings.Contains(strings.Join(standingOf(t).Missing, "; "), what)
}

// watchQuiet starts a watcher, and returns it once it watches.
func watchQuiet(t *testing.T, options ...string) *exec.Cmd {
	t.Helper()
	w := exec.Command("oci-apparmor", append([]string{"policy", "watch"}, options...)...)
	out, err := w.StdoutPipe()
	w.Stderr = os.Stderr
	if err == nil {
		err = w.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = w.Process.Kill()
		_ = w.Wait()
	})
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); err != nil || line != "watching\n" {
		t.Fatalf("the watcher says %q, %v", line, err)
	}
	go func() { _, _ = io.Copy(os.Stderr, lines) }()
	return w
}

// A policy in complain mode is enforced once it was quiet for its time: with a container that runs, with a socket that lives,
// and with nothing lost. A denial begins the time anew, and so does all that leaves something unknown.
func TestQuietIsEnforced(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Trixie) // whose kernel has to be had forget, which later ones need not
	guesttest.Require(t)
	guesttest.RemoveProfilesAtEnd(t)
	was := texts["web"]
	texts["web"] = quietText
	t.Cleanup(func() { texts["web"] = was })
	apply(t, quietPolicy, "--quiet")
	rt := armsOf(t, "runc")
	if !missing(t, "nobody watches") {
		t.Errorf("without a watcher: %+v", standingOf(t))
	}
	watcher := watchQuiet(t, "--only-watch")
	waitFor(t, "a time without a container not to count", func() bool { return missing(t, "no container of it was started") })
	if s := standingOf(t); s.Quiet != 0 {
		t.Errorf("without a container: %+v", s)
	}
	c := guesttest.NewBundle(t, func(s *specs.Spec) { s.Process.Capabilities = bundle.Capabilities("CAP_CHOWN", "CAP_KILL") }).Start(t, rt.wrapped)
	wantLabelMode(t, c, "web (complain)")
	counted := func() bool { return standingOf(t).Quiet > 0 }
	waitFor(t, "time to count", counted)

	// What would have been denied is named, with its record.
	if got := c.Ask(t, "write /etc/x"); got != "ok" {
		t.Fatalf("in complain mode, a write to /etc/x: %s", got)
	}
	waitFor(t, "the denial", func() bool { return standingOf(t).LastDenial != nil })
	if s := standingOf(t); s.Quiet > 3 || !strings.Contains(s.LastDenial.Record, `name="/etc/x"`) || !strings.Contains(s.LastDenial.Container, c.ID) ||
		!strings.Contains(s.LastDenial.Sentence, "/etc/x") || !missing(t, "would have been denied") {
		t.Errorf("after a denial: %+v %+v", s, s.LastDenial)
	}
	explained := guesttest.MustRun(t, "oci-apparmor", "policy", "explain")
	if !strings.Contains(explained, "complain mode until quiet for 10s") || !strings.Contains(explained, "last denial: ") {
		t.Errorf("policy explain: %s", explained)
	}

	// Older kernels log a capability of one profile only once in a row.
	var first time.Time
	for range 2 {
		waitFor(t, "time to count", counted)
		if got := c.Ask(t, "chown /mnt 1"); got != "ok" {
			t.Fatalf("in complain mode, chown: %s", got)
		}
		waitFor(t, "the use of the capability to be seen", func() bool {
			d := standingOf(t).LastDenial
			return strings.Contains(d.Record, `capname="chown"`) && d.Time.After(first)
		})
		first = standingOf(t).LastDenial.Time
	}

	// A kernel that writes no records, and one that loses some.
	waitFor(t, "time to count", counted)
	old := strings.TrimSpace(read(t, "/sys/module/apparmor/parameters/audit"))
	write(t, "/sys/module/apparmor/parameters/audit", "quiet")
	waitFor(t, "the dead source to be said", func() bool { return missing(t, "the kernel writes no records") })
	write(t, "/sys/module/apparmor/parameters/audit", old)
	waitFor(t, "the time to begin anew", counted)
	if s := standingOf(t); s.Quiet > 4 || !missing(t, "writes no records") {
		t.Errorf("after the source was dead: %+v", s)
	}
	limitRecords(t, 1)
	for range 4 { // denials of nobody that waits
		_ = os.WriteFile("/proc/thread-self/attr/exec", []byte("exec nobody"), 0)
	}
	waitFor(t, "the loss to be said", func() bool { return missing(t, "were lost") })
	limitRecords(t, 0)
	if o := guesttest.Run(t, "oci-apparmor", "policy", "promote", "web"); o.Code != 4 || !strings.Contains(o.Stderr, "stays in complain mode") {
		t.Errorf("promote before the time: %+v", o)
	}

	// Without a watcher that goes on, what was shown does not count.
	if err := watcher.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = watcher.Wait()
	if s := standingOf(t); s.Quiet != 0 || !missing(t, "nobody watches") {
		t.Errorf("after the watcher's end: %+v", s)
	}

	log := guesttest.KernelLog(t)
	watchQuiet(t)
	begun := time.Now()
	waitFor(t, "the profile to be enforced", func() bool { return standingOf(t).Mode == "enforce" })
	if took := time.Since(begun); took < 10*time.Second {
		t.Errorf("enforced after %v", took)
	}
	wantLabelMode(t, c, "web (enforce)")
	for _, what := range []string{"write /etc/y", "chown /mnt 1"} {
		if got := c.Ask(t, what); got == "ok" {
			t.Errorf("enforced, %s: %s", what, got)
		}
	}
	if got := c.Ask(t, "write /tmp/y"); got != "ok" {
		t.Errorf("enforced, a write to /tmp/y: %s", got)
	}
	if lines := log.Grep(t, `apparmor="ALLOWED"`, `profile="web"`); len(lines) != 0 {
		t.Errorf("it was enforced in spite of %q", lines)
	}
	// An apply keeps it, also of another policy, and a changed text begins anew.
	write(t, "/etc/oci-apparmor/policy.yaml", strings.Replace(quietPolicy, "10s", "20s", 1))
	guesttest.MustRun(t, "oci-apparmor", "policy", "apply", "--quiet")
	if s := standingOf(t); s.Mode != "enforce" {
		t.Errorf("after another apply: %+v", s)
	}
	write(t, "/etc/oci-apparmor/profiles/web", strings.Replace(quietText, "  file,\n", "  file,\n  audit deny /mnt/** w,\n", 1))
	if out := guesttest.MustRun(t, "oci-apparmor", "policy", "apply"); !strings.Contains(out, "in complain mode until quiet again: web") {
		t.Errorf("apply of a changed text: %s", out)
	}
	if s := standingOf(t); s.Mode != "complain" || s.Quiet != 0 {
		t.Errorf("after its text was changed: %+v", s)
	}
	guesttest.MustRun(t, "oci-apparmor", "policy", "load")
	wantLabelMode(t, c, "web (complain)")
}

// wantLabelMode checks a container's label with its mode.
func wantLabelMode(t *testing.T, c *guesttest.Container, want string) {
	t.Helper()
	guesttest.Executed(t, c.Pid(t))
	if got := strings.TrimSpace(read(t, "/proc/"+strconv.Itoa(c.Pid(t))+"/attr/current")); got != want {
		t.Errorf("the container's label is %s, want %s", got, want)
	}
}
