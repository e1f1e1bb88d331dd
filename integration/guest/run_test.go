package guest

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// A played machine is a program of the shell, which has the guest's ports as its file descriptors 3 and 4.
type played struct {
	script  string
	mayStop bool
}

func (p played) command(_ *Image, b boot) (*exec.Cmd, error) {
	cmd := exec.Command("sh", "-c", p.script)
	cmd.Env = append(os.Environ(), "CONSOLE="+b.console)
	return cmd, nil
}
func (p played) ports() string { return "serial" }
func (p played) stops() bool   { return p.mayStop }

// A kernel in user mode that ends by a fault of its own counts as one that has stopped. One under QEMU, or that ends by
// something else, does not.
func TestAFaultOfUserModeIsAStop(t *testing.T) {
	if err := need("mke2fs"); err != nil {
		t.Skip(err)
	}
	image := &Image{Guest: Guest{Suite: "forky"}, Dir: t.TempDir()}
	const fault, other = "echo '" + userModeFault + "' >>$CONSOLE", "echo 'Kernel panic - not syncing: Attempted to kill init!' >>$CONSOLE"
	for _, test := range []struct {
		machine played
		stopped bool
	}{{played{fault, true}, true}, {played{fault, false}, false}, {played{other, true}, false}} {
		_, err := image.runIn(t.Context(), test.machine, Job{Command: []string{"true"}})
		if err == nil || errors.Is(err, ErrStopped) != test.stopped {
			t.Errorf("%+v: %v", test.machine, err)
		}
	}
}

func TestSilentGuestIsEnded(t *testing.T) {
	if err := need("mke2fs"); err != nil {
		t.Skip(err)
	}
	const silence = 500 * time.Millisecond
	image := &Image{Guest: Guest{Suite: "forky"}, Dir: t.TempDir()}
	for name, test := range map[string]struct {
		machine played
		silent  bool
	}{
		"it says nothing":            {played{"exec sleep 100", true}, true},
		"it stops":                   {played{"echo words >&3; exec sleep 100", true}, true},
		"it goes on saying words":    {played{"for n in 1 2 3 4 5 6 7 8; do echo words >&3; sleep 0.1; done", true}, false},
		"its silence means no fault": {played{"sleep 1", false}, false},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			_, err := image.runIn(t.Context(), test.machine, Job{Command: []string{"true"}, Silence: silence})
			if err == nil || errors.Is(err, ErrStopped) != test.silent {
				t.Errorf("%v; want it to be told of as silent: %v", err, test.silent)
			}
			if test.silent && !strings.Contains(err.Error(), "written nothing for 500ms") {
				t.Error(err)
			}
			if took := time.Since(began); took > 60*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}
