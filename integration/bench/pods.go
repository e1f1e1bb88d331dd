package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// said is a test's hand that says what fails. testing.Benchmark keeps that for itself.
type said struct{ testing.TB }

func (s said) Log(args ...any)                   { fmt.Fprintln(os.Stderr, args...) }
func (s said) Logf(format string, args ...any)   { fmt.Fprintf(os.Stderr, format+"\n", args...) }
func (s said) Fatal(args ...any)                 { s.Helper(); fmt.Fprintln(os.Stderr, args...); s.FailNow() }
func (s said) Fatalf(format string, args ...any) { s.Helper(); s.Fatal(fmt.Sprintf(format, args...)) }
func (s said) Errorf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	s.Fail()
}
func (s said) Error(args ...any) { fmt.Fprintln(os.Stderr, args...); s.Fail() }

// once calls f with what the tests of guests use.
func once(f func(t testing.TB) error) error {
	err := errors.New("it has not ended")
	ran := false
	testing.Benchmark(func(b *testing.B) {
		if !ran {
			ran = true
			err = f(said{b})
		}
	})
	return err
}

// podStarts times pods and the kubelet's probes in them, through our shim and through the stock one, while the agent runs.
func podStarts(bin string, with containerdPrograms) error {
	agent, err := startAgent(bin)
	if err != nil {
		return err
	}
	defer agent.stop()
	return once(func(t testing.TB) error {
		c := guesttest.StartContainerd(t, guesttest.ContainerdVersion{Name: with.name, Bin: with.bin}, guesttest.ContainerdConfig{
			CRI: true, Links: map[string]string{"containerd-shim-runc-v2": filepath.Join(with.shims, "containerd-shim-runc-v2")},
		})
		c.MustCtr(t, "--namespace", "k8s.io", "images", "import", guesttest.Images(t))
		engine := guesttest.DialCRI(t, c.Socket)
		const n = 40
		arms := []guesttest.Arm{guesttest.Shim, guesttest.Stock}
		starts := make([]func() (time.Duration, error), len(arms))
		probes := make([]func() (time.Duration, error), len(arms))
		for i, a := range arms {
			starts[i] = func() (time.Duration, error) {
				began := time.Now()
				pod := engine.Pod(t, a.Name)
				pod.Start(t, "web", []string{"read /etc/passwd"})
				took := time.Since(began)
				pod.Remove(t)
				return took, nil
			}
			probed := engine.Pod(t, a.Name).Start(t, "web", []string{"read /etc/passwd"})
			probes[i] = func() (time.Duration, error) {
				began := time.Now()
				r, err := engine.ExecSync(context.Background(), &cri.ExecSyncRequest{ContainerId: probed.ID, Cmd: []string{"/bin/busybox", "true"}, Timeout: 60})
				if err == nil && r.ExitCode != 0 {
					err = fmt.Errorf("a probe ends with exit code %d: %s", r.ExitCode, r.Stderr)
				}
				return time.Since(began), err
			}
		}
		for _, one := range []struct {
			name string
			arms []func() (time.Duration, error)
			n    int
		}{
			{"a pod with one container, our shim with the agent ÷ the stock shim", starts, n},
			{"a probe's exec, our shim with the agent ÷ the stock shim", probes, 5 * n},
		} {
			times, err := compare(one.n, one.arms...)
			if err != nil {
				return err
			}
			ratio(one.name, 1.03, times[0], times[1], fmt.Sprintf("%d of each, containerd %s by its CRI", one.n, with.name),
				"a pod's two containers are decided about, asked for in the kernel and recorded")
		}
		return nil
	})
}
