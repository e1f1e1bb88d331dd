package safefile

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrChanged is wrapped by the error of Rewrite for a file that has changed meanwhile.
var ErrChanged = errors.New("has changed while it was looked at: try again")

// Rewrite replaces the content of a file that somebody else keeps, such as an administrator: its mode and its owner stay, and a
// link to it stays one. It is on the disk afterwards. before is what was read of the file, which must still be there.
func Rewrite(path string, before, after []byte) error {
	file, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	now, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if !bytes.Equal(now, before) {
		return fmt.Errorf("%s %w", path, ErrChanged)
	}
	info, err := os.Stat(file)
	if err != nil {
		return err
	}
	o := Options{Mode: info.Mode().Perm(), Exact: true, Sync: true}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		o.Owner = &Owner{UID: int(st.Uid), GID: int(st.Gid)}
	}
	return errors.Join(Replace(file, after, o), SyncDir(filepath.Dir(file)))
}
