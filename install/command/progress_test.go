package command

import (
	"context"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Who presses Ctrl-C is not told that a profile does not compile.
func TestStopped(t *testing.T) {
	m := newMachine(t)
	ctx, stop := context.WithCancel(t.Context())
	m.CompilerOf = func([]byte) (node.Compiler, error) { return stopping{fakeCompiler{m}, stop}, nil }
	m.write("etc/profiles/web", "profile web { file, }\n")
	m.write("etc/profiles/work", "profile work { file, }\n")
	code := run(ctx, m.session, []string{"policy", "apply"})
	if said := m.errOut.String(); code != exit.Cannot || !strings.Contains(said, "stopped by a signal") ||
		strings.Contains(said, "does not compile") || !strings.Contains(said, ": stopped\n") {
		t.Errorf("exit code %d, %q", code, said)
	}
}

// What is refused is not said to not compile.
func TestProgressOfWhatIsRefused(t *testing.T) {
	m := newMachine(t)
	err := &profile.TextError{Source: "web", Line: 4, Msg: "it denies nothing", Err: profile.ErrRefused}
	(&progress{session: m.session}).Report(store.Progress{Name: "web", Done: 1, Total: 2, Err: err})
	if said := m.errOut.String(); said != "1 of 2: web: refused\n" {
		t.Errorf("progress says %q", said)
	}
}

// stopping is a compiler that is stopped while it works, as apparmor_parser is killed.
type stopping struct {
	fakeCompiler
	stop func()
}

func (c stopping) Compile(ctx context.Context, _ string, _ profile.Mode, source string, _ []byte) (profile.Blob, error) {
	c.stop()
	return profile.Blob{}, &profile.TextError{Source: source, Msg: ctx.Err().Error(), Err: ctx.Err()}
}

// A policy in mode kill is told for what it does not kill.
func TestKillIsToldForWhatItDoesNotKill(t *testing.T) {
	p := &policy.Config{Profiles: []policy.Profile{{Name: "web", Mode: profile.Kill}, {Name: "work"}}}
	said := strings.Join(notes(p), "\n")
	if !strings.Contains(said, "mode kill (web) kills a process") || !strings.Contains(said, "signal") {
		t.Error(said)
	}
	p.Profiles[0].Mode = profile.Enforce
	if said := strings.Join(notes(p), "\n"); strings.Contains(said, "kill") {
		t.Error(said)
	}
}
