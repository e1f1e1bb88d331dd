package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// noted returns what oci-apparmor log prints of this guest.
func noted(t *testing.T, options ...string) (all []notice.Notice) {
	t.Helper()
	out := guesttest.MustRun(t, "oci-apparmor", append([]string{"log", "--json"}, options...)...)
	for line := range strings.Lines(out) {
		var n notice.Notice
		if err := json.Unmarshal([]byte(line), &n); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		all = append(all, n)
	}
	return all
}

// wantNoted checks what the log has of a container, whose notices have that engine and policy web: a level, a command and a
// part of the message each, in this order.
func wantNoted(t *testing.T, id, engine string, want ...[3]string) {
	t.Helper()
	all := noted(t, "--container", id)
	ok := len(all) == len(want)
	for i, n := range all {
		ok = ok && string(n.Level) == want[i][0] && n.Command == want[i][1] && strings.Contains(n.Message, want[i][2]) && n.ID == id &&
			n.Engine == engine && n.Policy == "web" && time.Since(n.Time).Abs() < time.Hour
	}
	if !ok {
		t.Errorf("of container %s is noted\n%+v\nwant %q", id, all, want)
	}
}

const (
	replacedWeb = "profile web was loaded with other content than the policy's, and has been replaced"
	setFree     = "what it had started before is unconfined for good"
)

// warnedOf does to containers of the policy web what the wrapper warns of, and gives the id of the one that it has deleted.
func warnedOf(t *testing.T, rt arms, with ...string) (id string) {
	t.Helper()
	unload(t, "web")
	first := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped, with...)
	guesttest.LoadProfile(t, loose("web"))
	c := guesttest.NewBundle(t, asks("web")).Start(t, rt.wrapped, with...)
	guesttest.LoadProfile(t, loose("web"))
	c.ExecProbe(t, "label")
	guesttest.RemoveProfile(t, "web")
	c.ExecProbe(t, "label")
	for _, c := range []*guesttest.Container{c, first} {
		guesttest.MustRun(t, rt.wrapped, append(slices.Clone(with), "delete", "--force", c.ID)...)
	}
	return c.ID
}

// What was refused and warned of outlives the container, its engine's log and its record: in the kernel's log of a node
// without a journal.
func TestLog(t *testing.T) {
	guesttest.EnoughIn(t, guesttest.Bookworm) // what is written to the log is ours
	setPolicy(t, webPolicy)
	rt := armsOf(t, "runc")
	began := time.Now().Add(-time.Second)
	engines := t.TempDir() + "/log.json" // where the warnings went
	id := warnedOf(t, rt, "--log", engines, "--log-format", "json")
	wantNoted(t, id, "other", [3]string{"warning", "run", replacedWeb}, [3]string{"warning", "exec", replacedWeb}, [3]string{"warning", "exec", setFree})
	line := guesttest.MustRun(t, "sh", "-c", "oci-apparmor log --container "+id+" | head -n 1")
	if !strings.Contains(line, "  warning  ") || !strings.Contains(line, "  "+id+"  ") || !strings.Contains(line, "  run: "+replacedWeb) {
		t.Errorf("oci-apparmor log prints %s", line)
	}

	// A refusal, of a container whose id would have a line of its own.
	log := guesttest.KernelLog(t)
	b := guesttest.NewBundle(t, asks("nosuch"))
	forged := "x\noci-apparmor: level=refusal id=forged msg=\"no\"\x1b[31m"
	if o := guesttest.Run(t, rt.wrapped, "run", "--bundle", b.Dir, forged); o.Code == 0 {
		t.Error("it was not refused")
	}
	if lines := log.Grep(t, "oci-apparmor: "); len(lines) != 1 || !strings.HasPrefix(lines[0], "oci-apparmor: level=refusal command=run engine=other id=\"x oci-") {
		t.Errorf("the kernel's log has %q", lines)
	}
	if got := noted(t, "--container", "forged"); got != nil {
		t.Errorf("of a container that there is not is noted %+v", got)
	}

	// A command line that cannot be read.
	guesttest.Run(t, rt.wrapped, "create", "--new", "x", "shop")
	all := noted(t, "--since", began.Format(time.RFC3339))
	if last := all[len(all)-1]; last.Level != notice.Refusal || last.Command != "create" || !strings.Contains(last.Message, `"--new" is not known`) {
		t.Errorf("of a line that cannot be read is noted %+v", last)
	}
	if early := noted(t, "--since", time.Now().Add(time.Minute).Format(time.RFC3339)); early != nil {
		t.Errorf("since a minute from now is noted %+v", early)
	}

	// At boot.
	unload(t, "web")
	guesttest.LoadProfile(t, "profile web { file, }")
	guesttest.Run(t, "oci-apparmor", "policy", "load", "--quiet")
	all = noted(t)
	if n := all[len(all)-2]; n.Level != notice.Refusal || n.Command != "load" || !strings.Contains(n.Message, "profile web") {
		t.Errorf("of a profile that is not ours to replace is noted %+v", n)
	}
	guesttest.RemoveProfile(t, "web")

	wantFollowed(t, rt)
	o := guesttest.Run(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "oci-apparmor", "log")
	if o.Code != 3 || o.Stdout != "" || !strings.Contains(o.Stderr, "run this as root") {
		t.Errorf("for somebody without rights: %+v", o)
	}
}

// wantFollowed checks that oci-apparmor log prints what comes, and ends when it is told to.
func wantFollowed(t *testing.T, rt arms) {
	t.Helper()
	follow := exec.Command("oci-apparmor", "log", "--follow", "--container", "followed")
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { follow.Process.Kill() })
	defer late.Stop()
	b := guesttest.NewBundle(t, asks("nosuch"))
	guesttest.Run(t, rt.wrapped, "run", "--bundle", b.Dir, "followed")
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || !strings.Contains(line, `run: policy "nosuch"`) {
		t.Errorf("printed %q (%v)", line, err)
	}
	if err := follow.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := follow.Wait(); err != nil {
		t.Errorf("told to end: %v", err)
	}
}

// Under systemd the journal has them, by fields that journalctl finds.
func TestSystemdLog(t *testing.T) {
	guesttest.Need(t, guest.Systemd)
	guesttest.EnoughIn(t, guesttest.Forky) // what is written to the journal is ours
	guesttest.RemoveProfilesAtEnd(t)
	apply(t, webPolicy)
	rt := armsOf(t, "runc")
	kernel := guesttest.KernelLog(t)
	began := fmt.Sprintf("--since=@%d", time.Now().Unix()) // what other tests were refused is not this one's
	id := warnedOf(t, rt)
	wantNoted(t, id, "other", [3]string{"warning", "run", replacedWeb}, [3]string{"warning", "exec", replacedWeb}, [3]string{"warning", "exec", setFree})
	journal := guesttest.MustRun(t, "journalctl", "--no-pager", "--output=cat", "--identifier=oci-apparmor", "OCI_APPARMOR_CONTAINER_ID="+id)
	for _, want := range []string{"run of container " + id + ": " + replacedWeb, "exec of container " + id + ": " + replacedWeb, setFree} {
		if !strings.Contains(journal, want) {
			t.Errorf("the journal has\n%swant %q", journal, want)
		}
	}
	refusals := func() string {
		return guesttest.MustRun(t, "journalctl", "--no-pager", "--quiet", "--output=cat", began, "MESSAGE_ID="+notice.Refusal.MessageID())
	}
	if said := refusals(); said != "" {
		t.Errorf("refused so far: %s", said)
	}
	wantFollowed(t, rt)
	if said := refusals(); strings.Contains(said, "\n") || !strings.Contains(said, `run of container followed: policy "nosuch"`) {
		t.Errorf("the journal's refusals: %s", said)
	}
	if lines := kernel.Grep(t, "oci-apparmor: "); len(lines) > 0 {
		t.Errorf("the kernel's log has %q, too", lines)
	}

	// Without journald the kernel's log has them, and no start waits. journald reads them there when it is back.
	units := []string{"systemd-journald.service", "systemd-journald.socket", "systemd-journald-dev-log.socket", "systemd-journald-audit.socket"}
	guesttest.MustRun(t, "systemctl", append([]string{"stop"}, units...)...)
	b := guesttest.NewBundle(t, asks("nosuch"))
	wantRefused(t, b, rt.wrapped, "nosuch")
	if lines := kernel.Grep(t, "oci-apparmor: level=refusal command=run engine=other id="+b.ID+" "); len(lines) != 1 {
		t.Errorf("the kernel's log has %q", lines)
	}
	guesttest.MustRun(t, "systemctl", "start", units[1], units[0])
	waitFor(t, "journald to read the kernel's log", func() bool { return len(noted(t, "--container", b.ID)) > 0 })
	if all := noted(t, "--container", b.ID); len(all) != 1 || all[0].Level != notice.Refusal || all[0].Command != "run" {
		t.Errorf("after journald was started again is noted %+v", all)
	}

	// What others send is not believed, though it be under our name.
	forge := "printf 'MESSAGE_ID=%s\\nSYSLOG_IDENTIFIER=oci-apparmor\\nMESSAGE=forged\\n' " + notice.Refusal.MessageID() + " | logger --journald"
	before := len(noted(t))
	guesttest.MustRun(t, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sh", "-c", forge)
	guesttest.MustRun(t, "logger", "--tag", "oci-apparmor", `level=refusal id=x msg="forged"`)
	waitFor(t, "the forged entries", func() bool {
		return strings.Count(guesttest.MustRun(t, "journalctl", "--no-pager", "--output=cat", "--identifier=oci-apparmor"), "forged") == 2
	})
	if all := noted(t); len(all) != before {
		t.Errorf("is believed: %+v", all[before:])
	}
}

// What our shim warns of stays, where containerd drops it: at an exec, too.
func tasksThatAreWarnedOf(t *testing.T, c *guesttest.Containerd) {
	unload(t, "web")
	first := runTask(t, c, guesttest.ShimCrun, "web")
	guesttest.LoadProfile(t, loose("web"))
	k := runTask(t, c, guesttest.ShimCrun, "web")
	wantTaskConfined(t, k, webTries, "web")
	guesttest.LoadProfile(t, loose("web"))
	wantTaskExecConfined(t, k, webTries, "web")
	guesttest.RemoveProfile(t, "web")
	wantTaskExecConfined(t, k, webTries, "web")
	refused := prepareTask(t, c, guesttest.ShimCrun)
	wantRefusal(t, refused.Ctr(t, refused.runArgs(guesttest.ShimCrun, "nosuch")...), refused.ID)
	refused.tasks.RemoveContainer(t, refused.ID)
	k.remove(t)
	first.remove(t)
	wantNoted(t, k.ID, "other", [3]string{"warning", "create", replacedWeb}, [3]string{"warning", "exec", replacedWeb}, [3]string{"warning", "exec", setFree})
	all := noted(t, "--container", refused.ID)
	if len(all) != 1 || all[0].Level != notice.Refusal || all[0].Command != "create" || !strings.Contains(all[0].Message, "nosuch") {
		t.Errorf("of the refused one is noted %+v", all)
	}
}
