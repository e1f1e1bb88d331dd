package hook

import (
	"errors"
	"io/fs"
	"path/filepath"
)

// Records gives what is remembered of every container, in no order: also of such as are gone and not yet swept. One
// that cannot be read is left out and told of in the error.
func (h *Host) Records() ([]*Record, error) {
	paths, err := filepath.Glob(filepath.Join(h.Containers, "*.json"))
	if err != nil {
		return nil, err
	}
	records := make([]*Record, 0, len(paths))
	var faults []error
	for _, path := range paths {
		switch r, err := readRecord(path); {
		case err == nil:
			records = append(records, r)
		case !errors.Is(err, fs.ErrNotExist): // that one was forgotten meanwhile
			faults = append(faults, err)
		}
	}
	return records, errors.Join(faults...)
}

// Creating tells whether the process that creates the container is still at it.
func (r *Record) Creating() bool { return r.creating() }

// InitOf gives the pid of the init process of the container that a runtime keeps below root: -1 where the container is
// there and its pid cannot be told.
func InitOf(root, id string) (pid int, there bool) { return initOf(Wiring{Root: root}, id) }
