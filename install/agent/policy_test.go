package agent

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// answering is a Child that answers as a test says, and writes down what it was asked.
type answering struct {
	sync.Mutex
	answers []ApplyAnswer // the last one stays
	fails   error
	asked   int
}

func (a *answering) child(_ context.Context, _ func(string), args ...string) ([]byte, error) {
	a.Lock()
	defer a.Unlock()
	a.asked++
	if !slices.Contains(args, "apply") {
		return nil, errors.New("it is asked for something else")
	}
	if a.fails != nil {
		return nil, a.fails
	}
	one := a.answers[0]
	if len(a.answers) > 1 {
		a.answers = a.answers[1:]
	}
	return json.Marshal(one)
}

func (a *answering) set(fails error, answers ...ApplyAnswer) {
	a.Lock()
	defer a.Unlock()
	a.answers, a.fails = answers, fails
}

func (a *answering) count() int {
	a.Lock()
	defer a.Unlock()
	return a.asked
}

// eventually waits until f holds.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatal("not so after a while: " + what)
}

func outcome(o Outcome, errs ...string) ApplyAnswer {
	return ApplyAnswer{Apply: Apply{Time: time.Now(), Outcome: o, Generation: 1, Errors: errs}}
}

// The policy is applied at the start and after changes of its files and of what these include; what came of it is in the
// state and in the log, once.
func TestPolicyFollowsItsFiles(t *testing.T) {
	config, other := t.TempDir(), filepath.Join(t.TempDir(), "abstraction")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(other, "1")
	write(config+"/policy.yaml", "1")
	first := outcome(Applied)
	first.Inputs = []string{other}
	var child answering
	child.set(nil, first)
	p, err := NewPolicy(config, t.TempDir(), child.child)
	if err != nil {
		t.Fatal(err)
	}
	var log lines
	a := New(Options{Dir: t.TempDir(), Log: log.log})
	a.Add(p, Pace{Quiet: 20 * time.Millisecond, Most: time.Second})
	defer start(t, a)()
	last := func() Apply {
		if l := a.State().Policy.Last; l != nil {
			return *l
		}
		return Apply{}
	}
	// Twice: the file that it includes was not watched when it was applied first.
	eventually(t, "applied", func() bool { return last().Outcome == Applied && child.count() == 2 })

	refused := outcome(Refused, "policy.yaml:1:1: no", "not applied")
	refused.Inputs = first.Inputs
	child.set(nil, refused)
	write(config+"/policy.yaml", "2")
	eventually(t, "refused", func() bool { return last().Outcome == Refused })
	write(other, "2")
	eventually(t, "applied again", func() bool { return child.count() == 4 })
	if a.State().part("policy").Problem != "" {
		t.Error("a policy with a fault in it is tried again and again")
	}
	if said := strings.Count(strings.Join(log.all, "\n"), "policy.yaml:1:1: no"); said != 1 {
		t.Errorf("said %d times", said)
	}

	child.set(nil, outcome(Failed, "no space left on device"), first)
	write(config+"/more", "3")
	eventually(t, "failed", func() bool { return strings.Contains(a.State().part("policy").Problem, "no space") })
	eventually(t, "tried again", func() bool { return last().Outcome == Applied && a.State().part("policy").Problem == "" })

	child.set(errors.New("it was killed"))
	write(config+"/more", "4")
	eventually(t, "the child fails", func() bool { return strings.Contains(a.State().part("policy").Problem, "it was killed") })
	child.set(nil, first)

	n := child.count()
	if err := os.Rename(config, config+".old"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "gone", func() bool {
		return strings.Contains(a.State().part("policy").Problem, config+" is gone: no policy is in force")
	})
	if err := os.Rename(config+".old", config); err != nil {
		t.Fatal(err)
	}
	eventually(t, "back", func() bool { return child.count() > n && a.State().part("policy").Problem == "" })
}

// What a child prints is bounded, its lines are passed on, and what it says where it fails is in the error.
func TestChild(t *testing.T) {
	sh := func(script string) (out, said string, err error) {
		b, err := run(t.Context(), func(line string) { said += line + "\n" }, "/bin/sh", "-c", script)
		return string(b), said, err
	}
	if out, said, err := sh(`echo answer; printf 'oci-apparmor: one\ntwo\033[1m\n' >&2`); out != "answer\n" || said != "one\ntwo [1m\n" || err != nil {
		t.Errorf("%q, %q, %v", out, said, err)
	}
	if _, said, err := sh(`echo why >&2; exit 3`); said != "" || err == nil || !strings.Contains(err.Error(), "exit status 3: why") {
		t.Errorf("%q, %v", said, err)
	}
	if _, _, err := sh(`kill -9 $$`); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Error(err)
	}
	if _, _, err := sh(`head -c 5000000 /dev/zero`); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := run(ctx, func(string) {}, "/bin/sh", "-c", "exec sleep 60"); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) > 10*time.Second {
		t.Error(err)
	}
}
