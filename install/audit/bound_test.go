package audit

import (
	"context"
	"fmt"
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
		all = append(all, s.event(&e))
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
