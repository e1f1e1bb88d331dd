package safefile

import (
	"fmt"
	"io"
	"io/fs"

	"golang.org/x/sys/unix"
)

// ReadWhole reads a regular file that is never written in place, and returns its content and the stamp that it had before
// that. name is relative to the open directory dir, which may be Cwd. ReadWhole follows no link at the end of name, and waits
// for no writer of a FIFO. Before it reads, it calls check with what stat(2) returned, and returns its error.
//
// It does without os.File: setting one up registers with the poller, which costs more than the read, and callers read
// hundreds of files.
func ReadWhole(dir int, name string, check func(st *unix.Stat_t) error) (data []byte, stamp Stamp, err error) {
	fd, err := openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, stamp, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, stamp, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, stamp, fmt.Errorf("%s is not a regular file", name)
	}
	if err := check(&st); err != nil {
		return nil, stamp, err
	}
	data = make([]byte, st.Size)
	for got := 0; got < len(data); {
		n, err := IgnoringEINTR(func() (int, error) { return unix.Read(fd, data[got:]) })
		if err == nil && n == 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, stamp, &fs.PathError{Op: "read", Path: name, Err: err}
		}
		got += n
	}
	return data, StampOf(&st), nil
}
