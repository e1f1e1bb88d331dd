package kernel_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
)

// hashesOf returns the content of everything loaded.
func hashesOf(t *testing.T, m kerneltest.Machine, names ...string) string {
	t.Helper()
	var all strings.Builder
	for _, name := range names {
		path, ok := m.Path(name)
		if !ok {
			t.Fatalf("%s is not loaded", name)
		}
		sum, err := os.ReadFile(path + "/sha256")
		if err != nil {
			t.Fatal(err)
		}
		all.Write(sum)
	}
	return all.String()
}

func TestPoisonedMachineIsCuredOnceAndNothingElseChanges(t *testing.T) {
	m := kerneltest.New(t)
	m.Load(t, kerneltest.Attached("1", "/usr/sbin/cupsd", "/usr/sbin/cupsd"))
	m.Load(t, kerneltest.Blob("1", "fam", "fam//kid"))
	m.Load(t, kerneltest.Blob("1", "old"))
	m.Load(t, kerneltest.Blob("2", "old"))
	names := []string{"/usr/sbin/cupsd", "fam", "fam//kid", "old"}
	before := hashesOf(t, m, names...)
	m.Poison(t)

	loaded := ensure(t, m.Kernel(), want(t, kerneltest.Blob("1", "web")))
	if !strings.Contains(loaded.Warning, "refused every new profile") {
		t.Errorf("no word of it: %+v", loaded)
	}
	if n := m.Writes(t); n != 3 { // ours, the cure, ours again
		t.Errorf("%d writes", n)
	}
	if after := hashesOf(t, m, names...); after != before {
		t.Errorf("changed:\n%s\n%s", before, after)
	}
	if again := ensure(t, m.Kernel(), want(t, kerneltest.Blob("1", "other"))); again.Warning != "" {
		t.Errorf("not cured: %+v", again)
	}
}

// What the kernel would not skip is no cure: the profile's content would change.
func TestCureWritesOnlyWhatIsCurrent(t *testing.T) {
	for name, prepare := range map[string]func(m kerneltest.Machine){
		"nothing loaded": func(kerneltest.Machine) {},
		"a child replaced since": func(m kerneltest.Machine) {
			m.Load(t, kerneltest.Blob("1", "fam", "fam//kid"))
			m.Load(t, kerneltest.Blob("2", "fam//kid"))
		},
		"bytes that are not those of the load": func(m kerneltest.Machine) {
			m.Load(t, kerneltest.Blob("1", "fam"))
			m.Write(t, "fs/policy/raw_data/0/raw_data", string(kerneltest.Blob("2", "fam")))
		},
		"a link to elsewhere": func(m kerneltest.Machine) {
			m.Load(t, kerneltest.Blob("1", "fam"))
			path, _ := m.Path("fam")
			link := path + "/raw_data"
			if err := errors.Join(os.Remove(link), os.Symlink("../../../../etc/passwd", link)); err != nil {
				t.Fatal(err)
			}
		},
		"a profile of a namespace": func(m kerneltest.Machine) { m.Load(t, kerneltest.Blob("1", ":ns:fam")) },
		"no bytes kept": func(m kerneltest.Machine) {
			m.Load(t, kerneltest.Blob("1", "fam"))
			path, _ := m.Path("fam")
			os.Remove(path + "/raw_data")
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t)
			prepare(m)
			m.Poison(t)
			err := refused(t, m.Kernel(), want(t, kerneltest.Blob("1", "web")), "raw_data", "apparmor_parser -R", "reboot")
			if !errors.Is(err, unix.EEXIST) {
				t.Errorf("no EEXIST: %v", err)
			}
			if n := m.Writes(t); n != 1 {
				t.Errorf("%d writes, want ours alone", n)
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("more than one line: %q", err)
			}
		})
	}
}

func TestCureIsTriedOnce(t *testing.T) {
	m := kerneltest.New(t)
	m.Load(t, kerneltest.Blob("1", "fam"))
	k := m.Kernel()
	writes := 0
	k.WriteReplace = func(blob []byte) error {
		writes++
		if string(blob) == string(kerneltest.Blob("1", "fam")) {
			return nil
		}
		return unix.EEXIST
	}
	err := refused(t, k, want(t, kerneltest.Blob("1", "web")), "reboot")
	if !errors.Is(err, unix.EEXIST) || writes != 3 {
		t.Errorf("%d writes: %v", writes, err)
	}
}

func TestCureGivesUpAfterAFewCandidates(t *testing.T) {
	m := kerneltest.New(t)
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		m.Load(t, kerneltest.Blob("1", name))
	}
	k := m.Kernel()
	writes := 0
	k.WriteReplace = func([]byte) error { writes++; return unix.EEXIST }
	refused(t, k, want(t, kerneltest.Blob("1", "web")), "reboot")
	if writes != 4 {
		t.Errorf("%d writes", writes)
	}
}
