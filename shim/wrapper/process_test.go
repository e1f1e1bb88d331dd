package wrapper

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRelabelledProcessFile(t *testing.T) {
	const doc = `{"args":["sh"],"apparmorProfile":"unconfined","x":1e400}`
	const want = `{"args":["sh"],"apparmorProfile":"a//&b","x":1e400}`
	dir := t.TempDir()
	file := filepath.Join(dir, "process.json")
	if err := os.WriteFile(file, []byte(doc), 0o400); err != nil {
		t.Fatal(err)
	}
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	go os.WriteFile(fifo, []byte(doc), 0)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.WriteString(doc)
	w.Close()

	for name, path := range map[string]string{
		"file": file, "fifo": fifo, "pipe": "/proc/self/fd/" + strconv.Itoa(int(r.Fd())),
	} {
		t.Run(name, func(t *testing.T) {
			edited, err := relabel(path, "a//&b", 0)
			if err != nil {
				t.Fatal(err)
			}
			fd := descriptor(t, edited)
			if fd < firstProcessFD {
				t.Errorf("descriptor %d is below %d", fd, firstProcessFD)
			}
			for range 2 { // crun, and runc of some versions, may read it again
				if got, err := os.ReadFile(edited); err != nil || string(got) != want {
					t.Errorf("got %s and %v, want %s", got, err, want)
				}
			}
			if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC != 0 {
				t.Errorf("it does not stay open over execve: flags %#x, %v", flags, err)
			}
			if f, err := os.OpenFile(edited, os.O_WRONLY, 0); err == nil {
				if _, err := f.Write([]byte("x")); err == nil {
					t.Error("it can be written to")
				}
				f.Close()
			}
		})
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != doc {
		t.Errorf("the caller's file became %s (%v)", got, err)
	}
}

func TestProcessFileStaysOutOfTheDescriptorsPassedOn(t *testing.T) {
	t.Setenv("LISTEN_FDS", "40")
	a, err := ParseArgs(Runc, split("runc exec --preserve-fds 0x40 -p x c1"))
	if err != nil {
		t.Fatal(err)
	}
	if n := a.passedFDs(); n != 104 {
		t.Fatalf("got %d descriptors that are passed on, want 104", n)
	}
	fd, err := handOver(nil, max(firstProcessFD, 3+a.passedFDs()))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if fd < 107 {
		t.Errorf("descriptor %d would reach the container", fd)
	}
}

func TestProcessFileThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, bytes.Repeat([]byte(" "), maxProcess+1), 0o600); err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "list")
	if err := os.WriteFile(list, []byte("[]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		filepath.Join(dir, "none"): "no such file",
		dir:                        "is a directory",
		big:                        "larger than 16 MiB",
		list:                       list,
		"":                         "no such file",
	} {
		if got, err := relabel(path, "l", 0); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %q and %v, want an error that says %q", path, got, err, want)
		}
	}
}

func descriptor(t *testing.T, path string) int {
	t.Helper()
	fd, err := strconv.Atoi(strings.TrimPrefix(path, "/proc/self/fd/"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}
