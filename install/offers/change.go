package offers

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// A change is what becomes of a file.
type change struct {
	path          string
	isNew         bool // there is none yet
	before, after []byte
}

// changeOf returns the change that gives a file a text.
func changeOf(path string, after []byte) (change, error) {
	before, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(path); err == nil {
			return change{}, fmt.Errorf("%s is a link to a file that is not there: remove the link, or write the file", path)
		}
		return change{path: path, isNew: true, after: after}, nil
	}
	return change{path: path, before: before, after: after}, err
}

// replaces reports whether the file is there with another text.
func (c change) replaces() bool { return !c.isNew && !bytes.Equal(c.before, c.after) }

func (c change) make() error {
	switch {
	case c.isNew:
		if err := os.MkdirAll(filepath.Dir(c.path), 0o755); err != nil {
			return err
		}
		err := safefile.Replace(c.path, c.after, safefile.Options{Mode: 0o644, New: true, Sync: true})
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s %w", c.path, safefile.ErrChanged)
		}
		return err
	case c.replaces():
		return safefile.Rewrite(c.path, c.before, c.after)
	}
	return nil
}

// undo undoes a change that was made or was begun. What somebody else has made of the file since stays.
func (c change) undo() error {
	now, err := os.ReadFile(c.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case !bytes.Equal(now, c.after):
		return nil
	case c.isNew:
		return os.Remove(c.path)
	case c.replaces():
		return safefile.Rewrite(c.path, c.after, c.before)
	}
	return nil
}

// makeAll makes changes in this order, or none: with an error it has undone those that it had made.
func makeAll(changes []change) error {
	for i, c := range changes {
		err := c.make()
		if err == nil {
			continue
		}
		begun := changes[:i+1]
		if errors.Is(err, safefile.ErrChanged) { // what is there is somebody else's, also if it is the same
			begun = changes[:i]
		}
		for _, made := range slices.Backward(begun) {
			if undone := made.undo(); undone != nil {
				err = errors.Join(err, fmt.Errorf("%s has been changed already, and stays so: %w", made.path, undone))
			}
		}
		return err
	}
	return nil
}
