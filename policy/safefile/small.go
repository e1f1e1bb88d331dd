package safefile

import (
	"os"

	"golang.org/x/sys/unix"
)

// ReadSmall returns the content of a file. If it fits into buf, ReadSmall needs few system calls, which matters to a caller
// that reads hundreds of files. The result may be a part of buf.
func ReadSmall(path string, buf []byte) ([]byte, error) {
	n, err := ReadStart(path, buf)
	if err == nil && n == len(buf) {
		return os.ReadFile(path)
	}
	return buf[:n], err
}

// ReadStart reads a file up to the length of buf, and returns how many bytes it read. It does not wait for the writer of a
// FIFO.
func ReadStart(path string, buf []byte) (n int, err error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	for n < len(buf) {
		m, err := unix.Read(fd, buf[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return n, err
		}
		want := len(buf) - n
		if n += m; m < want { // of a regular file that is its end
			break
		}
	}
	return n, nil
}
