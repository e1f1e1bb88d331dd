package command

import (
	"errors"
	"maps"
	"os"
	"strings"
	"testing"
	"time"
)

// A policy file that is remembered counts as it was read, whichever policy is in force, and a change of it is found.
func TestARememberedPolicyFileCounts(t *testing.T) {
	const record = "store/seen"
	settled := func(m *machine) {
		t.Helper()
		for range 3 {
			time.Sleep(30 * time.Millisecond) // what has just been written is read again
			if code, _ := m.run("policy", "apply"); code != 0 {
				t.Fatalf("exit code %d, %s", code, &m.errOut)
			}
		}
		if data, err := os.ReadFile(record); err != nil || !strings.Contains(string(data), "etc/policy.yaml\tpolicy\t") ||
			!strings.Contains(string(data), "etc/profiles/shop\ttext\t") {
			t.Fatalf("neither policy file nor text is remembered: %v\n%s", err, data)
		}
	}
	for what, one := range map[string]struct {
		change func(m *machine) error
		says   string
		same   bool // what AppArmor's service is told stays, or comes back
	}{
		"nothing changes": {func(*machine) error { return nil }, "generation 2 stays in force", true},
		"another policy was put in force": {func(m *machine) error {
			if code, _ := m.run("policy", "rollback"); code != 0 {
				return errors.New(m.errOut.String())
			}
			return nil
		}, "generation 4 is in force, in place of generation 3", true},
		"another policy file of the same size and time": {func(m *machine) error {
			info, err := os.Stat("etc/policy.yaml")
			data, unread := os.ReadFile("etc/policy.yaml")
			m.write("etc/policy.yaml", strings.Replace(string(data), "assign:\n  - policy: keep\n", "assign: [{policy: keep}]\n\n", 1))
			return errors.Join(err, unread, os.Chtimes("etc/policy.yaml", info.ModTime(), info.ModTime()))
		}, "generation 3 is in force", true}, // the rule is in another line
		"another text of the same size and time": {func(m *machine) error {
			info, err := os.Stat("etc/profiles/shop")
			m.write("etc/profiles/shop", sound("shop", "  /b r,\n"))
			return errors.Join(err, os.Chtimes("etc/profiles/shop", info.ModTime(), info.ModTime()))
		}, "generation 3 is in force", false},
		"another profile of the same text": {func(m *machine) error {
			m.write("etc/policy.yaml", "version: 1\nprofiles:\n  other: {file: profiles/other}\nassign:\n  - policy: keep\n")
			m.write("etc/profiles/other", sound("other", ""))
			return nil
		}, "generation 3 is in force", false},
		"what is remembered is gone":       {func(*machine) error { return os.Remove(record) }, "generation 2 stays in force", true},
		"what is remembered is cut short":  {func(*machine) error { return os.Truncate(record, 200) }, "generation 2 stays in force", true},
		"what is remembered is somebody's": {func(*machine) error { return os.Chmod(record, 0o666) }, "generation 2 stays in force", true},
	} {
		m, _ := newBoots(t)
		m.run("policy", "apply")
		m.onlyShop("  /a r,\n")
		settled(m)
		before := contents(t)
		time.Sleep(30 * time.Millisecond)
		if err := one.change(m); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		code, out := m.run("policy", "apply")
		if code != 0 || !strings.Contains(out, one.says) {
			t.Errorf("%s: exit code %d, %s%s", what, code, out, &m.errOut)
		}
		if after := contents(t); maps.Equal(after, before) != one.same {
			t.Errorf("%s: AppArmor's service is told %q, and was %q", what, after, before)
		}
	}
}
