// Package workload reads descriptions of containers, in the formats in which people have them: the bundle of an OCI
// runtime, what engines' commands inspect print, a pod's manifest, and a container that runs.
//
// Whoever wrote the description may be hostile. What it says is believed of the container alone.
package workload

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/draft"
)

// A Workload is a container that is described.
type Workload struct {
	Name string // as the description has it; empty if it has none
	draft.Container
}

// maxSize is the greatest size of a description in bytes.
const maxSize = 16 << 20

// kinds are the kinds of descriptions, by the words before the colon of a source.
var kinds = []struct {
	word, what string
	read       func(s *Sources, rest string) ([]Workload, error)
}{
	{"bundle", "bundle:DIR, the directory of an OCI runtime's config.json", (*Sources).bundle},
	{"container", "container:ID, a container that runs, by its id or name", (*Sources).running},
	{"docker", "docker:FILE, what docker inspect prints", file(inspect)},
	{"podman", "podman:FILE, what podman inspect prints", file(inspect)},
	{"crictl", "crictl:FILE, what crictl inspect prints", file(crictl)},
	{"pod", "pod:FILE, a manifest with a pod in it", file(pods)},
}

// Kinds returns what a source can be, one line each.
func Kinds() []string {
	var all []string
	for _, k := range kinds {
		all = append(all, k.what)
	}
	return all
}

// Sources are where descriptions come from.
type Sources struct {
	Stdin  io.Reader
	Node   *status.Node // what has containers that run
	Rootfs string       // the directory with the files of the image; empty for those that the description leads to
}

// Read reads the description of one container. The help of profile new says what source can be. container is the name of the
// one that is meant, where there are several.
func (s *Sources) Read(source, container string) (*Workload, error) {
	all, err := s.all(source)
	if err != nil {
		return nil, err
	}
	var names []string
	var found []*Workload
	for i := range all {
		names = append(names, oneline.Name(all[i].Name))
		if container == "" || all[i].Name == container {
			found = append(found, &all[i])
		}
	}
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("%s describes no container", oneline.Whole(source))
	case len(found) == 0:
		return nil, fmt.Errorf("%s describes no container %s: it has %s", oneline.Whole(source), oneline.Quote(container), oneline.And(names))
	case len(found) > 1:
		return nil, fmt.Errorf("%s describes several containers: name one of %s with --container", oneline.Whole(source), oneline.And(names))
	}
	w := found[0]
	if s.Rootfs != "" {
		if w.Files, err = openRoot(s.Rootfs); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// all reads a source of any kind.
func (s *Sources) all(source string) ([]Workload, error) {
	word, rest, named := strings.Cut(source, ":")
	if named {
		for _, k := range kinds {
			if k.word == word {
				return k.read(s, rest)
			}
		}
	}
	if info, err := os.Stat(source); err == nil && info.IsDir() && source != "-" {
		return s.bundle(source)
	}
	if _, err := os.Lstat(source); err != nil && source != "-" {
		return nil, fmt.Errorf("%s is no file, and none of %s", oneline.Whole(source), strings.Join(Kinds(), "; "))
	}
	return file(anyKind)(s, source)
}

// file returns the function that reads a source of one file, "-" for the standard input.
func file(parse func(from string, data []byte) ([]Workload, error)) func(*Sources, string) ([]Workload, error) {
	return func(s *Sources, name string) ([]Workload, error) {
		from, in := name, s.Stdin
		if name == "-" {
			from = "standard input"
		} else {
			f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
			if err != nil {
				return nil, err
			}
			defer f.Close()
			in = f
		}
		data, err := readAll(in)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", from, err)
		}
		return parse(from, data)
	}
}

func readAll(in io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(in, maxSize+1))
	if err == nil && len(data) > maxSize {
		err = fmt.Errorf("it has more than %d bytes", maxSize)
	}
	return data, err
}

// anyKind reads a description by what it looks like.
func anyKind(from string, data []byte) ([]Workload, error) {
	switch trimmed := bytes.TrimSpace(data); {
	case bytes.HasPrefix(trimmed, []byte("[")):
		return inspect(from, data)
	case !bytes.HasPrefix(trimmed, []byte("{")):
		return pods(from, data)
	}
	var looks struct {
		OCIVersion *string         `json:"ociVersion"`
		Info       json.RawMessage `json:"info"`
		HostConfig json.RawMessage `json:"HostConfig"`
		Spec       json.RawMessage `json:"spec"`
	}
	if err := decode(from, data, &looks); err != nil {
		return nil, err
	}
	switch {
	case looks.OCIVersion != nil:
		w, _, err := spec(from, data)
		return []Workload{w}, err
	case looks.Info != nil:
		return crictl(from, data)
	case looks.HostConfig != nil:
		return inspect(from, data)
	case looks.Spec != nil:
		return pods(from, data)
	}
	return nil, fmt.Errorf("%s describes no container in a form that is known: %s", from, strings.Join(Kinds(), "; "))
}

// decode reads JSON. The error names the line.
func decode(from string, data []byte, to any) error {
	err := json.Unmarshal(data, to)
	at := int64(-1)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		at = syntax.Offset
	case errors.As(err, &kind):
		at = kind.Offset
		err = fmt.Errorf("%s is a %s", oneline.Quote(kind.Field), kind.Value)
	case err == nil:
		return nil
	}
	if at < 0 || at > int64(len(data)) {
		return fmt.Errorf("%s: %w", from, err)
	}
	return fmt.Errorf("%s:%d: %w", from, 1+bytes.Count(data[:at], []byte("\n")), err)
}

// searchPath returns the directories of PATH in an environment.
func searchPath(env []string) []string {
	for _, e := range slices.Backward(env) {
		if list, is := strings.CutPrefix(e, "PATH="); is {
			return slices.DeleteFunc(strings.Split(list, ":"), func(dir string) bool { return !path.IsAbs(dir) })
		}
	}
	return nil
}

// shared are the file systems that every engine mounts for a container beside those of the kernel.
func shared() []draft.Mount {
	return []draft.Mount{{At: "/dev/shm", Type: "tmpfs", Writable: true}, {At: "/dev/mqueue", Type: "mqueue", Writable: true}}
}

// inDir returns a path of a bundle as config.json has it, which may be relative to the bundle.
func inDir(dir, name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
