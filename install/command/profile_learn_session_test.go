package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/recorder"
	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
)

// given is a source of lines that a test gives, of which some are lost.
type given struct {
	lines  chan string
	proofs chan string // denials of our own, which come back when all lines have come; nil if none comes back
	quiet  error       // why no denial of our own can be made
	late   []string    // lines that come only while one is on its way
	lost   []source.Loss
}

func newGiven() given { return given{lines: make(chan string), proofs: make(chan string, 10)} }

const proof = `apparmor="DENIED" operation="change_onexec" profile="unconfined" name="proof"`

func (g given) Prove() error {
	if g.quiet == nil && g.proofs != nil {
		for _, line := range append(g.late, proof) {
			g.proofs <- line
		}
	}
	return g.quiet
}

func (given) Proof(r *audit.Record) bool { return r.Get("name") == "proof" }

func (given) Name() string          { return source.Multicast }
func (g given) Lost() []source.Loss { return g.lost }
func (given) Close() error          { return nil }

func (g given) Next(ctx context.Context, e *source.Entry) error {
	select {
	case line, more := <-g.lines:
		if !more {
			return io.ErrUnexpectedEOF
		}
		return parse(line, e)
	case line := <-g.proofs:
		return parse(line, e)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// parse takes a line for the kernel's, unless it says that it is forged.
func parse(line string, e *source.Entry) error {
	line, forged := strings.CutPrefix(line, "forged ")
	if _, ok := e.Record.Parse([]byte(line)); !ok {
		return fmt.Errorf("not a record: %s", line)
	}
	e.Kernel = !forged
	return nil
}

// recordWeb records policy web while the lines come, and returns the error of the recorder. Of a source that fails, there are no
// more lines after these.
func (m *machine) recordWeb(anew, fails bool, lost []source.Loss, lines ...string) error {
	m.t.Helper()
	g := newGiven()
	g.lost = lost
	return m.recordFrom(g, anew, fails, lines...)
}

// recordFrom is recordWeb from a source of the test.
func (m *machine) recordFrom(g given, anew, fails bool, lines ...string) error {
	m.t.Helper()
	r := &recorder.Recorder{Node: m.Node, Recordings: "run/recordings", Open: func(context.Context) (source.Proving, error) { return g, nil },
		Anew: anew, Patience: 50 * time.Millisecond}
	ctx, stop := context.WithCancel(m.t.Context())
	defer stop()
	begun, ended := make(chan bool), make(chan error, 1)
	go func() { ended <- r.Record(ctx, "web", func() error { close(begun); return nil }) }()
	select {
	case <-begun:
	case err := <-ended:
		return err
	}
	if on, err := r.Recordings.InProgress("web"); !on || err != nil {
		m.t.Errorf("no recording is in progress: %v", err)
	}
	for _, line := range lines {
		g.lines <- line
	}
	if fails {
		close(g.lines)
	} else {
		stop()
	}
	err := <-ended
	if on, _ := r.Recordings.InProgress("web"); on {
		m.t.Error("the recording does not end")
	}
	return err
}

// reads is a record of reading a file in a container of policy web.
func reads(container, path string) string {
	return fmt.Sprintf(`apparmor="ALLOWED" operation="open" class="file" profile=%q name=%q pid=7 comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`,
		recording.NameFor("web", "docker", container), path)
}

// recordingMachine has a policy in force whose containers can be recorded.
func recordingMachine(t *testing.T) *machine {
	m := newCompiling(t)
	m.write("securityfs/profiles", "")
	m.write("etc/profiles/web", sound("web", ""))
	m.write("etc/policy.yaml", "version: 1\nprofiles:\n  web: {file: profiles/web}\npolicies:\n  web: {profile: web}\n  free: {profile: keep}\nassign:\n  - policy: web\n")
	m.run("policy", "apply", "--quiet")
	m.transcript.Reset()
	return m
}

func TestProfileLearnFinish(t *testing.T) {
	dir := packageDir(t)
	m := recordingMachine(t)
	m.run("profile", "learn", "status")
	m.run("profile", "learn", "finish", "web")
	for _, err := range []error{
		m.recordWeb(false, false, nil, reads("c1", "/srv/a"), reads("c2", "/srv/b"), reads("c1", "/srv/a"),
			strings.Replace(reads("c1", "/other"), recording.NameFor("web", "docker", "c1"), "other", 1)),
		m.recordWeb(false, false, nil, reads("c3", "/srv/c")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	m.run("profile", "learn", "finish", "web", "--name", "learned")
	if err := m.recordWeb(false, false, []source.Loss{{By: "the kernel", Records: 3}}, reads("c4", "/srv/d")); err != nil {
		t.Fatal(err)
	}
	m.run("profile", "learn", "finish", "web")
	if err := m.recordWeb(true, true, nil, reads("c4", "/srv/d")); err == nil {
		t.Error("a source that fails is no error")
	}
	m.run("profile", "learn", "finish", "web")
	if err := m.recordWeb(true, false, nil, reads("c5", "/srv/e")); err != nil {
		t.Fatal(err)
	}
	m.run("profile", "learn", "finish", "web", "--exactly")
	m.golden(dir)
}

// What is missing from a recording would be missing from what it makes with a later one, too.
func TestALaterRecordingMakesNoEarlierOneWhole(t *testing.T) {
	for name, spoil := range map[string]func(m *machine) error{
		"records were lost": func(m *machine) error {
			return m.recordWeb(false, false, []source.Loss{{By: "the kernel", Records: 3}}, reads("c1", "/srv/a"))
		},
		"the recorder was killed": func(m *machine) error {
			err := m.recordWeb(false, false, nil, reads("c1", "/srv/a"))
			path := filepath.Join(m.Store, "recordings/web/session.json")
			data, _ := os.ReadFile(path)
			cut := regexp.MustCompile(`"ended".*`).ReplaceAll(data, nil)
			return errors.Join(err, os.WriteFile(path, cut, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := recordingMachine(t)
			if err := spoil(m); err != nil {
				t.Fatal(err)
			}
			if err := m.recordWeb(false, false, nil); err == nil || !strings.Contains(err.Error(), "--anew") {
				t.Errorf("a recording adds to one that is not whole: %v", err)
			}
			if code, _ := m.run("profile", "learn", "finish", "web"); code != 3 || !strings.Contains(m.transcript.String(), "not whole") {
				t.Errorf("exit code %d\n%s", code, m.transcript.String())
			}
			if err := m.recordWeb(true, false, nil, reads("c1", "/srv/b")); err != nil {
				t.Fatal(err)
			}
			if code, _ := m.run("profile", "learn", "finish", "web"); code != 0 {
				t.Errorf("begun anew: exit code %d\n%s", code, m.transcript.String())
			}
		})
	}
}

// A kernel that was made quiet in the middle drops nothing that anybody counts.
func TestARecordingProvesAtItsEndThatRecordsStillCome(t *testing.T) {
	deaf, quiet, forged := newGiven(), newGiven(), newGiven()
	deaf.proofs = nil
	quiet.quiet = errors.New("AppArmor is told to write no records")
	forged.proofs = nil
	for name, c := range map[string]struct {
		src  given
		more []string
		says string
	}{
		"no denial of our own comes back":  {deaf, nil, "did not come back within"},
		"none can be made":                 {quiet, nil, "told to write no records"},
		"somebody else says that it came":  {forged, []string{"forged " + proof}, "did not come back within"},
		"somebody else's denial came back": {forged, []string{strings.Replace(proof, `"proof"`, `"proofs"`, 1)}, "did not come back within"},
	} {
		t.Run(name, func(t *testing.T) {
			m := recordingMachine(t)
			if err := m.recordFrom(c.src, false, false, append(c.more, reads("c1", "/srv/a"))...); err != nil {
				t.Fatal(err)
			}
			code, _ := m.run("profile", "learn", "finish", "web")
			out := strings.Join(strings.Fields(m.transcript.String()), " ")
			if code != 3 || !strings.Contains(out, "not whole") || !strings.Contains(out, c.says) || strings.Contains(out, "/srv/a") {
				t.Errorf("exit code %d\n%s", code, out)
			}
		})
	}
}

// What the kernel wrote before the end is among it, also if it comes only while the end is proved.
func TestWhatComesBeforeTheProofIsRecorded(t *testing.T) {
	m := recordingMachine(t)
	g := newGiven()
	g.late = []string{reads("c1", "/srv/late")}
	if err := m.recordFrom(g, false, false, reads("c1", "/srv/a")); err != nil {
		t.Fatal(err)
	}
	m.run("profile", "learn", "finish", "web")
	if out := m.transcript.String(); !strings.Contains(out, "/srv/a r,") || !strings.Contains(out, "/srv/late r,") {
		t.Error(out)
	}
}

func TestAHalfRecordDoesNotJoinTheNext(t *testing.T) {
	m := recordingMachine(t)
	if err := m.recordWeb(false, false, nil, reads("c1", "/srv/a")); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(m.Store, "recordings/web/records"), os.O_WRONLY|os.O_APPEND, 0)
	if err == nil {
		_, err = f.WriteString(strings.TrimSuffix(reads("c1", "/srv/half"), ` requested_mask="r" denied_mask="r" fsuid=0 ouid=0`))
	}
	if err = errors.Join(err, f.Close(), m.recordWeb(false, false, nil, reads("c1", "/srv/b"))); err != nil {
		t.Fatal(err)
	}
	m.run("profile", "learn", "finish", "web")
	out := m.transcript.String()
	if !strings.Contains(out, "/srv/a r,") || !strings.Contains(out, "/srv/b r,") || strings.Contains(out, "half") {
		t.Error(out)
	}
}

// Nobody may end a process by a number that another one has by now.
func TestTheRecorderSignsBeforeItWaitsForItsSource(t *testing.T) {
	m := recordingMachine(t)
	r := &recorder.Recorder{Node: m.Node, Recordings: "run/recordings", Open: func(context.Context) (source.Proving, error) {
		data, err := os.ReadFile(filepath.Join(m.Store, "recordings/web/lock"))
		if !strings.HasPrefix(string(data), fmt.Sprintf("%d ", os.Getpid())) {
			t.Errorf("the lock says %q, %v", data, err)
		}
		return nil, errors.New("the source is dead")
	}}
	_ = r.Record(t.Context(), "web", func() error { return nil })
}

func TestARecordingOfWhichNobodyHearsEnds(t *testing.T) {
	m := recordingMachine(t)
	r := &recorder.Recorder{Node: m.Node, Recordings: "run/recordings", Patience: time.Millisecond,
		Open: func(context.Context) (source.Proving, error) { return newGiven(), nil }}
	ctx, stop := context.WithTimeout(t.Context(), 5*time.Second)
	defer stop()
	if err := r.Record(ctx, "web", func() error { return syscall.EPIPE }); !errors.Is(err, syscall.EPIPE) || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
	if on, err := r.Recordings.InProgress("web"); on || err != nil {
		t.Errorf("in progress: %v, %v", on, err)
	}
}

func TestWhoGivesUpTheStartEndsTheRecorder(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	// It ends by itself when it has been told to, as a recorder does.
	recorder := exec.Command("sh", "-c", `trap 'exit 0' TERM; echo ready >&3; while :; do sleep 0.02; done`)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	recorder.ExtraFiles = []*os.File{w}
	go func() {
		_, _ = r.Read(make([]byte, 1))
		stop()
	}()
	if err := begin(ctx, recorder); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "nothing is recorded") {
		t.Error(err)
	}
	w.Close()
	if recorder.ProcessState == nil {
		t.Error("the recorder runs on")
	}
}

func TestASessionSaysWhatItSaw(t *testing.T) {
	m := recordingMachine(t)
	if err := m.recordWeb(false, false, nil, reads("c1", "/srv/a"), reads("c2", "/srv/a"), reads("c1", "/srv/a")); err != nil {
		t.Fatal(err)
	}
	all, on, err := recorder.Sessions(t.Context(), m.Store)
	if err != nil || len(all) != 1 || on["web"] {
		t.Fatalf("%v, %v, %v", all, on, err)
	}
	if s := all[0]; s.Seen != 3 || s.Kept != 1 || len(s.Profiles) != 2 || s.Ended.IsZero() || len(s.Lost) != 0 {
		t.Errorf("%+v", s)
	}
	m.run("profile", "learn", "status")
	if out := m.transcript.String(); !strings.Contains(out, "web: was recorded until 20") || !strings.Contains(out, "2 containers, 3 records") {
		t.Error(out)
	}
}

// Whoever asks how containers of the policy are confined hears that they are not.
func TestARecordedPolicyIsWarnedOf(t *testing.T) {
	m := newNodeWithContainers(t)
	m.State.Host.Recordings = "run/recordings"
	b, err := profile.Parse(kerneltest.Blob("x", recording.NameFor("web", "", "")))
	if err != nil {
		t.Fatal(err)
	}
	held, err := m.State.Host.Recordings.Begin("web", b)
	if err != nil {
		t.Fatal(err)
	}
	said := func(args ...string) bool {
		m.transcript.Reset()
		m.run(args...)
		return strings.Contains(strings.Join(strings.Fields(m.transcript.String()), " "), "policy web is being recorded")
	}
	commands := [][]string{{"policy", "explain", "--engine", "docker", "--annotation", "oci-apparmor/policy=web"}, {"status"}, {"status", "--check"}}
	for _, args := range commands {
		if !said(args...) {
			t.Errorf("%q says nothing of it:\n%s", args, m.transcript.String())
		}
	}
	if _, out := m.run("status", "--json"); !strings.Contains(out, `"recorded": ["web"]`) {
		t.Error(out)
	}
	if err := held.End(); err != nil {
		t.Fatal(err)
	}
	for _, args := range commands {
		if said(args...) {
			t.Errorf("%q says it of a recording that has ended", args)
		}
	}
}

func TestWhatCannotBeRecorded(t *testing.T) {
	m := recordingMachine(t)
	r := &recorder.Recorder{Node: m.Node, Recordings: "run/recordings", Open: func(context.Context) (source.Proving, error) {
		return nil, fmt.Errorf("the source is dead")
	}}
	for policy, want := range map[string]string{"none": "has no policy none", "free": "leaves containers as their engines", "web": "is dead", "../x": "has no policy"} {
		if err := r.Record(t.Context(), policy, func() error { t.Error("it has begun"); return nil }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", policy, err, want)
		}
	}
}
