// Package guesttest is for tests that run inside a guest: it skips them elsewhere, runs commands, makes containers and asks the kernel.
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
// A guest is one machine for all tests of a run, which run one after another: what a test loads or changes, it puts back (the helpers here do).
// When a test fails, the kernel's messages during it are logged.
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

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
)

// These variables tell a test where it is; TestGuests sets them.
const (
	SuiteVariable   = "OCI_APPARMOR_GUEST"
	VariantVariable = "OCI_APPARMOR_GUEST_VARIANT"
)

// Suite returns the Debian suite of the guest that this process runs in, or "" on any other machine.
func Suite() string { return os.Getenv(SuiteVariable) }

// Require skips the test, with a reason, unless it runs in a guest that was booted as usual.
func Require(t testing.TB) { t.Helper(); Need(t, guest.Variant{}) }

// Need skips the test, with a reason, unless it runs in a guest that was booted as the variant. The test's name has to match the variant's pattern,
// or else it is never run there: "NoAppArmor" for guest.NoAppArmor.
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

// Runtimes are the OCI runtimes that every guest has.
var Runtimes = []string{"runc", "crun"}

// EachRuntime runs the test as a subtest for every runtime, and skips it where Require does.
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

// Outcome is how a command ended.
type Outcome struct {
	Stdout, Stderr string
	Code           int // exit code, or -1 when a signal ended it
}

// patience is how long a command may take. Emulation is slow, but not as slow as that.
const patience = 2 * time.Minute

// Run runs a command to its end, with nothing on its standard input. The test fails when it could not be started, or not be ended in two minutes.
func Run(t testing.TB, name string, args ...string) Outcome {
	t.Helper()
	return RunCommand(t, exec.Command(name, args...))
}

// RunCommand is Run for a command with an environment, a directory or a standard input of its own; it sets Stdout and Stderr.
// Processes that the command leaves behind may keep these open; what they write is not waited for.
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

// MustRun is Run for a command that has to succeed. It gives its standard output without the newline at its end.
func MustRun(t testing.TB, name string, args ...string) string {
	t.Helper()
	outcome := Run(t, name, args...)
	if outcome.Code != 0 {
		t.Fatalf("%s %s: exit code %d\nstdout: %s\nstderr: %s", name, strings.Join(args, " "), outcome.Code, outcome.Stdout, outcome.Stderr)
	}
	return strings.TrimSuffix(outcome.Stdout, "\n")
}
