package recorder

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook"
)

// A lock may name a process that is gone, and whose number is another's by now.
func TestOnlyWhoHasTheLockIsEnded(t *testing.T) {
	h := home(t.TempDir())
	release, err := h.lock(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	process := exec.Command("sleep", "60")
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	defer process.Process.Kill()
	ended := make(chan bool)
	go func() {
		_ = process.Wait()
		release()
		close(ended)
	}()
	pid := process.Process.Pid
	started, _ := hook.StartOf(pid)

	for _, stands := range []string{"", fmt.Sprintf("%d %s1\n", pid, started), fmt.Sprintf("%d", pid), "-1 5\n", "0 5\n"} {
		if err := os.WriteFile(h.file("lock"), []byte(stands), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := h.take(t.Context(), 60*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%q: %v", stands, err)
		}
		if err := unix.Kill(pid, 0); err != nil {
			t.Fatalf("%q: another process was ended", stands)
		}
	}

	if err := os.WriteFile(h.file("lock"), fmt.Appendf(nil, "%d %s\n", pid, started), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := h.take(t.Context(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	<-ended
	again()
}
