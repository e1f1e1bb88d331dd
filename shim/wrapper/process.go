package wrapper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook"
)

// maxProcess bounds the size of a process file, in bytes.
const maxProcess = 16 << 20

// firstProcessFD is the lowest descriptor for a process file. It is above those that a caller passes to the container,
// which $LISTEN_FDS and --preserve-fds count from 3.
const firstProcessFD = 64

// relabel reads the process file of an exec, sets the label in it, and returns the path of the edited copy.
//
// The copy is a sealed file in memory. So the caller's file stays unchanged, nothing is left on disk, and nobody can change
// the copy before the runtime reads it. The runtime inherits the copy's descriptor, and opens its path a second time. The
// descriptor does not reach the container: runc marks every descriptor that it does not pass on as close-on-exec in the
// container's init process (libcontainer/init_linux.go, finalizeNamespace; from 1.1.12 on also in runc itself), and so does
// crun (src/libcrun/container.c, exec_process_entrypoint: mark_or_close_fds_ge_than).
func relabel(path, label string, passed int) (string, error) {
	doc, err := readProcess(path)
	if err != nil {
		return "", fmt.Errorf("reading the process file: %w", err)
	}
	if doc, err = hook.SetProcessProfile(doc, label); err != nil {
		return "", fmt.Errorf("process file %s: %w", path, err)
	}
	fd, err := handOver(doc, max(firstProcessFD, 3+passed))
	if err != nil {
		return "", fmt.Errorf("handing process file %s over to the runtime: %w", path, err)
	}
	return "/proc/self/fd/" + strconv.Itoa(fd), nil
}

// readProcess reads a file, a pipe or a terminal to its end.
func readProcess(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	doc, err := io.ReadAll(io.LimitReader(f, maxProcess+1))
	if err != nil {
		return nil, err
	}
	if len(doc) > maxProcess {
		return nil, fmt.Errorf("%s is larger than %d MiB", path, maxProcess>>20)
	}
	return doc, nil
}

// handOver puts data into a sealed file in memory. It returns the file's descriptor, which is at least lowest and stays
// open over execve.
func handOver(data []byte, lowest int) (int, error) {
	const flags = unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	// Kernels since 6.3 can demand that a file in memory is not executable (sysctl vm.memfd_noexec). Older kernels do not
	// know the flag.
	fd, err := unix.MemfdCreate("process.json", flags|unix.MFD_NOEXEC_SEAL)
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate("process.json", flags)
	}
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "process.json")
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return -1, err
	}
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals); err != nil {
		return -1, fmt.Errorf("sealing it: %w", err)
	}
	high, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD, lowest)
	if err != nil {
		return -1, fmt.Errorf("taking a descriptor from %d on: %w", lowest, err)
	}
	return high, nil
}
