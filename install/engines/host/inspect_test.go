package host

import (
	"archive/tar"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestStarted(t *testing.T) {
	if at := (Process{PID: os.Getpid()}).Started(); time.Since(at) < -time.Second || time.Since(at) > time.Hour {
		t.Errorf("this process was started at %v", at)
	}
	proc := t.TempDir()
	for name, text := range map[string]string{
		"stat":   "cpu 1 2\nbtime 1000\n",
		"7/stat": "7 (a) b (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4250 20\n",
		"8/stat": "8 (cut) S 1 2\n",
		"9/stat": "",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(proc, name)), 0o755), os.WriteFile(filepath.Join(proc, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	if got := started(proc, 7); !got.Equal(time.UnixMilli(1042_500)) {
		t.Errorf("%v", got)
	}
	for _, pid := range []int{8, 9, 10} {
		if got := started(proc, pid); !got.IsZero() {
			t.Errorf("%d: %v", pid, got)
		}
	}
}

func TestArchive(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to.tar")
	if err := errors.Join(os.MkdirAll(from+"/etc", 0o755), os.WriteFile(from+"/program", []byte("x"), 0o755)); err != nil {
		t.Fatal(err)
	}
	if err := Archive(from, to); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := map[string]int64{}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got[filepath.Clean(h.Name)] = h.Mode & 0o777
	}
	if got["program"] != 0o755 || got["etc"] != 0o755 {
		t.Errorf("%v", got)
	}
	if err := Archive(from, to); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
}
