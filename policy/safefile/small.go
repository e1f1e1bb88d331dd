package safefile

import (
	"os"

	"golang.org/x/sys/unix"
)

// ReadSmall returns the content of a file that is likely to fit buf, with few system calls: status reads hundreds. What it
// returns may be in buf.
func ReadSmall(path string, buf []byte) ([]byte, error) {
	n, err := ReadStart(path, buf)
	if err == nil && n == len(buf) {
		return os.ReadFile(path)
	}
	return buf[:n], err
}

// ReadStart reads a file as far as it fits buf, and returns how much that is. It does not wait for a FIFO's writer.
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
