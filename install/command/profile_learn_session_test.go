package command

import (
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/recorder"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
)

// given is a source of lines that a test gives, of which some are lost.
type given struct {
	lines chan string
	lost  []source.Loss
}

func (given) Name() string          { return source.Multicast }
func (g given) Lost() []source.Loss { return g.lost }
func (given) Close() error          { return nil }

func (g given) Next(ctx context.Context, e *source.Entry) error {
	select {
	case line, more := <-g.lines:
		if !more {
			return io.ErrUnexpectedEOF
		}
		if _, ok := e.Record.Parse([]byte(line)); !ok {
			return fmt.Errorf("not a record: %s", line)
		}
		e.Kernel = true
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// recordWeb records policy web while the lines come, and returns the error of the recorder. Of a source that fails, there are no
// more lines after these.
func (m *machine) recordWeb(anew, fails bool, lost []source.Loss, lines ...string) error {
	m.t.Helper()
	g := given{make(chan string), lost}
	r := &recorder.Recorder{Node: m.Node, Recordings: "run/recordings", Open: func(context.Context) (source.Source, error) { return g, nil },
		Anew: anew, Drain: time.Millisecond}
	ctx, stop := context.WithCancel(m.t.Context())
	defer stop()
	begun, ended := make(chan bool), make(chan error, 1)
	go func() { ended <- r.Record(ctx, "web", func() { close(begun) }) }()
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
	if err := m.recordWeb(false, true, nil, reads("c4", "/srv/d")); err == nil {
		t.Error("a source that fails is no error")
	}
	m.run("profile", "learn", "finish", "web")
	if err := m.recordWeb(true, false, nil, reads("c5", "/srv/e")); err != nil {
		t.Fatal(err)
	}
	m.run("profile", "learn", "finish", "web", "--exactly")
	m.golden(dir)
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

func TestWhatCannotBeRecorded(t *testing.T) {
	m := recordingMachine(t)
	r := &recorder.Recorder{Node: m.Node, Recordings: "run/recordings", Open: func(context.Context) (source.Source, error) {
		return nil, fmt.Errorf("the source is dead")
	}}
	for policy, want := range map[string]string{"none": "has no policy none", "free": "leaves containers as their engines", "web": "is dead", "../x": "has no policy"} {
		if err := r.Record(t.Context(), policy, func() { t.Error("it has begun") }); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", policy, err, want)
		}
	}
}
