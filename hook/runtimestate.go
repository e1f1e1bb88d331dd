package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/oci-apparmor/oci-apparmor/hook/internal/jsonread"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// A runtime keeps its state of a container in the directory ROOT/ID, from create to delete. runc writes state.json, with
// init_process_pid and config. crun writes status, with pid and bundle.

// stateFiles are the names of those files.
var stateFiles = []string{"state.json", "status"}

// notThere returns an error if the runtime has a container of that id. The runtime would refuse the new one itself, but
// only after we had replaced the running container's record.
func notThere(c Caller, id string) error {
	dir := filepath.Join(c.Root, id)
	if _, err := os.Lstat(dir); err == nil {
		return Because(notice.Exists, fmt.Errorf("a container with that id exists already: %s", dir))
	}
	return nil
}

// isThere reports whether a runtime has a container below root, or may have one there that we cannot see.
func isThere(root, id string) bool {
	_, err := os.Lstat(filepath.Join(root, id))
	return !errors.Is(err, fs.ErrNotExist)
}

// InitOf returns the pid of the init process of a container below the runtime's root, and whether the container is there.
// The pid is -1 if the container is there and its pid is not known.
func InitOf(root, id string) (pid int, there bool) {
	var buf [1024]byte // the pid stands near the beginning of many kilobytes
	for _, name := range stateFiles {
		n, err := safefile.ReadStart(root+"/"+id+"/"+name, buf[:])
		if err != nil {
			continue
		}
		if pid = pidIn(buf[:n]); pid >= 0 {
			return pid, true
		}
		break
	}
	data, err := stateOf(root, id)
	if err != nil {
		return -1, isThere(root, id)
	}
	return pidIn(data), true
}

// BundleOf returns the bundle of a container below the runtime's root, or an empty string if it is not known.
func BundleOf(root, id string) string {
	_, bundle := initAndBundle(Caller{Root: root}, id)
	return bundle
}

// initAndBundle returns the pid of a container's init process and its bundle. They are -1 and empty if not known.
func initAndBundle(c Caller, id string) (pid int, bundle string) {
	data, err := stateOf(c.Root, id)
	if err != nil {
		return -1, ""
	}
	return pidIn(data), bundleIn(data)
}

// stateOf returns the content of a runtime's state file of a container.
func stateOf(root, id string) (data []byte, err error) {
	for _, name := range stateFiles {
		if data, err = os.ReadFile(filepath.Join(root, id, name)); err == nil {
			break
		}
	}
	return data, err
}

// pidIn returns the pid in a runtime's state, or in the beginning of one. It returns -1 if there is none.
func pidIn(data []byte) (pid int) {
	pid = -1
	err := jsonread.Document(data, func(dec *jsontext.Decoder) error {
		return jsonread.Object(dec, nil, func(key string) error {
			if key != "init_process_pid" && key != "pid" {
				return dec.SkipValue()
			}
			v, _, err := jsonread.Value(dec)
			if err == nil {
				if pid, err = strconv.Atoi(string(v)); err == nil {
					err = jsonread.ErrStop // what else there is may be long
				}
			}
			return err
		})
	})
	if err != jsonread.ErrStop {
		return -1
	}
	return pid
}

// bundleIn returns the bundle in a runtime's state, or an empty string if there is none. In crun's state it is the member
// "bundle". In runc's it is the last "bundle=DIR" of config.labels: runc puts annotations before it
// (specconv.CreateLibcontainerConfig).
func bundleIn(data []byte) (bundle string) {
	label := func(dec *jsontext.Decoder) error {
		v, _, err := jsonread.Value(dec)
		if dir, ok := strings.CutPrefix(jsonread.Unquote(v), "bundle="); ok && err == nil {
			bundle = dir
		}
		return err
	}
	labels := func(key string, dec *jsontext.Decoder) error {
		if key != "labels" || dec.PeekKind() != '[' {
			return dec.SkipValue()
		}
		_, err := dec.ReadToken()
		for err == nil && dec.PeekKind() != ']' {
			err = label(dec)
		}
		if err == nil {
			_, err = dec.ReadToken()
		}
		return err
	}
	err := jsonread.Document(data, func(dec *jsontext.Decoder) error {
		return jsonread.Object(dec, nil, func(key string) (err error) {
			switch {
			case key == "bundle" && dec.PeekKind() == '"':
				bundle, err = jsonread.Text(dec)
				return err
			case key == "config" && dec.PeekKind() == '{':
				return jsonread.Object(dec, nil, func(key string) error { return labels(key, dec) })
			}
			return dec.SkipValue()
		})
	})
	if err != nil || !filepath.IsAbs(bundle) {
		return ""
	}
	return bundle
}
