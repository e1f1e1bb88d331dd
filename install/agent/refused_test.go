package agent

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
)

// What programs refuse while an agent runs is in its state, by engine, command and reason. What was refused before is not, and nothing else
// that they count makes the agent look. A table that somebody removes is made anew, and counts again.
func TestRefusals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "counts")
	programs := counts.New(path) // theirs
	refuse := func(n uint64, engine string, reason notice.Reason) {
		programs.Add(counts.Refusals.Plus(n, engine, "create", string(reason)))
		programs.Tell()
	}
	refuse(5, "containerd", notice.UnknownPolicy)
	a := New(Options{Dir: t.TempDir(), Log: func(line string) { t.Log(line) }})
	p := NewRefused(counts.New(path))
	looked := make(chan struct{}, 100)
	a.Add(&signalling{p, looked}, Pace{})
	end := start(t, a)
	defer end()
	<-looked
	is := func(want ...Refusal) func() bool {
		return func() bool {
			all := a.State().Refused
			for _, w := range want {
				found := false
				for _, f := range all {
					found = found || f.same(w) && f.Count == w.Count && !f.Last.IsZero()
				}
				if !found {
					return false
				}
			}
			return len(all) == len(want)
		}
	}
	if all := a.State().Refused; len(all) > 0 {
		t.Errorf("of what was refused before: %v", all)
	}
	one := Refusal{Engine: "containerd", Command: "create", Reason: string(notice.UnknownPolicy), Count: 2}
	refuse(2, one.Engine, notice.UnknownPolicy)
	eventually(t, "the refusals of containerd", is(one))
	two := Refusal{Engine: "docker", Command: "create", Reason: string(notice.Load), Count: 1}
	refuse(1, two.Engine, notice.Load)
	eventually(t, "the refusal of docker", is(one, two))

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another table", func() bool { _, err := os.Lstat(path); return err == nil })
	refuse(1, two.Engine, notice.Load) // as many as in the one before
	two.Count = 2
	eventually(t, "a refusal in another table", is(one, two))

	quiet := func() bool { // whether it looks no more
		for len(looked) > 0 {
			<-looked
		}
		select {
		case <-looked:
			return false
		case <-time.After(100 * time.Millisecond):
			return true
		}
	}
	eventually(t, "quiet", quiet)
	for range 10 {
		programs.Add(counts.Execs.With("docker", counts.Confined))
	}
	if !quiet() {
		t.Error("it looks where nothing was refused")
	}
}

// signalling is a part of which is heard when it has acted.
type signalling struct {
	Part
	acted chan<- struct{}
}

func (s *signalling) Act(ctx context.Context, r *Reporter) error {
	defer func() { s.acted <- struct{}{} }()
	return s.Part.Act(ctx, r)
}
