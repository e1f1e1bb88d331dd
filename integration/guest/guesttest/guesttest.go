// Package guesttest is for tests that run inside a guest. It skips them elsewhere. It runs commands, makes containers and
// asks the kernel.
//
//	func TestSomething(t *testing.T) {
//		guesttest.EachRuntime(t, func(t *testing.T, runtime string) {
//			guesttest.LoadProfile(t, "profile web { file, deny /secret w, }")
//			b := guesttest.NewBundle(t, func(s *specs.Spec) { s.Process.ApparmorProfile = "web" })
//			c := b.Start(t, runtime)
//			if got := c.Ask(t, "write /secret"); got != "errno EACCES" { ... }
//		})
//	}
//
// All tests of a run share one guest, and run one after another. So a test must put back what it loads or changes; the
// helpers here do that. If a test fails, they log the kernel's messages during it.
package guesttest

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
)

// These environment variables say in which guest a test runs. TestGuests sets them.
const (
	SuiteVariable   = "OCI_APPARMOR_GUEST"
	VariantVariable = "OCI_APPARMOR_GUEST_VARIANT"
)

// Suite returns the Debian suite of the guest in which this process runs, or "" outside of a guest.
func Suite() string { return os.Getenv(SuiteVariable) }

// Require skips the test, with a reason, unless it runs in a guest after the usual boot.
func Require(t testing.TB) { t.Helper(); Need(t, guest.Variant{}) }

// Need skips the test, with a reason, unless it runs in a guest that was booted as the variant. The name of the test
// must match the variant's pattern, such as "NoAppArmor" for guest.NoAppArmor. Otherwise the test never runs there.
func Need(t testing.TB, v guest.Variant) {
	t.Helper()
	skipUnless(t, v)
	log := KernelLog(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the kernel's messages during the test:\n%s", strings.Join(log.Lines(t), "\n"))
		}
	})
}

func skipUnless(t testing.TB, v guest.Variant) {
	t.Helper()
	if Suite() == "" {
		t.Skip("needs a guest, a virtual machine with AppArmor: run it by TestGuests, with OCI_APPARMOR_GUESTS=all")
	}
	if booted := os.Getenv(VariantVariable); booted != v.Name && !(v.Name == "" && usual(booted)) {
		t.Skipf("needs a guest that is booted as %q; this one is booted as %q (\"\" is the usual way)", v.Name, booted)
	}
}

// usual reports whether the variant of that name is a guest like any other, which only runs other tests.
func usual(variant string) bool {
	return slices.ContainsFunc(guest.Variants, func(v guest.Variant) bool { return v.Name == variant && len(v.KernelArgs) == 0 })
}

// UserMode reports whether the guest's kernel runs in user mode, as guest.AccelVariable has it.
func UserMode(t testing.TB) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(text, []byte("User Mode Linux"))
}

// Emulated reports whether QEMU emulates the guest's processor, so that what runs there takes five to fifteen times as long.
func Emulated(t testing.TB) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(text, []byte("QEMU TCG CPU")) // as QEMU's processor "max" calls itself there (target/i386/cpu.c)
}

// kcmpVM is KCMP_VM of linux/kcmp.h: kcmp(2) compares the memory of two processes.
const kcmpVM = 1

// NeedKcmp skips the test where the kernel has no kcmp(2), without which CRIU saves nothing. A kernel in user mode has none.
func NeedKcmp(t testing.TB) {
	t.Helper()
	pid := uintptr(os.Getpid())
	if _, _, errno := unix.Syscall6(unix.SYS_KCMP, pid, pid, kcmpVM, 0, 0, 0); errno == unix.ENOSYS {
		t.Skip("this guest's kernel has no kcmp(2)")
	}
}

// Runtimes are the OCI runtimes that every guest has.
var Runtimes = []string{"runc", "crun"}

// EachRuntime runs the test as a subtest for each of Runtimes. It skips the test if Require does.
func EachRuntime(t *testing.T, test func(t *testing.T, runtime string)) {
	t.Helper()
	skipUnless(t, guest.Variant{})
	for _, runtime := range Runtimes {
		t.Run(runtime, func(t *testing.T) {
			Require(t)
			test(t, runtime)
		})
	}
}

// An Outcome is how a command ended.
type Outcome struct {
	Stdout, Stderr string
	Code           int // exit code, or -1 when a signal ended it
}

// patience is how long a command may take. Emulation is slow, but not as slow as that.
const patience = 2 * time.Minute

// Run runs a command to its end, with an empty standard input. It fails the test if the command cannot be started, or
// cannot be ended within two minutes.
func Run(t testing.TB, name string, args ...string) Outcome {
	t.Helper()
	return RunCommand(t, exec.Command(name, args...))
}

// RunCommand is Run for a command with its own environment, directory or standard input. It sets Stdout and Stderr.
// Processes that the command leaves may keep these open. RunCommand does not wait for their output.
func RunCommand(t testing.TB, cmd *exec.Cmd) Outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	late := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	err := cmd.Wait()
	outcome := Outcome{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
	if !late.Stop() {
		t.Fatalf("%s: not ended after %v\nstdout: %s\nstderr: %s", strings.Join(cmd.Args, " "), patience, outcome.Stdout, outcome.Stderr)
	}
	if err != nil && !errors.As(err, new(*exec.ExitError)) && !errors.Is(err, exec.ErrWaitDelay) {
		t.Fatalf("%s: %v", strings.Join(cmd.Args, " "), err)
	}
	return outcome
}

// MustRun is Run, and fails the test if the command fails. It returns the standard output without the newline at its
// end.
func MustRun(t testing.TB, name string, args ...string) string {
	t.Helper()
	outcome := Run(t, name, args...)
	if outcome.Code != 0 {
		t.Fatalf("%s %s: exit code %d\nstdout: %s\nstderr: %s", name, strings.Join(args, " "), outcome.Code, outcome.Stdout, outcome.Stderr)
	}
	return strings.TrimSuffix(outcome.Stdout, "\n")
}
