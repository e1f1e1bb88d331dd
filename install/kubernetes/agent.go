package kubernetes

import (
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// On reports whether this process is among the node's own files, and not in a container.
func (n *Node) On() (bool, error) { return n.here() }

// Become goes to the node's files and becomes the node's program oci-apparmor, with these arguments. For each of opened, a flag with a
// directory of the container, it gets that flag with a path by which it reaches the directory from there. It returns only an error.
//
// The agent runs the node's parser, and the node's programs know its files by their paths, so it is a process of the node in all
// but its network and its lifetime.
func (n *Node) Become(args []string, opened map[string]string) error {
	for flag, dir := range opened {
		fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0) // it stays open across execve
		if err != nil {
			return fmt.Errorf("--%s: %w", flag, &os.PathError{Op: "open", Path: dir, Err: err})
		}
		args = append(args, fmt.Sprintf("--%s=/proc/self/fd/%d", flag, fd))
	}
	return n.do(func() error {
		program := n.program()
		env := append(os.Environ(), "SYSTEMD_IGNORE_CHROOT=1")
		return &os.PathError{Op: "execve", Path: program, Err: unix.Exec(program, append([]string{path.Base(program)}, args...), env)}
	})
}

// Keep keeps programs that this process starts from the directories that Become has opened, by the paths which it gave.
func Keep(opened ...string) {
	for _, path := range opened {
		var fd int
		if _, err := fmt.Sscanf(path, "/proc/self/fd/%d", &fd); err == nil {
			unix.CloseOnExec(fd)
		}
	}
}
