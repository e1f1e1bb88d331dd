package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A pipe is read until all of its writers have closed it.
type pipe struct {
	*polled
	ctx context.Context
}

// newPipe takes over a file with O_NONBLOCK that is no regular one.
func newPipe(f *os.File) (*pipe, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &pipe{&polled{f, raw}, context.Background()}, nil
}

func (p *pipe) until(ctx context.Context) { p.ctx = ctx }
func (p *pipe) Close() error              { return p.file.Close() }

func (p *pipe) Read(b []byte) (int, error) {
	n, err := p.wait(p.ctx, func(fd int) (int, error) { return unix.Read(fd, b) })
	if n == 0 && err == nil {
		err = io.EOF
	}
	return max(n, 0), err
}

// openStdin opens standard input. A pipe or a terminal is opened anew, so that it can be waited for until a context ends:
// O_NONBLOCK on the descriptor itself would also be on those of other processes.
func (h *Host) openStdin(o Options) (Source, error) {
	const name = "standard input"
	var st unix.Stat_t
	if err := unix.Fstat(0, &st); err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", name, err)
	}
	if kind := st.Mode & unix.S_IFMT; kind == unix.S_IFIFO || kind == unix.S_IFCHR {
		fd, err := unix.Open("/proc/self/fd/0", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err == nil {
			f := os.NewFile(uintptr(fd), name)
			in, err := newPipe(f)
			if err != nil {
				return nil, errors.Join(err, f.Close())
			}
			return newText(name, in, h, o), nil
		}
	}
	in, err := unpacked(keptOpen{os.Stdin}, name)
	if err != nil {
		return nil, err
	}
	return newText(name, in, h, o), nil
}

// keptOpen is a reader that is not ours to close.
type keptOpen struct{ io.Reader }

func (keptOpen) Close() error { return nil }
