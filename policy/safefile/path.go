package safefile

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// TrustedPath returns path as an absolute one without links in it. It returns an error if somebody besides root and the
// process's user could write what is there, or could make the path lead elsewhere. It checks every directory and link on
// the way, and the error names the one at fault. The error is fs.ErrNotExist if something is missing that only root and
// the process's user can make.
func TrustedPath(path string) (string, error) {
	const most = 40 // links, as the kernel follows
	var st unix.Stat_t
	real, rest, links := "/", append([]string{""}, strings.Split(path, "/")...), 0
	if !filepath.IsAbs(path) {
		return "", &fs.PathError{Op: "follow", Path: path, Err: unix.EINVAL}
	}
	for i := 0; len(rest) > 0; i++ {
		name := rest[0]
		rest = rest[1:]
		next := filepath.Join(real, name)
		if next == real && i > 0 { // "", "." and, in the root, ".."
			continue
		}
		err := unix.Lstat(next, &st)
		if err == unix.ENOENT && unix.Lstat(real, &st) == nil {
			if err := Trusted(real, st.Uid, st.Mode); err != nil { // sticky, so that others could make what is missing
				return "", fmt.Errorf("%s: %w", real, err)
			}
		}
		if err != nil {
			return "", &fs.PathError{Op: "lstat", Path: next, Err: err}
		}
		isLink := st.Mode&unix.S_IFMT == unix.S_IFLNK
		if isLink {
			st.Mode &^= 0o777 // it counts for nothing
		}
		if err := TrustedOnTheWay(next, st.Uid, st.Mode); err != nil {
			return "", fmt.Errorf("%s: %w", next, err)
		}
		if !isLink {
			real = next
			continue
		}
		target, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if links++; links > most {
			return "", &fs.PathError{Op: "follow", Path: path, Err: unix.ELOOP}
		}
		if filepath.IsAbs(target) {
			real = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return real, nil
}
