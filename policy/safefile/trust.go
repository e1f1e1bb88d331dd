package safefile

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Trusted returns an error if others than root and the process's user could have written what is at path. uid and mode are
// those of stat(2). The error calls it "it", and says what is wrong and what to do.
func Trusted(path string, uid, mode uint32) error {
	const who = "who must not decide about containers"
	foreign := uid != 0 && int(uid) != os.Geteuid()
	open := mode&0o022 != 0
	switch {
	case foreign && open:
		return fmt.Errorf("it belongs to uid %d, %s, and others can write to it (mode %04o): check it, then run chown "+
			"root %[4]s and chmod go-w %[4]s", uid, who, mode&0o7777, path)
	case foreign:
		return fmt.Errorf("it belongs to uid %d, %s: check it, then run chown root %s", uid, who, path)
	case open:
		return fmt.Errorf("others can write to it (mode %04o): check it, then run chmod go-w %s", mode&0o7777, path)
	}
	return nil
}

// TrustedOnTheWay is Trusted for a file or directory on the path to a file. Others may write to a directory that is sticky,
// because they cannot rename or remove there what is not theirs.
func TrustedOnTheWay(path string, uid, mode uint32) error {
	if mode&unix.S_IFMT == unix.S_IFDIR && mode&unix.S_ISVTX != 0 {
		mode &^= 0o022
	}
	return Trusted(path, uid, mode)
}
