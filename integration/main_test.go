// Package integration tests the project where it has to work: with real runtimes, on real kernels that have AppArmor.
//
// The tests run in guests, virtual machines that package guest builds and boots, with the help of package guesttest.
// TestGuests starts them:
//
//	OCI_APPARMOR_GUESTS=all go test ./integration
//	OCI_APPARMOR_GUESTS=trixie go test ./integration -v -run TestGuests/trixie/TestSmoke
//
// Without that variable, and on any machine that is not a guest, they skip. A test says at its head in which guests it
// runs, and whether it is a long one: see guesttest.EnoughIn, guesttest.Leave and guesttest.Count.
package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// The smoke tests are about the guests themselves: when one of these fails, no other result means anything.

func TestSmokeKernelHasAppArmor(t *testing.T) {
	guesttest.Require(t)
	enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	if err != nil || strings.TrimSpace(string(enabled)) != "Y" {
		t.Fatalf("AppArmor is not enabled: %q, %v", enabled, err)
	}
	if label := guesttest.Label(t, os.Getpid()); label != "unconfined" {
		t.Errorf("the tests run as %q, want unconfined", label)
	}
	if profiles := guesttest.Profiles(t); len(profiles) > 0 {
		t.Errorf("profiles are loaded: %v, want none", profiles)
	}
}

// The suites stand for versions of runc. Debian's testing suite moves on, which is worth knowing and no fault.
func TestSmokeRuntimeVersions(t *testing.T) {
	guesttest.Require(t)
	want := map[string]string{"bookworm": "1.1.5", "trixie": "1.1.15", "forky": "1.3."}[guesttest.Suite()]
	line, _, _ := strings.Cut(guesttest.MustRun(t, "runc", "--version"), "\n")
	version := strings.TrimPrefix(line, "runc version ")
	switch digits, _, _ := strings.Cut(version, "+"); {
	case digits == want, strings.HasSuffix(want, ".") && strings.HasPrefix(digits, want):
	case guesttest.Suite() == "forky":
		t.Skipf("%s has runc %s now, and %sx is what the project says of it", guesttest.Suite(), version, want)
	default:
		t.Errorf("%s has runc %s, want %s", guesttest.Suite(), version, want)
	}
	line, _, _ = strings.Cut(guesttest.MustRun(t, "crun", "--version"), "\n")
	t.Logf("runc %s, %s", version, line)
}

// smokeProfile allows all but one write. It says who may send signals and trace, as kernels and runtimes differ in what
// they ask a profile for.
const smokeProfile = `
profile smoke flags=(attach_disconnected,mediate_deleted) {
	file,
	capability,
	network,
	mount,
	umount,
	signal,
	ptrace,
	unix,
	deny /etc/denied w,
}`

func TestSmokeProfileConfines(t *testing.T) {
	guesttest.EachRuntime(t, func(t *testing.T, runtime string) {
		guesttest.LoadProfile(t, smokeProfile)
		log := guesttest.KernelLog(t)
		c := guesttest.NewBundle(t, func(s *specs.Spec) { s.Process.ApparmorProfile = "smoke" }).Start(t, runtime)

		const label = "smoke (enforce)"
		if got := c.Label(t); got != label {
			t.Errorf("label from outside: %q, want %q", got, label)
		}
		for _, q := range []struct{ command, want string }{
			{"label", label},
			{"write /etc/denied", "errno EACCES"},
			{"write /etc/allowed", "ok"},
			{"read /etc/passwd", "ok"},
			{"read /etc/nothing", "errno ENOENT"},
			{"exec /bin/true", "ok"},
			{"mount /mnt", "errno EPERM"}, // the profile allows it, the capabilities do not
			{"kill-self-child", "self ok\nchild ok\nparent ok"},
			{"ptrace-child", "ok"},
		} {
			if got := c.Ask(t, q.command); got != q.want {
				t.Errorf("%s: %q, want %q", q.command, got, q.want)
			}
			if got := c.ExecProbe(t, strings.Fields(q.command)...); got != q.want {
				t.Errorf("exec'd %s: %q, want %q", q.command, got, q.want)
			}
		}
		log.WantNoDenials(t, "a profile whose deny rule is silent")
		if outcome := c.Exec(t, "/bin/sh", "-c", "echo words; exit 7"); outcome.Stdout != "words\n" || outcome.Code != 7 {
			t.Errorf("exec: %+v, want words and exit code 7", outcome)
		}
	})
}

func TestSmokeContainerRunsToItsEnd(t *testing.T) {
	guesttest.EachRuntime(t, func(t *testing.T, runtime string) {
		b := guesttest.NewBundle(t, func(s *specs.Spec) { s.Process.Args = []string{"sh", "-c", "probe label; cat; exit 3"} })
		if outcome := b.Run(t, runtime); outcome.Code != 3 || outcome.Stdout != "unconfined\n" {
			t.Errorf("%+v, want unconfined and exit code 3", outcome)
		}
	})
}

func TestSmokeRuntimeReportsUnknownProfile(t *testing.T) {
	guesttest.EachRuntime(t, func(t *testing.T, runtime string) {
		b := guesttest.NewBundle(t, func(s *specs.Spec) { s.Process.ApparmorProfile = "not-loaded" })
		c, outcome := b.TryStart(t, runtime)
		if c != nil || outcome.Stderr == "" {
			t.Errorf("started %v, said %q; want it to fail with a reason", c != nil, outcome.Stderr)
		}
	})
}

func TestSmokeNoAppArmorBoot(t *testing.T) {
	guesttest.Need(t, guest.NoAppArmor)
	if enabled, _ := os.ReadFile("/sys/module/apparmor/parameters/enabled"); strings.TrimSpace(string(enabled)) != "N" {
		t.Errorf("AppArmor is enabled: %q", enabled)
	}
	for _, name := range guesttest.Runtimes {
		b := guesttest.NewBundle(t)
		if got := b.Start(t, name).Ask(t, "write /etc/x"); got != "ok" {
			t.Errorf("%s: %q", name, got)
		}
	}
}
