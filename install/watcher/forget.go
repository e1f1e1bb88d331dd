package watcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// forgetter is the profile under which the watcher uses a capability. It has no rule and only logs.
const forgetter = "oci-apparmor.watch"

// memory is the kernel's of which capabilities it has logged: audit_cache in security/apparmor/capability.c.
type memory struct {
	node *node.Node
	blob *profile.Blob // of the profile, once it is compiled
}

// forget has the kernel log the next capability that a profile lacks, whatever it has logged before.
//
// Before Linux 6.13 each processor remembers of which profile it logged the last one, and which ones it has logged. Of that
// profile it logs no such capability again, however long ago that was, until it logs one of another profile: what a
// container does every second would be silent after the first time. Kernels without commit 9b897132424f, which the stable ones of
// December 2024 have, too, remember the capabilities of all profiles together: once they have logged one of a container, they
// keep back another one that only some other container has used. So on every processor a thread under another profile
// uses a capability. After that the first of each profile is logged, and only that one for sure, which is enough to begin its
// time anew.
//
// Later kernels remember each capability for a second, and are not asked to forget. What they keep back follows within a second
// on one that they logged of the same process's credentials.
func (m *memory) forget(ctx context.Context) error {
	if m.node.LogsCapabilities() {
		return nil
	}
	if m.blob == nil {
		c, _, err := m.node.NewCompiler(ctx, "")
		if err != nil {
			return err
		}
		blob, err := c.Compile(ctx, forgetter, profile.Complain, "the watcher's profile", []byte("profile "+forgetter+" { }\n"))
		if err != nil {
			return err
		}
		m.blob = &blob
	}
	_, err := m.node.Kernel.Ensure(ctx, []kernel.Profile{{Name: forgetter, Compiled: m.blob.Profiles, OnDrift: profile.ReplaceAny,
		Blob: func() ([]byte, error) { return m.blob.Data, nil }}})
	if err != nil {
		return err
	}
	online, err := os.ReadFile("/sys/devices/system/cpu/online")
	if err != nil {
		return err
	}
	cpus, err := cpuList(strings.TrimSpace(string(online)))
	if err != nil {
		return err
	}
	for _, cpu := range cpus {
		if err := useCapability(cpu); err != nil {
			return fmt.Errorf("whether capabilities are logged again cannot be told, as none could be used on processor %d: %w", cpu, err)
		}
	}
	return nil
}

// cpuList reads a list of processors as the kernel writes it: 0-3,5.
func cpuList(s string) (all []int, err error) {
	for part := range strings.SplitSeq(s, ",") {
		first, last, several := strings.Cut(part, "-")
		from, err1 := strconv.Atoi(first)
		to, err2 := from, error(nil)
		if several {
			to, err2 = strconv.Atoi(last)
		}
		if err := errors.Join(err1, err2); err != nil || to < from || to > 1<<16 {
			return nil, fmt.Errorf("%q is no list of processors", s)
		}
		for i := from; i <= to; i++ {
			all = append(all, i)
		}
	}
	return all, nil
}

// useCapability has a thread under the profile use a capability on a processor. The thread ends with its goroutine, and with it
// the profile.
func useCapability(cpu int) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		result <- func() error {
			var on unix.CPUSet
			on.Set(cpu)
			if err := unix.SchedSetaffinity(0, &on); err != nil {
				return os.NewSyscallError("sched_setaffinity", err)
			}
			if err := changeProfile(forgetter); err != nil {
				return err
			}
			return askForCapability()
		}()
	}()
	return <-result
}

// askForCapability has the kernel ask whether the calling thread may use CAP_SETPCAP, and changes nothing: the thread is to lose a
// capability that there is not, which the kernel finds after it has asked (cap_prctl_drop in security/commoncap.c). No limit stands
// in for the capability, as RLIMIT_NICE does for that of a priority.
func askForCapability() error {
	const none = 1 << 10
	if err := unix.Prctl(unix.PR_CAPBSET_DROP, none, 0, 0, 0); err != unix.EINVAL {
		return os.NewSyscallError("prctl", err)
	}
	return nil
}

// changeProfile puts the calling thread under a profile.
func changeProfile(name string) error {
	f, err := os.OpenFile("/proc/thread-self/attr/current", os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("changeprofile " + name)
	return err
}
