package policyfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// root is the configuration directory. What is opened in it by a relative path stays in it.
type root struct {
	*os.Root
	dir *os.File
}

func openRoot(dir string) (*root, error) {
	r, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	f, err := r.Open(".")
	if err != nil {
		r.Close()
		return nil, err
	}
	return &root{r, f}, nil
}

func (r *root) close() {
	r.dir.Close()
	r.Root.Close()
}

// readFast reads a regular file of at most maxText bytes, in few system calls: a policy may have a thousand texts. ok is false
// if that fails. The caller then tries readRegular, which returns the reason.
func (r *root) readFast(path string) (text []byte, ok bool) {
	fd, err := unix.Openat2(int(r.dir.Fd()), path, &unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_BENEATH})
	if err != nil {
		return nil, false
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > maxText {
		return nil, false
	}
	text = make([]byte, st.Size+1) // with the byte more it is seen that a file grows
	for n := 0; n < len(text); {
		m, err := unix.Read(fd, text[n:])
		if err != nil {
			return nil, false
		}
		if m == 0 {
			return text[:n], true
		}
		n += m
	}
	return nil, false
}
