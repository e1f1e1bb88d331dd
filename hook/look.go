package hook

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/oci-apparmor/oci-apparmor/hook/internal/jsonread"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Docker and Podman write neither a container's name nor its image into the spec. Both write these into files of their own
// before they call the runtime, and only root can read or write those files. We find the files through the directory where
// the engine put the container, never through anything that the container's author may have written.

// maxEngineFile bounds such a file, in bytes. Docker's holds one container, Podman's all.
const maxEngineFile = 16 << 20

// looker returns a function that reads what an engine has in its files about a container, or nil if the engine has no such
// files. bundle is the container's directory.
func (d *document) looker(name, bundle string) func(*policy.Facts) {
	var read func(id string) (engineNames, error)
	switch e := engine.Named(name); {
	case len(e.Filed) == 0:
		return nil
	case e.Files == engine.ContainerFiles:
		read = func(id string) (engineNames, error) { return dockerNames(d.rootfs, id) }
	case e.Files == engine.StorageLists:
		read = func(id string) (engineNames, error) { return podmanNames(bundle, id) }
	}
	return func(f *policy.Facts) {
		names, err := read(f.ID)
		if f.Unverified = err; err == nil {
			f.Container, f.Image, f.Labels = names.container, names.image, names.labels
		}
		f.Requested(d.annotations)
	}
}

// engineNames are what an engine's files say about a container.
type engineNames struct {
	container, image string
	labels           map[string]string
}

// dockerNames reads Docker's file of a container, ROOT/containers/ID/config.v2.json (moby, container/container.go). ROOT
// is above the container's root file system, for example ROOT/overlay2/LAYER/merged or ROOT/rootfs/SNAPSHOTTER/ID. No
// container can choose that place. dockerNames reads nothing in the file system itself.
func dockerNames(rootfs, id string) (engineNames, error) {
	if !filepath.IsAbs(rootfs) || !isName(id) {
		return engineNames{}, fmt.Errorf("its spec, with the root file system %s, is not one of Docker's", oneline.Quote(rootfs))
	}
	rootfs = filepath.Clean(rootfs)
	for i := 1; i < len(rootfs); i++ { // from the top, at each directory above rootfs
		if rootfs[i] != '/' {
			continue
		}
		path := filepath.Join(rootfs[:i], "containers", id, "config.v2.json")
		names, err := readDocker(path, id)
		if isAbsent(err) {
			continue
		}
		return names, err
	}
	return engineNames{}, fmt.Errorf("its file of Docker's, containers/%s/config.v2.json, is in no directory above its root file "+
		"system", id)
}

// isAbsent reports whether an error says that a file does not exist, or that something above it is no directory.
func isAbsent(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// isName reports whether s can be the name of a file, and is no path.
func isName(s string) bool { return s != "" && s != "." && s != ".." && !strings.Contains(s, "/") }

func readDocker(path, id string) (names engineNames, err error) {
	data, err := readRoots(path)
	if err != nil {
		return engineNames{}, err
	}
	var is, imageID string
	err = jsonread.Document(data, func(dec *jsontext.Decoder) error {
		return jsonread.Object(dec, nil, func(key string) (err error) {
			switch key {
			case "ID":
				is, err = jsonread.Text(dec)
			case "Name":
				names.container, err = jsonread.Text(dec)
			case "Image":
				imageID, err = jsonread.Text(dec)
			case "Config":
				if dec.PeekKind() != '{' {
					return dec.SkipValue()
				}
				err = jsonread.Object(dec, nil, func(key string) (err error) {
					switch key {
					case "Image":
						names.image, err = jsonread.Text(dec)
					case "Labels":
						names.labels, err = jsonread.Map(dec)
					default:
						err = dec.SkipValue()
					}
					return err
				})
			default:
				err = dec.SkipValue()
			}
			return err
		})
	})
	names.container = strings.TrimPrefix(names.container, "/")
	switch {
	case err != nil:
		return engineNames{}, fmt.Errorf("%s: %w", path, err)
	case is != id || names.container == "":
		return engineNames{}, fmt.Errorf("%s is of container %s with the name %s, and not of this one", path, oneline.Quote(is),
			oneline.Quote(names.container))
	}
	// Whoever runs a container by the id of its image, or by the beginning of that id, has not named an image.
	if hex := strings.TrimPrefix(imageID, "sha256:"); names.image != "" && strings.HasPrefix(hex, names.image) {
		names.image = imageID
	}
	return names, nil
}

// podmanNames reads the lists of containers in Podman's storage (container-libs, storage/containers.go). One list is of
// containers that survive a boot of the node, the other of those that do not. The lists are in the directory that has the
// containers' directories. The bundle is there, too: STORAGE/overlay-containers/ID/userdata. A container that is made of a
// directory (--rootfs) has no image.
func podmanNames(bundle, id string) (engineNames, error) {
	dir, err := podmanLists(bundle, id)
	if err != nil {
		return engineNames{}, err
	}
	names, found, err := podmanListed(dir, id)
	if err == nil && !found {
		err = fmt.Errorf("it is in none of Podman's lists of containers in %s", dir)
	}
	return names, err
}

// podmanLists returns the directory of the lists that have the container of a bundle.
func podmanLists(bundle, id string) (string, error) {
	dir := filepath.Dir(bundle)
	list := filepath.Dir(dir)
	if filepath.Base(bundle) != "userdata" || filepath.Base(dir) != id || !strings.HasSuffix(list, "-containers") {
		return "", fmt.Errorf("its bundle %s is not where Podman's are, DRIVER-containers/ID/userdata", oneline.Quote(bundle))
	}
	return list, nil
}

// podmanListed looks for a container in the lists of a directory.
func podmanListed(dir, id string) (names engineNames, found bool, err error) {
	for _, name := range podmanFiles {
		path := filepath.Join(dir, name)
		data, err := readRoots(path)
		if isAbsent(err) {
			continue
		}
		if err != nil {
			return engineNames{}, false, err
		}
		names, found, err := podmanContainer(data, id)
		if err != nil {
			return engineNames{}, false, fmt.Errorf("%s: %w", path, err)
		}
		if found {
			return names, true, nil
		}
	}
	return engineNames{}, false, nil
}

// Name adds the names of containers whose records lack them: no rule needed the names when the containers were created. It
// takes them from the engines' files as they are now, and reads each file once. A name that it does not find stays as it is.
func Name(records ...*Record) {
	listed := make(map[string]map[string]Names) // by directory
	for _, r := range records {
		if r.Names.Container != "" && r.Names.Container != r.ID {
			continue
		}
		switch e := engine.Named(r.Engine); {
		case len(e.Filed) == 0:
		case e.Files == engine.ContainerFiles:
			if f, err := NewBundle(r.Bundle).Identify(Caller{Engine: r.Engine, Root: r.Root}, r.ID); err == nil {
				f.Read()
				r.Names = NamesOf(f)
			}
		case e.Files == engine.StorageLists:
			dir, err := podmanLists(r.Bundle, r.ID)
			if err != nil {
				continue
			}
			if listed[dir] == nil {
				listed[dir] = StorageNames(dir)
			}
			if names, ok := listed[dir][r.ID]; ok {
				r.Names = names
			}
		}
	}
}

// FiledNames returns the names of a container from Docker's file below dir, which is Docker's --data-root. They are empty if
// there is no such file, or if others than root could have written it.
func FiledNames(dir, id string) Names {
	if !isName(id) {
		return Names{}
	}
	names, err := readDocker(filepath.Join(dir, "containers", id, "config.v2.json"), id)
	if err != nil {
		return Names{}
	}
	return Names{Container: names.container, Image: names.image}
}

// StorageNames returns the names of the containers of Podman and CRI-O by their ids, from the lists in dirs. These are
// directories below the storage's directory and, for transient storage, below its directory in /run. For a container in
// several lists, the first one counts. A list that others than root could have written is left out.
func StorageNames(dirs ...string) map[string]Names {
	all := make(map[string]Names)
	for _, dir := range dirs {
		for _, name := range podmanFiles {
			data, err := readRoots(filepath.Join(dir, name))
			if err != nil {
				continue
			}
			_ = jsonread.Document(data, func(dec *jsontext.Decoder) error { // the names before a fault are good
				return podmanEntries(dec, func(one podmanEntry) error {
					if all[one.id].Container == "" {
						image, _ := one.image()
						all[one.id] = Names{Container: one.container, Image: image}
					}
					return nil
				})
			})
		}
	}
	return all
}

// podmanFiles are the lists of Podman's storage.
var podmanFiles = []string{"volatile-containers.json", "containers.json"}

// podmanEntry is what a list says about a container.
type podmanEntry struct{ id, container, metadata string }

// podmanEntries calls found with each entry of a list.
func podmanEntries(dec *jsontext.Decoder, found func(podmanEntry) error) error {
	return jsonread.Objects(dec, func(dec *jsontext.Decoder) error {
		var one podmanEntry
		err := jsonread.Object(dec, nil, func(key string) (err error) {
			switch key {
			case "id":
				one.id, err = jsonread.Text(dec)
			case "names":
				err = jsonread.Strings(dec, func(name string) {
					if one.container == "" {
						one.container = name
					}
				})
			case "metadata":
				one.metadata, err = jsonread.Text(dec)
			default:
				err = dec.SkipValue()
			}
			return err
		})
		if err != nil {
			return err
		}
		return found(one)
	})
}

// image returns the name of the container's image, which is inside JSON of Podman's own (podman, libpod/storage.go,
// RuntimeContainerMetadata).
func (p *podmanEntry) image() (name string, err error) {
	err = jsonread.Document([]byte(p.metadata), func(dec *jsontext.Decoder) error {
		return jsonread.Object(dec, nil, func(key string) (err error) {
			if key != "image-name" {
				return dec.SkipValue()
			}
			name, err = jsonread.Text(dec)
			return err
		})
	})
	return name, err
}

// podmanContainer looks for a container in a list of Podman's storage, and stops reading there.
func podmanContainer(data []byte, id string) (names engineNames, found bool, err error) {
	var entry podmanEntry
	err = jsonread.Document(data, func(dec *jsontext.Decoder) error {
		return podmanEntries(dec, func(one podmanEntry) error {
			if one.id != id {
				return nil
			}
			entry, found = one, true
			return jsonread.ErrStop
		})
	})
	if !found {
		return engineNames{}, false, err
	}
	if entry.container == "" {
		return engineNames{}, false, fmt.Errorf("container %s has no name", id)
	}
	names.container = entry.container
	names.image, err = entry.image()
	return names, true, err
}

// readRoots reads a file. It refuses a file that others than root could have written.
func readRoots(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	st := info.Sys().(*syscall.Stat_t)
	if err := safefile.Trusted(path, st.Uid, st.Mode); err != nil {
		return nil, fmt.Errorf("%s could have been written by others than root: %w", path, err)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxEngineFile+1))
	if err == nil && len(data) > maxEngineFile {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxEngineFile>>20)
	}
	return data, err
}
