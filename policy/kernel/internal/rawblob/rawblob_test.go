package rawblob_test

import (
	"crypto/sha256"
	"encoding/binary"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel/internal/rawblob"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// What apparmor_parser compiled is read as package profile reads it.
func TestWalkAgreesWithParse(t *testing.T) {
	files, err := filepath.Glob("../../../profile/testdata/*.blob")
	if err != nil || len(files) == 0 {
		t.Fatalf("no compiled profiles to read: %v", err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := profile.Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		got, err := rawblob.Walk(data)
		if err != nil || len(got) != len(want.Profiles) {
			t.Fatalf("%s: %d profiles, want %d: %v", file, len(got), len(want.Profiles), err)
		}
		for i, p := range got {
			sum := sha256.Sum256(append(binary.LittleEndian.AppendUint32(nil, p.Version), p.Body...))
			if p.Name != want.Profiles[i].Name || sum != want.Profiles[i].SHA256 || p.Namespace {
				t.Errorf("%s: %q with hash %x, want %q with %x", file, p.Name, sum, want.Profiles[i].Name, want.Profiles[i].SHA256)
			}
		}
	}
}

func TestWalkTakesWhatIsNotOurs(t *testing.T) {
	got, err := rawblob.Walk(kerneltest.Attached("1", "/usr/sbin/cupsd", "/usr/sbin/cupsd"))
	if err != nil || len(got) != 1 || got[0].Name != "/usr/sbin/cupsd" || got[0].Namespace {
		t.Errorf("%+v, %v", got, err)
	}
	// A header with a namespace, as `apparmor_parser -n` writes it, between the version and the profile.
	blob := string(kerneltest.Blob("1", "web"))
	const at = 3 + len("version\x00") + 5
	got, err = rawblob.Walk([]byte(blob[:at] + "\x04\x0a\x00namespace\x00\x05\x03\x00ns\x00" + blob[at:]))
	if err != nil || len(got) != 1 || got[0].Name != "web" || !got[0].Namespace {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestWalkRefusesWhatIsCut(t *testing.T) {
	blob := kerneltest.Blob("1", "web")
	for n := range blob {
		if got, err := rawblob.Walk(blob[:n]); err == nil {
			t.Errorf("%d of %d bytes: %+v", n, len(blob), got)
		}
	}
	for _, s := range []string{"\x06\xff\xff\xff\xff", "\x05\x00\x00", "\x0d", strings.Repeat("\x07", 100)} {
		if got, err := rawblob.Walk([]byte(s)); err == nil {
			t.Errorf("%q: %+v", s, got)
		}
	}
}

func FuzzWalk(f *testing.F) {
	f.Add(kerneltest.Blob("1", "web", "web//kid"))
	f.Add(kerneltest.Attached("1", "/usr/sbin/cupsd", "/usr/sbin/*"))
	f.Add([]byte("\x04\x08\x00version\x00\x02\x07\x20\x20\x00" +
		"\x04\x08\x00profile\x00\x07\x05\x02\x00a\x00\x06\xff\xff\xff\xff\x08"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := rawblob.Walk(data)
		if (err == nil) != (len(got) > 0) {
			t.Errorf("%d profiles, %v", len(got), err)
		}
		// What package profile takes, this takes, too.
		if want, err2 := profile.Parse(data); err2 == nil && (err != nil || len(got) != len(want.Profiles)) {
			t.Errorf("%d profiles, %v; Parse has %d", len(got), err, len(want.Profiles))
		}
	})
}
