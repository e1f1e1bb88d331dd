package seen

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// read makes a file, and returns what an apply remembers that has read it when it was no longer new.
func read(t *testing.T) (path string, data []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	f := Parse(nil)
	f.Add(path, safefile.StampOf(&st), time.Now().Add(time.Hour), "this and that")
	data, changed := f.Bytes()
	if !changed {
		t.Error("a new file is no change")
	}
	return path, data
}

func TestAnUnchangedFileIsRemembered(t *testing.T) {
	path, data := read(t)
	for range 3 { // each apply writes down what the next one reads
		f := Parse(data)
		if as, ok := f.Unchanged(path); !ok || as != "this and that" {
			t.Fatalf("it is %q, %t:\n%s", as, ok, data)
		}
		again, changed := f.Bytes()
		if changed || string(again) != string(data) {
			t.Errorf("changed %t: %s", changed, again)
		}
	}
	if again, changed := Parse(data).Bytes(); !changed || strings.Contains(string(again), path) {
		t.Errorf("a file that nobody asked for is kept: %s", again)
	}
}

func TestAChangedFileIsRead(t *testing.T) {
	for what, change := range map[string]func(path string, info os.FileInfo) error{
		"other content of the same size and time": func(path string, info os.FileInfo) error {
			return errors.Join(os.WriteFile(path, []byte("CONTENT"), 0o600), os.Chtimes(path, info.ModTime(), info.ModTime()))
		},
		"another file of the same content, size and time": func(path string, info os.FileInfo) error {
			return errors.Join(os.WriteFile(path+".new", []byte("content"), 0o600), os.Chtimes(path+".new", info.ModTime(), info.ModTime()),
				os.Rename(path+".new", path))
		},
		"cut short":              func(path string, _ os.FileInfo) error { return os.Truncate(path, 3) },
		"others may write to it": func(path string, _ os.FileInfo) error { return os.Chmod(path, 0o666) },
		"a link to it": func(path string, _ os.FileInfo) error {
			return errors.Join(os.Rename(path, path+".away"), os.Symlink(path+".away", path))
		},
		"gone": func(path string, _ os.FileInfo) error { return os.Remove(path) },
		"moved away and back": func(path string, _ os.FileInfo) error {
			return errors.Join(os.Rename(path, path+".away"), os.Rename(path+".away", path))
		},
	} {
		path, data := read(t)
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond) // as long as a file is not settled
		if err := change(path, info); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		f := Parse(data)
		if as, ok := f.Unchanged(path); ok {
			t.Errorf("%s: it counts as %q", what, as)
		}
		if again, changed := f.Bytes(); !changed || strings.Contains(string(again), path) {
			t.Errorf("%s: it is remembered", what)
		}
	}
}

// A change right after the reading may have the time of the change before.
func TestAFileThatWasJustChangedIsNotRemembered(t *testing.T) {
	changed := time.Date(2026, 11, 29, 12, 0, 0, 123456789, time.UTC)
	whole := changed.Truncate(time.Second) // of a file system that keeps seconds
	for _, one := range []struct {
		ctime, now time.Time
		kept       bool
	}{
		{changed, changed, false},
		{changed, changed.Add(10 * time.Millisecond), false},
		{changed, changed.Add(-time.Hour), false}, // the clock was set back
		{changed, changed.Add(21 * time.Millisecond), true},
		{whole, whole.Add(2 * time.Second), false},
		{whole, whole.Add(4 * time.Second), true},
	} {
		f := Parse(nil)
		f.Add("/x", safefile.Stamp{Ctime: one.ctime.UnixNano()}, one.now, "x")
		if data, _ := f.Bytes(); strings.Contains(string(data), "/x") != one.kept {
			t.Errorf("changed %v, read %v later: %s", one.ctime, one.now.Sub(one.ctime), data)
		}
	}
}

// What was cut short or changed, or is in another form, says nothing of any file.
func TestADamagedRecordIsNotBelieved(t *testing.T) {
	path, data := read(t)
	for i := range data {
		if _, ok := Parse(data[:i]).Unchanged(path); ok {
			t.Errorf("it is believed with only %d of %d bytes", i, len(data))
		}
		other := append([]byte{}, data...)
		other[i] ^= 1
		if _, ok := Parse(other).Unchanged(path); ok {
			t.Errorf("it is believed with another byte %d", i)
		}
	}
	for _, line := range []string{"", "x", path, path + "\t1", path + strings.Repeat("\t1", 8), path + strings.Repeat("\t-", 9)} {
		body := []byte(line + "\n")
		f := Parse(fmt.Appendf(nil, "%s\n%s", heading(body), body))
		if _, ok := f.Unchanged(path); ok {
			t.Errorf("%q is believed", line)
		}
	}
}

func TestNamesThatNoLineHoldsAreNotRemembered(t *testing.T) {
	f := Parse(nil)
	f.Add("/a\n/b", safefile.Stamp{}, time.Now(), "x")
	f.Add("/a", safefile.Stamp{}, time.Now(), "x\ty")
	if data, changed := f.Bytes(); changed {
		t.Errorf("%q", data)
	}
}

func TestNoneAreRemembered(t *testing.T) {
	var f *Files
	f.Add("/x", safefile.Stamp{}, time.Now(), "x")
	if _, ok := f.Unchanged("/x"); ok {
		t.Error("a file is unchanged")
	}
	if data, changed := f.Bytes(); changed || data != nil {
		t.Errorf("%q", data)
	}
}
