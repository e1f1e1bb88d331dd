package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/containerd"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// What comes and goes leaves nothing: not in a shim that stays while 50 containers of its pod come and go, compared
// with a stock shim, and not on the node when 100 pods have come and gone in a row, and 20 at once (make test has fewer
// of each). It is crun that runs them, which starts several times as fast as runc where every instruction is emulated.
// Of the wrapper no process stays, so that fewer pods tell as much.
func TestContainerdPodsComeAndGo(t *testing.T) {
	guesttest.EachContainerd(t, func(t *testing.T, v guesttest.ContainerdVersion) {
		if !v.Present() {
			t.Skip("takes long, and is for the present containerd only")
		}
		c, engine := startCRI(t, v)
		asks := guesttest.Annotated("oci-apparmor/policy", "web")
		stock, stays := engine.Pod(t, guesttest.StockCrun.Name), engine.Pod(t, guesttest.ShimCrun.Name, asks)
		shim := shimOf(t, stays)
		t.Run("containers", func(t *testing.T) { leavesNothingInShim(t, c, stays, stock) })
		for _, arm := range []guesttest.Arm{guesttest.ShimCrun, guesttest.WrapperCrun} {
			t.Run(arm.Name, func(t *testing.T) {
				if arm.Name != guesttest.ShimCrun.Name {
					guesttest.Leave(t, "of the wrapper no process stays that could keep anything")
				}
				before := nodeUsage(t, c, shim)
				start := func(pod *guesttest.Pod, err error) (*guesttest.PodContainer, error) {
					if err != nil {
						return nil, err
					}
					return pod.TryStart(t, "front", podOps[:2])
				}
				inRow := 5
				if arm.Name == guesttest.ShimCrun.Name {
					inRow = guesttest.Count(t, 10, 100, "pods in a row")
				}
				began := time.Now()
				for range inRow {
					container, err := start(engine.TryPod(t, arm.Name, asks))
					if err != nil {
						t.Fatal(err)
					}
					wantPassesConfined(t, container)
					container.Pod.Remove(t)
				}
				t.Logf("%d pods in a row took %v", inRow, time.Since(began))
				wantUsage(t, c, shim, before)

				started := make([]*guesttest.PodContainer, guesttest.Count(t, 8, 20, "pods at once"))
				var wg sync.WaitGroup
				for i := range started {
					wg.Go(func() {
						var err error
						if started[i], err = start(engine.TryPod(t, arm.Name, asks)); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
				if t.Failed() {
					return
				}
				if n := len(guesttest.Shims(t)); n != len(started)+2 {
					t.Errorf("%d shims serve %d pods", n, len(started)+2)
				}
				for _, container := range started {
					wantPassesConfined(t, container)
					container.Pod.Remove(t)
				}
				wantUsage(t, c, shim, before)
			})
		}
		stays.Remove(t)
		stock.Remove(t)
		wantNoPods(t)
	})
}

// wantPassesConfined is wantPodConfined for a container of which there are many.
func wantPassesConfined(t *testing.T, c *guesttest.PodContainer) {
	t.Helper()
	if got, want := c.Answers(t, 2), []string{"web (enforce)", denied}; !slices.Equal(got, want) {
		t.Errorf("container %s: %q, want label and denied write %q", c.ID, got, want)
	}
}

// leavesNothingInShim has containers come and go in a pod of ours and in one whose shim is the stock one, and compares
// what that leaves in their shims.
func leavesNothingInShim(t *testing.T, c *guesttest.Containerd, ours, stock *guesttest.Pod) {
	pods := []*guesttest.Pod{ours, stock}
	shims := []int{shimOf(t, ours), shimOf(t, stock)}
	pass := func(n int) {
		for i := range n {
			for _, pod := range pods {
				container := pod.Start(t, fmt.Sprint("passes-", i), podOps[:2])
				if pod == ours {
					wantPassesConfined(t, container)
				}
				container.Remove(t)
			}
		}
	}
	look := func(shim int) usage {
		u := usage{files: files(t, shim)}
		u.rss, u.pss = memory(t, shim)
		return u
	}
	pass(10) // what is allocated once is there then
	running := goroutines(t, c, shims[0])
	before := [2]usage{look(shims[0]), look(shims[1])}
	after := before
	many := guesttest.Count(t, 20, 50, "containers of one pod")
	pass(many)
	defer func() {
		t.Logf("ours before and after: %+v, %+v; the stock shim: %+v, %+v", before[0], after[0], before[1], after[1])
	}()
	// What the last container had is closed a little later, and a shim collects its garbage every 30 seconds. What is
	// left of Go's heap then goes up and down by itself. A leak of 32 KiB for each of 50 containers would show: one
	// buffer of copied output.
	const tolerance = 1536
	waitFor(t, "our shim to have grown by no more than the stock one", func() bool {
		after = [2]usage{look(shims[0]), look(shims[1])}
		grown := func(of func(usage) int) int { return of(after[0]) - of(before[0]) - max(0, of(after[1])-of(before[1])) }
		return grown(func(u usage) int { return u.rss }) <= tolerance && grown(func(u usage) int { return u.pss }) <= tolerance &&
			after[0].files <= before[0].files
	})
	if n := goroutines(t, c, shims[0]); n > running {
		t.Errorf("the shim had %d goroutines before %d containers, and %d after", running, many, n)
	}
}

// shimOf returns the process id of a pod's shim, which is the parent of its pause container.
func shimOf(t *testing.T, pod *guesttest.Pod) int {
	t.Helper()
	_, parent, _ := strings.Cut(read(t, fmt.Sprintf("/proc/%d/status", pod.Pid(t))), "\nPPid:")
	pid, err := strconv.Atoi(strings.Fields(parent)[0])
	if err != nil || !slices.Contains(guesttest.Shims(t), pid) {
		t.Fatalf("the parent of the pause container, process %d (%v), is no shim", pid, err)
	}
	return pid
}

// A node has processes, by their command lines, and open files of containerd's and of a shim.
type node struct {
	processes        []string
	containerd, shim int
	records, mounts  int
}

func nodeUsage(t *testing.T, c *guesttest.Containerd, shim int) (n node) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if cmdline, err := os.ReadFile(dir + "/cmdline"); err == nil && len(cmdline) > 0 { // kernel threads have none
			n.processes = append(n.processes, strings.ReplaceAll(string(cmdline), "\x00", " "))
		}
	}
	slices.Sort(n.processes)
	n.containerd, n.shim = files(t, c.Pid()), files(t, shim)
	n.records, n.mounts = len(records(t)), len(guesttest.Mounts(t, containerd.State))
	return n
}

// wantUsage waits until the node is as it was.
func wantUsage(t *testing.T, c *guesttest.Containerd, shim int, before node) {
	t.Helper()
	var after node
	defer func() {
		if t.Failed() {
			t.Logf("before %+v\nafter  %+v", before, after)
		}
	}()
	waitFor(t, "all that pods had to be gone", func() bool {
		after = nodeUsage(t, c, shim)
		return slices.Equal(after.processes, before.processes) && after.containerd <= before.containerd && after.shim <= before.shim &&
			after.records == before.records && after.mounts == before.mounts
	})
}

// usage is what a shim takes: memory in KiB, open files.
type usage struct{ rss, pss, files int }

// stacks is the list of its goroutines that a shim writes to its log on SIGUSR1 (containerd's pkg/shim/shim.go).
var (
	stacks    = regexp.MustCompile(`(?s)BEGIN goroutine stack dump.*?END goroutine stack dump`)
	goroutine = regexp.MustCompile(`goroutine \d+ \[`)
)

// memory returns the resident memory of a process and its share of what others use, too, in KiB.
func memory(t *testing.T, pid int) (rss, pss int) {
	t.Helper()
	for line := range strings.Lines(read(t, fmt.Sprintf("/proc/%d/smaps_rollup", pid))) {
		fields := strings.Fields(line)
		switch fields[0] {
		case "Rss:":
			rss, _ = strconv.Atoi(fields[1])
		case "Pss:":
			pss, _ = strconv.Atoi(fields[1])
		}
	}
	return rss, pss
}

// files returns the number of files that a process has open.
func files(t *testing.T, pid int) int {
	t.Helper()
	open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// goroutines returns the number of a shim's goroutines.
func goroutines(t *testing.T, c *guesttest.Containerd, pid int) int {
	t.Helper()
	dumps := func() []string { return stacks.FindAllString(c.Log(t), -1) }
	n := len(dumps())
	if err := syscall.Kill(pid, syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the shim to list its goroutines", func() bool { return len(dumps()) > n })
	count := len(goroutine.FindAllString(dumps()[n], -1))
	if count <= 0 {
		t.Fatalf("no goroutines in %s", dumps()[n])
	}
	return count
}
