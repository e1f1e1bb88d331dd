package audit

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

// tries are events of a workload that tries another long name each time, as a source has them.
func tries(t *testing.T, n, length int) (all []*Event) {
	t.Helper()
	var s shapes
	var e source.Entry
	long := strings.Repeat("x", length)
	for i := range n {
		if _, ok := e.Record.Parse([]byte(avc(time.Now(), strings.Replace(fmt.Sprintf(readShadow, 7), "/etc/shadow", fmt.Sprintf("/%s/%d", long, i), 1)))); !ok {
			t.Fatal("no record")
		}
		all = append(all, s.event(&e, false))
		if s.size > mostShapesSize+10*length {
			t.Fatalf("of records that are read once, %d bytes are kept", s.size)
		}
	}
	return all
}

// A name can have eight thousand bytes: a number of groups bounds no memory.
func TestLongNamesFillNoMemory(t *testing.T) {
	var g Groups
	all := tries(t, 3000, 8000)
	size := 0
	for _, e := range all {
		g.Add(e)
	}
	for _, one := range g.All() {
		size += len(one.content)
	}
	if size > mostGroupsSize+10000 || g.Beyond == 0 || g.Beyond+len(g.All()) != len(all) {
		t.Errorf("%d groups of %d bytes are kept, and %d events beyond", len(g.All()), size, g.Beyond)
	}
	first := g.All()[0]
	if g.Add(all[0]) != first || first.Count != 2 {
		t.Error("what is kept is not counted any more")
	}
	g.Forget(func(one *Group) bool { return one == first })
	for g.Full() {
		g.Forget(func(one *Group) bool { return one == g.All()[0] })
	}
	if again := g.Add(all[0]); again == nil || again == first || again.Count != 1 || slices.Contains(g.All(), first) {
		t.Errorf("what was forgotten begins no new group: %+v", again)
	}
}

// A workload makes what it tried as many different things as it likes.
func TestASummaryOfManyDifferentTriesTakesNoTime(t *testing.T) {
	const n = 40000
	var groups []*Group
	for i := range 2 * n {
		tried := &notice.Notice{Message: fmt.Sprintf("%s%d", strings.Repeat("x", 100), i%n)}
		groups = append(groups, &Group{Event: &Event{Kind: Refusal, Notice: tried}, Count: 1})
	}
	begin := time.Now()
	containers, _ := Summarise(groups)
	if took := time.Since(begin); took > 3*time.Second {
		t.Errorf("it took %s", took)
	}
	if len(containers) != 1 || len(containers[0].Most) != n || containers[0].Most[0].N != 2 {
		t.Errorf("%d summaries", len(containers))
	}
}

// While the container of one is looked for, others wait, and no more of them than fit.
func TestFollowedLongNamesFillNoMemory(t *testing.T) {
	m := newMachine(t)
	ctx, stop := context.WithCancel(t.Context())
	src := steady{lines: make(chan string)}
	held, ended := make(chan bool), make(chan error)
	go func() {
		_, err := Read(ctx, &Joiner{Node: m.Node}, src, nil, Query{Follow: true, Elsewhere: true}, func(*Event) error {
			<-held
			return nil
		})
		ended <- err
	}()
	size := 0
	for full := false; !full && size < 2*mostSeenSize; {
		line := avc(time.Now(), strings.Replace(fmt.Sprintf(readShadow, 7), "/etc", strings.Repeat("/x", 4000), 1))
		select {
		case src.lines <- line:
			size += len(line)
		case <-time.After(200 * time.Millisecond):
			full = true
		}
	}
	if size < mostSeenSize/2 || size > mostSeenSize+mostSeenSize/10 {
		t.Errorf("%d bytes of records wait, want about %d", size, mostSeenSize)
	}
	close(held)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Once there are too many groups, events of other records may be bare. What is said of a log is the same.
func TestBareEventsSayTheSame(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	m.create("work-1", 102, "work")
	m.end("work-1", 102)
	var lines []string
	for i := range 300 {
		pid, profile := gonePID+i%7, "web"
		switch i % 5 {
		case 0:
			pid = 101
		case 1:
			profile = "work"
		}
		lines = append(lines, avc(time.Now(), fmt.Sprintf(`"DENIED" operation="open" class="file" profile=%q name="/srv/%d" pid=%d comm="cat" requested_mask="r" `+
			`denied_mask="r" fsuid=0 ouid=0`, profile, i%90, pid)))
	}
	read := func(q Query) (Result, []*Group) {
		path := filepath.Join(t.TempDir(), "log")
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := source.Open(t.Context(), path, source.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		g := Groups{size: mostGroupsSize - 10*len(lines[0])} // there is room for few
		if q.Bare != nil {
			q.Bare = g.Full
		}
		result, err := Read(t.Context(), &Joiner{Node: m.Node}, src, nil, q, func(e *Event) error {
			g.Add(e)
			return nil
		})
		if err != nil || g.Beyond == 0 || len(g.All()) < 2 {
			t.Fatalf("%v; %d groups, and %d events beyond", err, len(g.All()), g.Beyond)
		}
		return result, g.All()
	}
	for _, policy := range []string{"", "work"} {
		want, groups := read(Query{Policy: policy})
		got, bare := read(Query{Policy: policy, Bare: func() bool { return false }})
		if !reflect.DeepEqual(got, want) || want.Shown == 0 {
			t.Errorf("of policy %q: %+v, want %+v", policy, got, want)
		}
		for i, one := range groups {
			if one.Count != bare[i].Count || one.Sentence() != bare[i].Sentence() || one.Whose() != bare[i].Whose() {
				t.Errorf("of policy %q, group %d: %s %d times in %s, want %s %d times in %s", policy, i, bare[i].Sentence(), bare[i].Count, bare[i].Whose(),
					one.Sentence(), one.Count, one.Whose())
			}
		}
	}
}

// A process that begins after the first look has not written what was there before it.
func TestWhatIsPastIsNotOfAProcessThatBeginsNow(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	j := &Joiner{Node: m.Node, past: true}
	before := time.Now()
	if s := (Subject{Time: before, PID: 102, Profile: "work"}); j.Join(s, j.Look(s)).Container != nil {
		t.Fatal("there is no such process yet")
	}
	m.create("work-1", 102, "work")
	clear(j.kept) // that it is not there was kept for a while
	for _, one := range []struct {
		pid  int
		want string
	}{{101, "web-1"}, {102, ""}} {
		s := Subject{Time: before, PID: one.pid, Profile: "none"}
		joined := j.Join(s, j.Look(s))
		if c := joined.Container; joined.OnNode || one.want == "" && c != nil || one.want != "" && (c == nil || c.ID != one.want) {
			t.Errorf("a record of process %d: %+v, want container %q", one.pid, joined, one.want)
		}
	}
}
