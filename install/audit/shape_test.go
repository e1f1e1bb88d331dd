package audit

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

// A repeat is made of the record before it, and is the same event as if it were not.
func TestARepeatHasItsOwnFields(t *testing.T) {
	var s shapes
	now := time.Now()
	for _, record := range []string{
		readShadow + "\x1dUID=\"root\"",
		`"DENIED" operation="dbus_method_call" bus="system" name=6120 mask="send" pid=%d label="web" peer_pid=%[1]d peer_label="x"`,
		`"DENIED" operation="open" pid=%d profile="web" name="/a" pid=%[1]d`,
	} {
		for _, pid := range []int{7, 8, 7, 4711} {
			line := avc(now, fmt.Sprintf(record, pid))
			if strings.Contains(record, "dbus") {
				_, message, _ := strings.Cut(line, "): ")
				line = fmt.Sprintf("type=USER_AVC msg=audit(%d.000:%d): pid=1 uid=2 msg='%s exe=\"/usr/bin/dbus-daemon\" sauid=102'", now.Unix(), serial, message)
			}
			var e source.Entry
			if _, ok := e.Record.Parse([]byte(line)); !ok {
				t.Fatal(line)
			}
			got, want := s.event(&e, false), eventOf(&e)
			want.content = got.content
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s\n%+v\nwant\n%+v", line, got, want)
			}
		}
	}
	if len(s.known) != 3 {
		t.Errorf("%d records differ, want 3", len(s.known))
	}
}

// Records that differ in where they name a process, or whether, are no repeats of each other.
func TestARepeatNamesProcessesWhereTheFirstDoes(t *testing.T) {
	for _, records := range [][]string{
		{`pid=7 name="/a"`, `name="/a"`},
		{`name="/a"`, `name="/a" pid=7`},
		{`pid=7 name="/a"`, `name="/a" pid=8`},
		{`name="/a" pid=7`, `name="/a" peer_pid=7 pid=8`},
		{`name="/a" peer_pid=7`, `name="/a" pid=7`},
		{`pid=7 name="/a" pid=7`, `pid=8 name="/a" pid=7`},
		{`pid=7 name="/a" pid=7`, `pid=7 name="/a" pid=8`},
	} {
		var s shapes
		for _, record := range records {
			var e source.Entry
			line := avc(time.Now(), `"DENIED" operation="open" profile="web" `+record)
			if _, ok := e.Record.Parse([]byte(line)); !ok {
				t.Fatal(line)
			}
			got, want := s.event(&e, false), eventOf(&e)
			want.content = got.content
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%q, %s:\n%+v\nwant\n%+v", records, record, got, want)
			}
		}
	}
}

// A log has thousands of processes that have ended, and their containers are looked for once if no pid tells them apart.
func TestWhatIsTheSameForAllProcessesIsLookedForOnce(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	m.create("web-2", 102, "")
	j := &Joiner{Node: m.Node, Least: time.Millisecond}
	at := time.Now()
	for pid := range 1000 {
		s := Subject{Time: at, PID: gonePID + pid, Profile: "web"}
		if joined := j.Join(s, j.Look(s)); len(joined.Candidates) != 2 {
			t.Fatalf("of process %d: %+v", pid, joined)
		}
	}
	if len(j.found) != 1 {
		t.Errorf("%d answers are kept, want 1", len(j.found))
	}
	m.end("web-2", 102) // when it had what process is known, and tells processes apart
	for pid, want := range map[int]string{102: "web-2", gonePID: ""} {
		s := Subject{Time: at, PID: pid, Profile: "web"}
		j.mu.Lock()
		j.look()
		j.mu.Unlock()
		joined := j.Join(s, j.Look(s))
		if c := joined.Container; want == "" && c != nil || want != "" && (c == nil || c.ID != want) {
			t.Errorf("of process %d: %+v, want %s", pid, joined, want)
		}
	}
}
