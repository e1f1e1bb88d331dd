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
	f.Add(Text, path, safefile.StampOf(&st), time.Now().Add(time.Hour), "this and that")
	if !f.Changed() {
		t.Error("a new file is no change")
	}
	return path, f.Bytes()
}

func TestAnUnchangedFileIsRemembered(t *testing.T) {
	path, data := read(t)
	for range 3 { // each apply writes down what the next one reads
		f := Parse(data)
		if as, ok := f.Unchanged(Text, path); !ok || as != "this and that" {
			t.Fatalf("it is %q, %t:\n%s", as, ok, data)
		}
		if again := f.Bytes(); f.Changed() || string(again) != string(data) {
			t.Errorf("changed %t: %s", f.Changed(), again)
		}
	}
	if f := Parse(data); !f.Changed() || strings.Contains(string(f.Bytes()), path) {
		t.Errorf("a file that nobody asked for is kept: %s", f.Bytes())
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
		if as, ok := f.Unchanged(Text, path); ok {
			t.Errorf("%s: it counts as %q", what, as)
		}
		if !f.Changed() || strings.Contains(string(f.Bytes()), path) {
			t.Errorf("%s: it is remembered", what)
		}
	}
}

// What one caller has found a file to be is no answer to another, also where both look at the same file.
func TestAKindOfFileIsNotTakenForAnother(t *testing.T) {
	path, data := read(t)
	f := Parse(data)
	if as, ok := f.Unchanged(Service, path); ok {
		t.Errorf("it counts as %q", as)
	}
	if _, ok := f.Unchanged(Text, path); !ok {
		t.Error("it is forgotten")
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
		f.Add(Text, "/x", safefile.Stamp{Ctime: one.ctime.UnixNano()}, one.now, "x")
		if data := f.Bytes(); strings.Contains(string(data), "/x") != one.kept {
			t.Errorf("changed %v, read %v later: %s", one.ctime, one.now.Sub(one.ctime), data)
		}
	}
}

// What was cut short or changed, or is in another form, says nothing of any file.
func TestADamagedRecordIsNotBelieved(t *testing.T) {
	path, data := read(t)
	for i := range data {
		if _, ok := Parse(data[:i]).Unchanged(Text, path); ok {
			t.Errorf("it is believed with only %d of %d bytes", i, len(data))
		}
		other := append([]byte{}, data...)
		other[i] ^= 1
		if _, ok := Parse(other).Unchanged(Text, path); ok {
			t.Errorf("it is believed with another byte %d", i)
		}
	}
	ones := strings.Repeat("\t1", 8)
	for _, line := range []string{
		"", "x", path, path + "\t1", path + ones, path + "\ttext" + ones, path + "\ttext" + ones + "\t",
		path + strings.Repeat("\t-", 9),
	} {
		body := []byte(line + "\n")
		f := Parse(fmt.Appendf(nil, "%s\n%s", heading(thisProgram(), string(body)), body))
		if _, ok := f.Unchanged(Text, path); ok {
			t.Errorf("%q is believed", line)
		}
	}
}

// An upgrade may find out something else about the same file.
func TestWhatAnotherProgramHasRememberedIsNotBelieved(t *testing.T) {
	path, data := read(t)
	for _, other := range []string{"another program", ""} {
		if _, ok := parse(data, other).Unchanged(Text, path); ok {
			t.Errorf("%q believes it", other)
		}
	}
	unknown := parse(nil, "")
	unknown.Add(Text, path, safefile.Stamp{}, time.Now(), "x")
	if _, ok := parse(unknown.Bytes(), "").Unchanged(Text, path); ok {
		t.Error("a program that cannot be told believes another such program")
	}
}

func TestNamesThatNoLineHoldsAreNotRemembered(t *testing.T) {
	f := Parse(nil)
	f.Add(Text, "/a\n/b", safefile.Stamp{}, time.Now(), "x")
	f.Add(Text, "/a", safefile.Stamp{}, time.Now(), "x\ty")
	if f.Changed() {
		t.Errorf("%q", f.Bytes())
	}
}

func TestNoneAreRemembered(t *testing.T) {
	var f *Files
	f.Add(Text, "/x", safefile.Stamp{}, time.Now(), "x")
	if _, ok := f.Unchanged(Text, "/x"); ok {
		t.Error("a file is unchanged")
	}
	if data := f.Bytes(); f.Changed() || data != nil {
		t.Errorf("%q", data)
	}
}
