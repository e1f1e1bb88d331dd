package source

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// openFile opens a file that the operator names.
func (h *Host) openFile(path string, o Options) (Source, error) {
	if o.Follow {
		return nil, fmt.Errorf("%s cannot be followed: only the sources of the node and standard input can", oneline.Name(path))
	}
	f, st, err := openSafely(path, 0)
	if err != nil {
		return nil, err
	}
	var in waiting
	if st.Mode&unix.S_IFMT == unix.S_IFIFO {
		in, err = newPipe(f)
	} else {
		in, err = unpacked(f, path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	t := newText(path, in, h, o)
	t.trusted = onlyOwn(path, st)
	return t, nil
}

// openSafely opens a regular file or a pipe. It waits for no writer, and touches no device.
func openSafely(path string, flags int) (f *os.File, st unix.Stat_t, err error) {
	fd, err := safefile.IgnoringEINTR(func() (int, error) {
		return unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC|flags, 0)
	})
	if err != nil {
		return nil, st, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, st, errors.Join(&fs.PathError{Op: "stat", Path: path, Err: err}, unix.Close(fd))
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG, unix.S_IFIFO:
		return os.NewFile(uintptr(fd), path), st, nil
	case unix.S_IFDIR:
		err = fmt.Errorf("%s is a directory, which has no records", oneline.Name(path))
	default:
		err = fmt.Errorf("%s is a device or a socket, of which no records are read", oneline.Name(path))
	}
	return nil, st, errors.Join(err, unix.Close(fd))
}

// onlyOwn reports whether only root and this process's user could have written a file.
func onlyOwn(path string, st unix.Stat_t) bool {
	return st.Mode&unix.S_IFMT == unix.S_IFREG && safefile.Trusted(path, st.Uid, st.Mode) == nil
}

// A plain reader is one whose Read waits for nothing, or only as long as the source is open.
type plain struct {
	io.Reader
	close func() error
}

func (p plain) Close() error          { return p.close() }
func (p plain) until(context.Context) {}

// mostWindow bounds the memory that a compressed file can ask for.
const mostWindow = 64 << 20

// unpacked returns a reader of what is in a file, which may be compressed. Closing it closes the file.
func unpacked(f io.ReadCloser, name string) (plain, error) {
	in := bufio.NewReaderSize(f, 64<<10)
	magic, err := in.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return plain{}, err
	}
	starts := func(with string) bool { return bytes.HasPrefix(magic, []byte(with)) }
	switch {
	case starts("\x1f\x8b"):
		z, err := gzip.NewReader(in)
		if err != nil {
			return plain{}, fmt.Errorf("%s: %w", oneline.Name(name), err)
		}
		return plain{named{z, name}, f.Close}, nil
	case starts("\x28\xb5\x2f\xfd"):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(mostWindow))
		if err != nil {
			return plain{}, fmt.Errorf("%s: %w", oneline.Name(name), err)
		}
		return plain{named{z, name}, func() error { z.Close(); return f.Close() }}, nil
	case starts("BZh"):
		return plain{named{bzip2.NewReader(in), name}, f.Close}, nil
	case starts("\xfd7zXZ\x00"):
		return plain{}, fmt.Errorf("%s is compressed by xz, which is not read here: `xz -dc FILE | oci-apparmor audit --source -` reads it", oneline.Name(name))
	}
	return plain{in, f.Close}, nil
}

// named is a reader whose errors name the file.
type named struct {
	io.Reader
	name string
}

func (n named) Read(b []byte) (int, error) {
	got, err := n.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s cannot be unpacked: %w", oneline.Name(n.name), err)
	}
	return got, err
}
