package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile/safefiletest"
)

// TestMain makes this binary an apply that kills itself before a given change to the disk, for
// TestCrashLeavesTheOldPolicyOrTheNew.
func TestMain(m *testing.M) {
	dir := os.Getenv("STORE_TEST_CRASH_DIR")
	if dir == "" {
		safefiletest.Main(m)
	}
	left, err := strconv.Atoi(os.Getenv("STORE_TEST_CRASH_AT"))
	if err == nil {
		err = applyStepwise(Store{Dir: dir}, os.Getenv("STORE_TEST_CRASH_TEXT"), func(what string) error {
			if left--; left < 0 {
				fmt.Println(what)
				return syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
			return nil
		})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func applyStepwise(s Store, text string, step func(string) error) error {
	ctx := context.Background()
	l, err := s.Lock(ctx)
	if err != nil {
		return err
	}
	defer l.Unlock()
	l.step = step
	_, _, err = l.Apply(ctx, twoProfiles(text), &parser{version: "1"}, Manifest{}, nil)
	return err
}

// steps returns what an apply does to the disk, in order.
func steps(t *testing.T, s Store, text string) []string {
	var list []string
	if err := applyStepwise(s, text, func(what string) error {
		list = append(list, what)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// before is the texts that were applied before the crash: the first apply on a machine, and one with things to prune.
var before = map[string][]string{"first": nil, "later": {"a", "b", "c"}}

// applied returns a store to which texts were applied, and the last of them.
func applied(t *testing.T, texts []string) (s Store, last string) {
	s = newStore(t)
	for _, text := range texts {
		apply(t, s, text)
		last = text
	}
	return s, last
}

func TestCrashLeavesTheOldPolicyOrTheNew(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, texts := range before {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, _ := applied(t, texts)
			list := steps(t, s, "new")
			apply(t, s, "next")
			want := normal(tree(t, s))
			if len(list) < 15 {
				t.Fatalf("an apply has %d steps: %q", len(list), list)
			}
			sawOld, sawNew := 0, 0
			for at, what := range list {
				s, old := applied(t, texts)
				cmd := exec.Command(program)
				cmd.Env = append(os.Environ(), "STORE_TEST_CRASH_DIR="+s.Dir, "STORE_TEST_CRASH_TEXT=new",
					"STORE_TEST_CRASH_AT="+strconv.Itoa(at))
				out, err := cmd.CombinedOutput()
				var exit *exec.ExitError
				if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("step %d (%s): the apply was not killed: %v, %s", at, what, err, out)
				}
				switch text, err := inForce(s); {
				case err != nil:
					t.Errorf("killed before %s: %v", what, err)
				case text == old:
					sawOld++
				case text == "new":
					sawNew++
				default:
					t.Errorf("killed before %s: in force is %q", what, text)
				}
				apply(t, s, "new")
				checkInForce(t, s, "new")
				apply(t, s, "next") // one that was killed while it removed what is old leaves that to the next change
				if d := differences(normal(tree(t, s)), want); d != nil {
					t.Errorf("killed before %s: after two more applies %q", what, d)
				}
			}
			if sawOld == 0 || sawNew == 0 {
				t.Errorf("the old policy was seen %d times and the new one %d times", sawOld, sawNew)
			}
		})
	}
}

// A step that fails leaves what was in force, and nothing lies about.
func TestFailureLeavesTheOldPolicy(t *testing.T) {
	full := &os.PathError{Op: "write", Path: "somewhere", Err: unix.ENOSPC}
	for name, texts := range before {
		t.Run(name, func(t *testing.T) {
			s, _ := applied(t, texts)
			list := steps(t, s, "new")
			want := normal(tree(t, s))
			for at, what := range list {
				if what == "sync ." {
					break // the switch has taken place
				}
				s, old := applied(t, texts)
				n := 0
				err := applyStepwise(s, "new", func(string) error {
					if n++; n == at+1 {
						return full
					}
					return nil
				})
				if !errors.Is(err, unix.ENOSPC) {
					t.Errorf("%s failed, and apply gives %v", what, err)
				}
				checkInForce(t, s, old)
				if files := tree(t, s); hasUnfinished(files) {
					t.Errorf("%s failed, and left something unfinished behind", what)
				}
				apply(t, s, "new")
				checkInForce(t, s, "new")
				if d := differences(normal(tree(t, s)), want); d != nil {
					t.Errorf("%s failed: after one more apply %q", what, d)
				}
			}
		})
	}
}

func hasUnfinished(files map[string]string) bool {
	for name := range files {
		if name != "." && strings.HasPrefix(filepath.Base(name), ".") {
			return true
		}
	}
	return false
}

// normal leaves out what tells the time.
func normal(files map[string]string) map[string]string {
	maps.DeleteFunc(files, func(name, _ string) bool { return filepath.Base(name) == "manifest.json" })
	return files
}
