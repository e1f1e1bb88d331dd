package wire

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// try wires the engine for a trial, and leaves that open.
func try(t *testing.T, tree Tree) (*Book, error) {
	t.Helper()
	b, err := Open(t.Context(), tree)
	if err != nil {
		return nil, err
	}
	d := NewDraft(tree)
	if _, err := b.Unwire(d, "engine", strip); err != nil {
		return b, err
	}
	without := d.Copy()
	wireEngine(t, d)
	return b, b.Try(Trial{Engine: "engine", Unit: "engine.service", PID: 7, Start: 8}, &Options{Via: "wrapper"}, d, without)
}

// A trial ends with what was written, or with what was there before; the next call finds one that a killed call has left.
func TestTrial(t *testing.T) {
	installed := newTree(t)
	must(t, install(t, installed))
	for _, recorded := range []bool{false, true} {
		for _, accepted := range []bool{false, true} {
			t.Run(fmt.Sprintf("recorded %v, accepted %v", recorded, accepted), func(t *testing.T) {
				tree := newTree(t)
				old := snapshot(t, tree.Root)
				if recorded { // by an install whose engine was not restarted
					must(t, install(t, tree))
				}
				b, err := try(t, tree)
				must(t, err)
				wantTree(t, "tried", snapshot(t, tree.Root), snapshot(t, installed.Root))
				b.Close() // as by a kill
				if _, err := Look(tree); err == nil {
					t.Error("it was looked at in a trial")
				}
				b, err = Open(t.Context(), tree)
				must(t, err)
				defer b.Close()
				if got := b.Trial(); got == nil || got.Unit != "engine.service" || got.PID != 7 || got.Start != 8 {
					t.Fatalf("the trial is %+v", got)
				}
				if err := b.Commit("engine", nil, NewDraft(tree), NewDraft(tree)); !errors.Is(err, errTrial) {
					t.Errorf("a commit in a trial: %v", err)
				}
				want := snapshot(t, installed.Root)
				if !accepted {
					for range 2 { // as by a call that was killed in it
						back, err := b.TakeBack(true)
						must(t, err)
						if !back {
							t.Error("it was not taken back")
						}
					}
					want = old
				}
				must(t, b.End())
				if _, wired := b.Wiring("engine"); wired != accepted || b.Trial() != nil {
					t.Errorf("wired: %v, trial: %v", wired, b.Trial())
				}
				wantTree(t, "ended", snapshot(t, tree.Root), want)
				b.Close()
				must(t, install(t, tree))
				must(t, uninstall(t, tree))
				wantTree(t, "uninstalled", snapshot(t, tree.Root), old)
			})
		}
	}
}

// What somebody has changed in a trial stays, and ours is taken out of it, also by a call after one that was killed in that.
func TestTrialThatOthersChange(t *testing.T) {
	for _, killed := range []string{"", "in it", "after it"} {
		tree := newTree(t)
		b, err := try(t, tree)
		must(t, err)
		write(t, tree.Root+"/etc/engine/main.conf", "key = 7\n"+ours, 0o640)
		fault := errors.New("pulled the plug")
		retake := func(tree Tree) error {
			back, err := b.TakeBack(true)
			must(t, err)
			if back || b.Before() != nil {
				t.Errorf("taken back: %v, wired before: %v", back, b.Before())
			}
			d := NewDraft(tree)
			_, err = b.Unwire(d, "engine", strip)
			must(t, err)
			return b.Retake(nil, d, d.Copy())
		}
		if killed != "" {
			if killed == "in it" {
				broken, _ := faulty(tree, 2, fault)
				b.tree = broken
			}
			if err := retake(tree); (err == nil) != (killed == "after it") {
				t.Errorf("killed %s: %v", killed, err)
			}
			b.Close()
			b, err = Open(t.Context(), tree)
			must(t, err)
		}
		must(t, retake(tree))
		must(t, b.End())
		if _, wired := b.Wiring("engine"); wired {
			t.Error("it is wired")
		}
		b.Close()
		want := snapshot(t, newTree(t).Root)
		want["/etc/engine/main.conf"] = strings.Replace(want["/etc/engine/main.conf"], "# mine\nkey = 1\n", "key = 7\n", 1)
		wantTree(t, "taken back, killed "+killed, snapshot(t, tree.Root), want)
		must(t, uninstall(t, tree))
		wantTree(t, "uninstalled", snapshot(t, tree.Root), want)
	}
}

// Where nobody can take ours out of what somebody has changed, all of it stays, so that uninstall can take it out later.
func TestTrialThatIsFinished(t *testing.T) {
	tree := newTree(t)
	b, err := try(t, tree)
	must(t, err)
	defer b.Close()
	write(t, tree.Root+"/etc/engine/main.conf", "key = 7\n"+ours, 0o640)
	if back, err := b.TakeBack(true); back || err != nil {
		t.Errorf("taken back: %v, %v", back, err)
	}
	must(t, b.Finish())
	must(t, b.End())
	b.Close()
	must(t, uninstall(t, tree))
	want := snapshot(t, newTree(t).Root)
	want["/etc/engine/main.conf"] = strings.Replace(want["/etc/engine/main.conf"], "# mine\nkey = 1\n", "key = 7\n", 1)
	wantTree(t, "uninstalled", snapshot(t, tree.Root), want)
}

// A fault in a step of Try leaves what was there, also where an earlier install has written it.
func TestFaultInATrial(t *testing.T) {
	fault := errors.New("pulled the plug")
	for _, recorded := range []bool{false, true} {
		for n := 1; ; n++ {
			tree := newTree(t)
			if recorded {
				must(t, install(t, tree))
			}
			before := snapshot(t, tree.Root)
			broken, count := faulty(tree, n, fault)
			b, err := try(t, broken)
			if *count < n {
				must(t, err)
				b.Close()
				break
			}
			if !errors.Is(err, fault) {
				t.Errorf("fault %d: %v", n, err)
			}
			b.Close()
			wantTree(t, fmt.Sprintf("fault %d", n), snapshot(t, tree.Root), before)
			b, err = Open(t.Context(), tree)
			must(t, err)
			if b.Trial() != nil {
				t.Errorf("fault %d: a trial is left", n)
			}
			b.Close()
		}
	}
}

// The process is killed before each step of a trial that is taken back. The next call takes it back, or has nothing to do.
func TestKilledInATrial(t *testing.T) {
	if at := os.Getenv("WIRE_TEST_KILL"); at != "" {
		tree := killedAt(t, at)
		b, err := try(t, tree)
		must(t, err)
		_, err = b.TakeBack(true)
		must(t, err)
		must(t, b.End())
		return
	}
	for n, killed := 1, true; killed; n++ {
		tree := newTree(t)
		old := snapshot(t, tree.Root)
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledInATrial$")
		cmd.Env = append(os.Environ(), "WIRE_TEST_KILL="+strconv.Itoa(n), "WIRE_TEST_ROOT="+tree.Root)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		killed = errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
		if !killed && err != nil {
			t.Fatalf("kill %d: %v\n%s", n, err, out)
		}
		b, err := Open(t.Context(), tree)
		must(t, err)
		if b.Trial() != nil {
			_, err := b.TakeBack(true)
			must(t, err)
			must(t, b.End())
		}
		b.Close()
		wantTree(t, fmt.Sprintf("killed at %d", n), snapshot(t, tree.Root), old)
		if !killed && n < 20 {
			t.Errorf("it took %d steps", n)
		}
	}
}
