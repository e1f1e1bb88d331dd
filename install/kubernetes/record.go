package kubernetes

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// recordName is the file below store.Dir that says what Install has made on the node, as JSON of type record. It is written
// before anything that it names is made, so that Leave finds all of it also after a crash.
const recordName = "kubernetes.json"

// record is what Install has made on the node. Paths are the node's.
type record struct {
	Prefix      string   `json:"prefix"`
	Directories []string `json:"directories"` // made by Install; Leave removes those that are empty, the deepest first
}

func (n *Node) recordPath() string { return n.path(store.Dir, recordName) }

// read returns the record. ok is false where there is none.
func (n *Node) read() (r record, ok bool, err error) {
	data, err := os.ReadFile(n.recordPath())
	if errors.Is(err, fs.ErrNotExist) {
		return record{}, false, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err == nil && (!filepath.IsAbs(r.Prefix) || slices.ContainsFunc(r.Directories, func(d string) bool { return !filepath.IsAbs(d) })) {
		err = errors.New("it names a path that is not absolute")
	}
	if err != nil {
		return record{}, false, fmt.Errorf("%s: %w", n.recordPath(), err)
	}
	return r, true, nil
}

// made reports whether Install has made a directory, in which nothing was before.
func (r record) made(dir string) bool { return slices.Contains(r.Directories, dir) }

// write writes the record, with what mkdirAll will make for these directories.
func (n *Node) write(r *record, directories ...string) error {
	for _, dir := range directories {
		for ; dir != "/"; dir = filepath.Dir(dir) {
			_, err := os.Lstat(n.path(dir))
			if err == nil {
				break
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if !slices.Contains(r.Directories, dir) {
				r.Directories = append(r.Directories, dir)
			}
		}
	}
	slices.Sort(r.Directories)
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(n.recordPath()), 0o700); err != nil {
		return err
	}
	if err := safefile.Replace(n.recordPath(), append(data, '\n'), safefile.Options{Mode: 0o644, Sync: true}); err != nil {
		return err
	}
	for _, dir := range directories {
		if err := os.MkdirAll(n.path(dir), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// removeEmpty removes the directories that Install has made, where nothing is in them any more.
func (n *Node) removeEmpty(r record) {
	for _, dir := range slices.Backward(r.Directories) {
		_ = os.Remove(n.path(dir))
	}
}
