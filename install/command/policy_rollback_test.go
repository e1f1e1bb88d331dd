package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
)

// contents reads what AppArmor's service is told, by file.
func contents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("apparmor.d/*")
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = string(data)
	}
	return all
}

func wantContents(t *testing.T, what string, want map[string]string) {
	t.Helper()
	got := contents(t)
	for path := range want {
		if got[path] != want[path] {
			t.Errorf("%s: %s is\n%swant\n%s", what, path, got[path], want[path])
		}
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d files, want %d", what, len(got), len(want))
	}
}

// A rollback puts back what was in force, for the kernel and for AppArmor's service, says what that changes, and is
// undone by another one. An apply puts the policy file in force again.
func TestRollback(t *testing.T) {
	m, _ := newBoots(t)
	if code, _ := m.run("policy", "rollback"); code != exit.Cannot || !strings.Contains(m.errOut.String(), "none was applied on this machine") {
		t.Errorf("without a policy: exit code %d, %s", code, &m.errOut)
	}
	m.run("policy", "apply")
	if code, _ := m.run("policy", "rollback"); code != exit.Cannot || !strings.Contains(m.errOut.String(), "there is nothing to go back to: generation 1 stays in force") ||
		strings.Contains(m.errOut.String(), "not applied") {
		t.Errorf("without one before: exit code %d, %s", code, &m.errOut)
	}
	first := contents(t)
	m.run("policy", "load")

	m.onlyShop("")
	m.run("policy", "apply")
	second := contents(t)

	code, out := m.run("policy", "rollback")
	if code != 0 || !strings.HasPrefix(out, "generation 3 is in force, with what generation 1 had, in place of generation 2\n") {
		t.Errorf("exit code %d, %s%s", code, out, &m.errOut)
	}
	for _, line := range []string{"  profile shop: gone\n", "  profile web: back\n", "  profile work: back\n", "  rule for everyone: as it was: web; may ask for work (before: keep)\n"} {
		if !strings.Contains(out, line) {
			t.Errorf("it does not say %q:\n%s", line, out)
		}
	}
	wantContents(t, "rollback", first)
	if _, out := m.run("policy", "show"); !strings.Contains(out, "\n  rollback  of generation 2: it has what generation 1 had") {
		t.Errorf("policy show does not say that it is a rollback:\n%s", out)
	}
	if _, out := m.run("policy", "load"); !strings.Contains(out, "web: is loaded already, with this content") {
		t.Errorf("policy load: %s%s", out, &m.errOut)
	}

	if code, out := m.run("policy", "rollback"); code != 0 || !strings.HasPrefix(out, "generation 4 is in force, with what generation 2 had") ||
		!strings.Contains(out, "  profile shop: back\n") {
		t.Errorf("exit code %d, %s%s", code, out, &m.errOut)
	}
	wantContents(t, "a second rollback", second)
	m.run("policy", "rollback")

	defer func() {
		if _, out := m.run("policy", "show"); strings.Contains(out, "rollback") {
			t.Errorf("policy show calls an apply one:\n%s", out)
		}
	}()
	if code, out := m.run("policy", "apply"); code != 0 || !strings.HasPrefix(out, "generation 6 is in force, in place of generation 5") {
		t.Errorf("apply: exit code %d, %s%s", code, out, &m.errOut)
	}
	wantContents(t, "apply", second)
	if code, out := m.run("policy", "apply"); code != 0 || !strings.Contains(out, "generation 6 stays in force") {
		t.Errorf("apply: exit code %d, %s%s", code, out, &m.errOut)
	}
}

// What cannot be put back whole is not put back: the present policy stays.
func TestRollbackIsRefused(t *testing.T) {
	for what, spoil := range map[string]func(m *machine) error{
		"a blob is gone": func(*machine) error {
			blobs, err := filepath.Glob("store/blobs/*")
			for _, b := range blobs {
				os.Truncate(b, 10)
			}
			return err
		},
		"a text was not kept":      func(*machine) error { return os.RemoveAll("store/generations/1/texts") },
		"its index is cut short":   func(*machine) error { return os.Truncate("store/generations/1/index", 40) },
		"others can write into it": func(*machine) error { return os.Chmod("store/generations/1", 0o777) },
	} {
		m, _ := newBoots(t)
		m.run("policy", "apply")
		m.onlyShop("")
		m.run("policy", "apply")
		before := contents(t)
		if err := spoil(m); err != nil {
			t.Fatal(err)
		}
		code, out := m.run("policy", "rollback")
		if code != exit.Cannot || !strings.Contains(m.errOut.String(), "not applied: the last good policy (generation 2) stays in force") {
			t.Errorf("%s: exit code %d, %s%s", what, code, out, &m.errOut)
		}
		wantContents(t, what, before)
	}
}

// What was compiled for a kernel with other features is put back, and it is said that it was.
func TestRollbackToAnotherKernelsProfiles(t *testing.T) {
	for what, upgraded := range map[string]bool{"the same kernel": false, "another kernel": true} {
		m, k := newBoots(t)
		m.run("policy", "apply")
		m.onlyShop("")
		if upgraded {
			k.Write(t, "fs/features/caps", "chown bpf\n")
		}
		m.run("policy", "apply")
		code, out := m.run("policy", "rollback")
		said := strings.Contains(m.errOut.String(), "the profiles of generation 1 were compiled for a kernel with other features")
		if code != 0 || said != upgraded || !upgraded && m.errOut.Len() > 0 {
			t.Errorf("%s: exit code %d, %s%s", what, code, out, &m.errOut)
		}
		// A second one puts back what was compiled for this kernel.
		if code, out := m.run("policy", "rollback"); code != 0 || m.errOut.Len() > 0 {
			t.Errorf("%s: exit code %d, %s%s", what, code, out, &m.errOut)
		}
	}
}
