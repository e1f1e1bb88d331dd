package kernel_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
)

func TestList(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	if all, err := k.List(); err != nil || len(all) != 0 {
		t.Errorf("of an empty kernel: %v, %v", all, err)
	}
	m.Load(t, kerneltest.Blob("1", "web", "web//kid"))
	m.Load(t, kerneltest.Blob("1", "batch"))
	want := []kernel.Listed{{"", "batch", "enforce"}, {"", "web", "enforce"}, {"", "web//kid", "enforce"}}
	if all, err := k.List(); err != nil || !reflect.DeepEqual(all, want) {
		t.Errorf("%v, %v", all, err)
	}
	m.Write(t, "fs/profiles", "web (x) (enforce) (complain)\n/usr/bin/man (enforce)\n:lxd:web (kill)\n"+
		":lxd://web//kid (mixed)\ntwo\nlines (unconfined)\n (user)\n")
	want = []kernel.Listed{{"", "", "user"}, {"", "/usr/bin/man", "enforce"}, {"", "two\nlines", "unconfined"},
		{"", "web (x) (enforce)", "complain"}, {"lxd", "web", "kill"}, {"lxd", "web//kid", "mixed"}}
	if all, err := k.List(); err != nil || !reflect.DeepEqual(all, want) {
		t.Errorf("%v, %v", all, err)
	}
	m.Write(t, "fs/profiles", "web (enforce)\nhalf a li")
	if all, err := k.List(); err == nil {
		t.Errorf("a file that was cut off gives %v", all)
	}
}

// Without root the file profiles cannot be read, and the directories can.
func TestListWithoutRoot(t *testing.T) {
	m := kerneltest.New(t)
	m.Load(t, kerneltest.Blob("1", "web", "web//kid", "web//kid//kid"))
	m.Load(t, kerneltest.Blob("1", "batch"))
	k := m.Kernel()
	want, err := k.List()
	if err != nil || len(want) != 4 {
		t.Fatal(want, err)
	}
	if os.Geteuid() == 0 {
		got, err := k.Walk()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v, %v, want %v", got, err, want)
		}
		return
	}
	if err := os.Chmod(m.Dir+"/fs/profiles", 0); err != nil {
		t.Fatal(err)
	}
	if got, err := k.List(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
}

func TestDetails(t *testing.T) {
	m := kerneltest.New(t)
	m.Load(t, kerneltest.Blob("1", "web", "web//kid", "web//kid//kid"))
	k := m.Kernel()
	d, err := k.Details("web")
	if err != nil || d.Mode != "enforce" || d.Dir != "web.1" || d.Attach != "" || !strings.HasPrefix(d.Hash, "sha256:") ||
		!reflect.DeepEqual(d.Children, []string{"web//kid", "web//kid//kid"}) || d.Since.IsZero() {
		t.Errorf("%+v, %v", d, err)
	}
	kid, err := k.Details("web//kid")
	if err != nil || kid.Dir != "web.1/profiles/kid.2" || kid.Hash == d.Hash {
		t.Errorf("%+v, %v", kid, err)
	}
	m.Write(t, "fs/policy/profiles/web.1/attach", "/usr/bin/web\n")
	if d, err := k.Details("web"); err != nil || d.Attach != "/usr/bin/web" {
		t.Errorf("%+v, %v", d, err)
	}
	for _, name := range []string{"we", "", "web//", "web//k", "//", "../../x", "web//kid//kid//kid", "we\n\x1b[31m"} {
		if d, err := k.Details(name); !errors.Is(err, kernel.ErrNotLoaded) {
			t.Errorf("%q: %+v, %v", name, d, err)
		}
	}
}

func TestOwned(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	blob := kerneltest.Blob("1", "web")
	wantOwned := func(want bool, when string) {
		t.Helper()
		if got, err := k.Owned("web"); err != nil || got != want {
			t.Errorf("%s: %v, %v", when, got, err)
		}
	}
	wantOwned(false, "before")
	m.Load(t, blob)
	wantOwned(false, "loaded by somebody else")
	m.Remove(t, "web")
	ensure(t, k, want(t, blob))
	wantOwned(true, "loaded by us")
	m.Remove(t, "web")
	wantOwned(false, "removed")
	m.Load(t, blob)
	wantOwned(false, "removed, and loaded by somebody else")
}

func TestTasks(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	k.Proc = filepath.Join(m.Dir, "proc")
	task := func(pid, tid int, current, pending string) {
		for _, dir := range []string{fmt.Sprintf("%d", pid), fmt.Sprintf("%d/task/%d", pid, tid)} {
			dir = filepath.Join(k.Proc, dir)
			if err := os.MkdirAll(dir+"/attr/apparmor", 0o755); err != nil {
				t.Fatal(err)
			}
			m.Write(t, "proc/"+dir[len(k.Proc)+1:]+"/attr/apparmor/current", current+"\n")
			m.Write(t, "proc/"+dir[len(k.Proc)+1:]+"/attr/apparmor/exec", pending)
		}
	}
	task(12, 12, "unconfined", "")
	task(7, 8, "web//kid (enforce)", "")
	task(7, 7, "unconfined", "")
	task(9, 9, "unconfined", "a//&web (enforce)\n")
	task(10, 10, "website (enforce)", "")
	m.Write(t, "proc/7/comm", "sh\x1b\n")
	m.Write(t, "proc/7/cgroup", "3:cpu:/\n1:name=systemd:/old\n0::/docker/"+strings.Repeat("ab", 32)+"\n")
	if err := os.MkdirAll(k.Proc+"/11", 0o755); err != nil { // gone by the time its files are read
		t.Fatal(err)
	}
	tasks, err := k.Tasks()
	if err != nil || len(tasks) != 4 || tasks[0].PID != 7 || tasks[3].PID != 12 {
		t.Errorf("%+v, %v", tasks, err)
	}
	var using []int
	threads, err := k.Using("web")
	for _, t := range threads {
		using = append(using, t.TID)
	}
	if err != nil || !reflect.DeepEqual(using, []int{8, 9}) {
		t.Errorf("under web are %v, %v", using, err)
	}
	if got := k.Command(7); got != "sh\x1b" {
		t.Errorf("command %q", got)
	}
	if got := k.Cgroup(7); !strings.Contains(got, strings.Repeat("ab", 32)) {
		t.Errorf("control group %q", got)
	}
	if got := k.Cgroup(4711) + k.Command(4711); got != "" {
		t.Errorf("of no process: %q", got)
	}
}

// A process that starts another after it was listed, and ends before it is read or is under another label by then, does not
// hide the other, even if that has an id which the list had passed.
func TestUsingLooksAgain(t *testing.T) {
	for _, ends := range []bool{true, false} {
		m := kerneltest.New(t)
		k := m.Kernel()
		k.Proc = filepath.Join(m.Dir, "proc")
		dir := k.Proc + "/10/task/10/attr/apparmor"
		if err := errors.Join(os.MkdirAll(dir, 0o755), unix.Mkfifo(dir+"/current", 0o600)); err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			w, err := os.OpenFile(dir+"/current", os.O_WRONLY, 0) // waits until it is read
			child := k.Proc + "/5/task/5/attr/apparmor"
			err = errors.Join(err, os.MkdirAll(child, 0o755),
				os.WriteFile(child+"/current", []byte("web (enforce)\n"), 0o644))
			if ends {
				err = errors.Join(err, os.RemoveAll(k.Proc+"/10"))
			} else {
				_, wrote := w.WriteString("other (enforce)\n")
				err = errors.Join(err, wrote)
			}
			done <- errors.Join(err, w.Close())
		}()
		threads, err := k.Using("web")
		if err := errors.Join(err, <-done); err != nil || len(threads) != 1 || threads[0].PID != 5 {
			t.Errorf("ends %v: %+v, %v", ends, threads, err)
		}
	}
}

// Where no look ever gets to read all that it lists, nothing is known, unless something is found.
func TestUsingNeverTakesAnIncompleteLookForAnAnswer(t *testing.T) {
	for name, lost := range map[string]string{"gone": "", "without threads": "/task", "with a thread that is gone": "/task/11"} {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t)
			k := m.Kernel()
			k.Proc = filepath.Join(m.Dir, "proc")
			for _, dir := range []string{"/7/task/7/attr/apparmor", "/11" + lost} {
				if err := os.MkdirAll(k.Proc+dir, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			m.Write(t, "proc/7/task/7/attr/apparmor/current", "a (enforce)\n")
			if threads, err := k.Using("web"); !errors.Is(err, kernel.ErrUnsettled) || len(threads) > 0 {
				t.Errorf("%+v, %v", threads, err)
			}
			if threads, err := k.Using("a"); err != nil || len(threads) != 1 {
				t.Errorf("in use: %+v, %v", threads, err)
			}
			if err := os.RemoveAll(k.Proc + "/11"); err != nil {
				t.Fatal(err)
			}
			if threads, err := k.Using("web"); err != nil || len(threads) > 0 {
				t.Errorf("settled: %+v, %v", threads, err)
			}
		})
	}
}

// The mark is that 2,000 profiles take a few milliseconds.
func BenchmarkList(b *testing.B) {
	m := kerneltest.New(b)
	for i := range 2000 {
		m.Load(b, kerneltest.Blob("1", fmt.Sprintf("profile-%d", i)))
	}
	k := m.Kernel()
	b.ReportAllocs()
	for b.Loop() {
		if all, err := k.List(); err != nil || len(all) != 2000 {
			b.Fatal(len(all), err)
		}
	}
}

func TestRemove(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	blob := kerneltest.Blob("1", "web", "web//kid")
	ensure(t, k, want(t, blob))
	m.Load(t, kerneltest.Blob("1", "website"))
	busy := errors.New("busy")
	if err := k.Remove(t.Context(), "web", func() error { return busy }); err != busy {
		t.Errorf("%v", err)
	}
	if _, err := k.Details("web//kid"); err != nil {
		t.Errorf("a removal that was stopped: %v", err)
	}
	if err := k.Remove(t.Context(), "web", func() error { return nil }); err != nil {
		t.Error(err)
	}
	if all, err := k.List(); err != nil || len(all) != 1 || all[0].Name != "website" {
		t.Errorf("left is %v, %v", all, err)
	}
	if files, _ := filepath.Glob(m.Dir + "/state/owned.*"); len(files) != 0 {
		t.Errorf("it is still ours: %v", files)
	}
	if err := k.Remove(t.Context(), "web", func() error { return nil }); !errors.Is(err, kernel.ErrNotLoaded) {
		t.Errorf("again: %v", err)
	}
	if got := ensure(t, k, want(t, blob)); got.Done != kernel.Added {
		t.Errorf("loaded afterwards: %+v", got)
	}
}
