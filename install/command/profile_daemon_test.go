package command

import (
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
)

func TestProfileDaemon(t *testing.T) {
	for _, test := range []struct {
		args                  []string
		flags, says, saysNone string
		file                  []string // words below [Service]
	}{
		{[]string{"dockerd"}, "flags=(complain,attach_disconnected", "make it anew with --mode enforce", "not compiled", []string{"AppArmorProfile=dockerd"}},
		{[]string{"containerd", "--mode", "enforce"}, "flags=(attach_disconnected", "AppArmorProfile=containerd", "In complain mode",
			[]string{"AppArmorProfile=containerd", "ExecStartPre=", "ExecStartPre=-+/sbin/modprobe", "overlay"}},
	} {
		m := newCompiling(t)
		code, text := m.run(append([]string{"profile", "daemon"}, test.args...)...)
		said := m.errOut.String()
		if got, want := strings.Count(text, test.flags), strings.Count(text, " flags=("); code != 0 || got != want || want < 5 {
			t.Errorf("%q: exit code %d, %d of %d profiles have %s; it says %s", test.args, code, got, want, test.flags, said)
		}
		name := test.args[0]
		if !strings.Contains(said, test.says) || strings.Contains(said, test.saysNone) || !strings.Contains(said, name+": it compiles, and the daemon may do nothing of ") {
			t.Errorf("%q: it says %s", test.args, said)
		}
		for _, in := range []string{said, text} { // of both, the whole file that systemd needs
			_, file, _ := strings.Cut(strings.ReplaceAll(in, "\n#", "\n"), "[Service]\n")
			file, _, _ = strings.Cut(file, "\n\n")
			if got := strings.Fields(file); !slices.Equal(got, test.file) {
				t.Errorf("%q: the file for systemd has %q, want %q", test.args, got, test.file)
			}
		}
		m.write(name, text)
		if code, out := m.run("profile", "check", name); code != 0 || !strings.Contains(out, "with its children apparmor_parser, ") || strings.Contains(out, "[peers]") {
			t.Errorf("profile check: exit code %d, %s%s", code, out, &m.errOut)
		}
	}
}

func TestProfileDaemonRefuses(t *testing.T) {
	dir := packageDir(t)
	m := newCompiling(t)
	m.run("profile", "daemon")
	m.run("profile", "daemon", "podman")
	m.run("profile", "daemon", "dockerd", "containerd")
	m.run("profile", "daemon", "dockerd", "--mode", "kill")
	m.run("profile", "daemon", "dockerd", "--features", "missing")
	m.golden(dir)
}

// What is printed is proven.
func TestProfileDaemonPrintsNothingThatItCannotCompile(t *testing.T) {
	m := newTestable(t) // without AppArmor
	code, text := m.run("profile", "daemon", "dockerd")
	if code != exit.Cannot || text != "" || !strings.Contains(m.errOut.String(), "--features") {
		t.Errorf("exit code %d, the text %q: %s", code, text, &m.errOut)
	}
	if code, text := m.run("profile", "daemon", "dockerd", "--features", "features"); code != 0 || !strings.Contains(text, "profile dockerd ") {
		t.Errorf("with --features: exit code %d, %q: %s", code, text, &m.errOut)
	}
}
