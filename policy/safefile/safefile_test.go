package safefile

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func content(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestReplacePutsAnotherFileInPlace(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	open, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(open)
	for i, replace := range []func(data string) error{
		func(data string) error { return Replace(path, []byte(data), Options{}) },
		func(data string) error { return Replace("f", []byte(data), Options{Dir: open}) },
		func(data string) error { return Replace(path, []byte(data), Options{Sync: true}) },
	} {
		old, _ := os.Open(path)
		data := strings.Repeat(string(rune('a'+i)), 1<<20)
		if err := replace(data); err != nil {
			t.Fatal(err)
		}
		if got := content(t, path); got != data {
			t.Errorf("way %d: %d bytes, want %d", i, len(got), len(data))
		}
		if old != nil { // who has the old one open goes on reading it
			if info, err := old.Stat(); err != nil || info.Size() != 1<<20 {
				t.Errorf("way %d: the old file: %v, %v", i, info, err)
			}
			old.Close()
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v, want 0600", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestNewReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	if err := Replace(path, []byte("first"), Options{New: true, Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if err := Replace(path, []byte("second"), Options{New: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if got := content(t, path); got != "first" {
		t.Errorf("it has %q", got)
	}
	if err := os.Symlink("gone", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := Replace(filepath.Join(dir, "link"), nil, Options{New: true}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a link: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestModeAndOwnerAreThoseAskedFor(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	path := filepath.Join(t.TempDir(), "f")
	for _, mode := range []fs.FileMode{0, 0o644, 0o666, 0o400, 0o755 | fs.ModeSetgid | fs.ModeSticky, 0o700 | fs.ModeSetuid} {
		if err := Replace(path, []byte("x"), Options{Mode: mode, Exact: true, Owner: &Owner{os.Getuid(), os.Getgid()}}); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode() != mode {
			t.Errorf("mode %v, %v, want %v", info.Mode(), err, mode)
		}
	}
	err := Replace(path, []byte("y"), Options{Owner: &Owner{4711, 4712}})
	info, serr := os.Stat(path)
	if err != nil || serr != nil {
		t.Fatal(err, serr) // who may not give files away keeps them
	}
	st := info.Sys().(*syscall.Stat_t)
	if os.Geteuid() == 0 && (st.Uid != 4711 || st.Gid != 4712) || os.Geteuid() != 0 && int(st.Uid) != os.Geteuid() {
		t.Errorf("owner %d:%d", st.Uid, st.Gid)
	}
}

// Whatever goes wrong, the old file stays, and no other is left beside it.
func TestWhatFailsLeavesTheOldFile(t *testing.T) {
	fault := errors.New("pulled the plug")
	for name, replace := range map[string]func(path string) error{
		"before the write": func(path string) error {
			return Replace(path, []byte("new"), Options{Step: func(what string) error {
				if strings.HasPrefix(what, "write ") {
					return fault
				}
				return nil
			}})
		},
		"before the rename": func(path string) error {
			return Replace(path, []byte("new"), Options{Step: func(what string) error {
				if strings.HasPrefix(what, "rename to ") {
					return fault
				}
				return nil
			}})
		},
		"dropped": func(path string) error {
			s, err := Stage(path, []byte("new"), Options{})
			if err == nil {
				s.Drop()
				err = fault
			}
			return err
		},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "f")
		os.WriteFile(path, []byte("old"), 0o600)
		if err := replace(path); !errors.Is(err, fault) {
			t.Errorf("%s: %v", name, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 1 || content(t, path) != "old" {
			t.Errorf("%s: left %v", name, entries)
		}
	}

	dir := t.TempDir()
	path := filepath.Join(dir, "d")
	os.Mkdir(path, 0o700)
	if err := Replace(path, []byte("x"), Options{}); err == nil {
		t.Error("a directory was replaced")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	none := filepath.Join(dir, "none", "f")
	err := Replace(none, nil, Options{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in no directory: %v", err)
	}
	if again := Replace(none, nil, Options{}); again.Error() != err.Error() || !strings.Contains(err.Error(), none+": ") {
		t.Errorf("an error that comes back is another one, or does not name the file: %v, and then %v", err, again)
	}
}

func TestStagedIsInPlaceOnceCommitted(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	var steps []string
	s, err := Stage(path, []byte("x"), Options{Sync: true, Step: func(what string) error { steps = append(steps, what); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 || entries[0].Name()[0] != '.' {
		t.Errorf("staged as %v, want a name that begins with a dot", entries)
	}
	if err := s.Commit(); err != nil {
		t.Fatal(err)
	}
	s.Drop()
	if content(t, path) != "x" || !slices.Equal(steps, []string{"write " + path, "rename to " + path}) {
		t.Errorf("steps %q", steps)
	}
	if err := SyncDir(dir); err != nil {
		t.Error(err)
	}
	if err := SyncDir(filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
}

func TestStagedHasTheNameAskedFor(t *testing.T) {
	dir := t.TempDir()
	path, temp := filepath.Join(dir, "f"), filepath.Join(dir, ".f.mine")
	os.WriteFile(temp, []byte("of one that was killed"), 0o600)
	s, err := Stage(path, []byte("x"), Options{Temp: ".f.mine"})
	if err != nil {
		t.Fatal(err)
	}
	if content(t, temp) != "x" {
		t.Error("what had the name was not replaced")
	}
	if err := s.Commit(); err != nil || content(t, path) != "x" {
		t.Error(err)
	}
	os.Mkdir(temp, 0o700)
	if _, err := Stage(path, nil, Options{Temp: ".f.mine"}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a directory of that name: %v", err)
	}
}

func TestLockIsHeldByOne(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	release, err := Lock(t.Context(), Cwd, path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(t.Context(), Cwd, path, 20*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("held: %v, want os.ErrDeadlineExceeded", err)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := Lock(ctx, Cwd, path, time.Hour); !errors.Is(err, why) {
		t.Errorf("held: %v, want the context's cause", err)
	}
	for _, wait := range []time.Duration{0, time.Hour} {
		got := make(chan func())
		go func() {
			release, err := Lock(t.Context(), Cwd, path, wait)
			if err != nil {
				t.Error(err)
			}
			got <- release
		}()
		select {
		case <-got:
			t.Error("two have the lock")
		case <-time.After(30 * time.Millisecond):
		}
		release()
		release = <-got
	}
	release()

	link := path + ".link"
	os.Symlink(path, link)
	if _, err := Lock(t.Context(), Cwd, link, 0); !errors.Is(err, unix.ELOOP) {
		t.Errorf("a link in its place: %v", err)
	}
}

func TestWhatOthersCouldHaveWrittenIsNotTrusted(t *testing.T) {
	me := uint32(os.Geteuid())
	for _, c := range []struct {
		uid, mode   uint32
		here, onWay string // part of the error; empty for none
	}{
		{me, unix.S_IFREG | 0o644, "", ""},
		{0, unix.S_IFREG | 0o600, "", ""},
		{me, unix.S_IFREG | 0o620, "mode 0620", "mode 0620"},
		{me, unix.S_IFREG | 0o602, "mode 0602", "mode 0602"},
		{me + 1, unix.S_IFREG | 0o644, "belongs to uid", "belongs to uid"},
		{me + 1, unix.S_IFREG | 0o666, "and others can write to it (mode 0666)", "and others can write to it (mode 0666)"},
		{0, unix.S_IFDIR | unix.S_ISVTX | 0o777, "mode 1777", ""},
		{0, unix.S_IFDIR | 0o777, "mode 0777", "mode 0777"},
		{0, unix.S_IFREG | unix.S_ISVTX | 0o666, "mode 1666", "mode 1666"},
		{me + 1, unix.S_IFDIR | unix.S_ISVTX | 0o777, "belongs to uid", "belongs to uid"},
	} {
		check := func(how, want string, err error) {
			if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "/etc/x")) {
				t.Errorf("%s: uid %d, mode %o: %v, want %q", how, c.uid, c.mode, err, want)
			}
		}
		check("itself", c.here, Trusted("/etc/x", c.uid, c.mode))
		check("on the way", c.onWay, TrustedOnTheWay("/etc/x", c.uid, c.mode))
	}
}

// What others could make a path lead to is not trusted either.
func TestTrustedPathChecksTheWay(t *testing.T) {
	top, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]fs.FileMode{"good": 0o755, "open": 0o777, "sticky": 0o777 | fs.ModeSticky} {
		dir := filepath.Join(top, name)
		if err := errors.Join(os.Mkdir(dir, 0o755), os.WriteFile(dir+"/f", nil, 0o644), os.Chmod(dir, mode)); err != nil {
			t.Fatal(err)
		}
	}
	os.Symlink("../good/f", top+"/good/in")
	os.Symlink(top+"/open/f", top+"/good/out")
	os.Symlink("../good/f", top+"/open/back")
	os.Symlink("loop", top+"/good/loop")
	os.WriteFile(top+"/good/w", nil, 0o644)
	os.Chmod(top+"/good/w", 0o666)
	for path, want := range map[string]string{
		"good/f": "", "good/in": "", "sticky/f": "", "sticky/../good/./f": "",
		"good/w": "/good/w: others can write to it", "open/f": "/open: others can write to it",
		"good/out": "/open: others can write to it", "open/back": "/open: others can write to it",
		"open/none": "/open: others can write to it", "sticky/none": "/sticky: others can write to it",
		"good/loop": "too many levels", "good/f/x": "not a directory",
	} {
		real, err := TrustedPath(filepath.Join(top) + "/" + path)
		if want == "" && (err != nil || filepath.Base(real) != "f") || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %q, %v, want %q", path, real, err, want)
		}
	}
	if _, err := TrustedPath(top + "/good/none/x"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing one: %v", err)
	}
	if _, err := TrustedPath("good/f"); err == nil {
		t.Error("a relative path is trusted")
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := os.Chown(top+"/good", 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := TrustedPath(top + "/good/f"); err == nil || !strings.Contains(err.Error(), "/good: it belongs to uid 65534") {
		t.Errorf("another one's directory: %v", err)
	}
}

func TestReadSmallReadsAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, size := range []int{0, 1, 63, 64, 65, 1000} {
		want := strings.Repeat("x", size)
		os.WriteFile(path, []byte(want), 0o600)
		got, err := ReadSmall(path, make([]byte, 64))
		if err != nil || string(got) != want {
			t.Errorf("of %d bytes: %d, %v", size, len(got), err)
		}
		if n, err := ReadStart(path, make([]byte, 64)); err != nil || n != min(size, 64) {
			t.Errorf("the start of %d bytes: %d, %v", size, n, err)
		}
	}
	if _, err := ReadSmall(path+".none", nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func BenchmarkReplace(b *testing.B) {
	path, data := filepath.Join(b.TempDir(), "f"), make([]byte, 8<<10)
	for b.Loop() {
		if err := Replace(path, data, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
