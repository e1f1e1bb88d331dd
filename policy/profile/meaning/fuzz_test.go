package meaning_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// ask puts each kind of question to each profile of a blob.
func ask(data []byte) {
	all, err := Read(data)
	if err != nil {
		return
	}
	for _, p := range all {
		p.File("/srv/secret/x")
		p.File("/home/me/\x00/srv/b")
		for _, peer := range []string{"unconfined", "web//&x", ""} {
			p.Signal(MayRead, SIGKILL, peer)
			p.Ptrace(MayWrite, peer)
		}
		for class := range 256 {
			p.Mediates(Class(class))
			p.Query(Class(class), "\x09unconfined")
		}
		for _, number := range []uint{0, 40, 1 << 20} {
			p.Capability(number)
		}
		_ = p.Mode.String()
	}
}

func seeds(t testing.TB) [][]byte {
	var list [][]byte
	for _, pattern := range []string{"testdata/*.permissions*", "../testdata/*.blob"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, data)
		}
	}
	return list
}

func FuzzRead(f *testing.F) {
	for _, data := range seeds(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { ask(data) })
}

// TestCutAndChanged reads blobs that are cut off at each byte, and such with each byte changed.
func TestCutAndChanged(t *testing.T) {
	for _, data := range seeds(t) {
		if _, err := Read(data); err != nil {
			t.Error(err)
		}
		step := 1
		if testing.Short() || len(data) > 4<<10 {
			step = 7
		}
		for i := 0; i < len(data); i += step {
			if all, err := Read(data[:i]); err == nil && len(all) == 0 {
				t.Fatalf("nothing is read from %d bytes without an error", i)
			}
			for _, change := range []byte{0x01, 0x80, 0xff} {
				changed := bytes.Clone(data)
				changed[i] ^= change
				ask(changed)
			}
		}
	}
}
