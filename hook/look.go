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

	"github.com/oci-apparmor/oci-apparmor/policy"
)

// Docker and Podman write into the spec neither a container's name nor its image. Both have these in files of their own
// before they call the runtime, which only root can read or write. We find them from where the engine put the container,
// never by anything that its author may have written.

// maxEngineFile bounds such a file, in bytes. Docker's holds one container, Podman's all.
const maxEngineFile = 16 << 20

// look finds out what an engine has in its files. bundle is the container's directory.
func (d *document) look(f *policy.Facts, bundle string) {
	var names engineNames
	var err error
	switch f.Engine {
	case policy.EngineDocker:
		names, err = dockerNames(d.rootfs, f.ID)
	case policy.EnginePodman:
		names, err = podmanNames(bundle, f.ID)
	default:
		return
	}
	if err != nil {
		f.Container, f.Untold = "", err
		return
	}
	f.Container, f.Image, f.Labels = names.container, names.image, names.labels
}

// engineNames are what an engine's files say of a container.
type engineNames struct {
	container, image string
	labels           map[string]string
}

// dockerNames reads Docker's file of a container, ROOT/containers/ID/config.v2.json (moby, container/container.go). ROOT
// is above the container's root file system, which no container can choose: ROOT/overlay2/LAYER/merged or
// ROOT/rootfs/SNAPSHOTTER/ID for two. Nothing in the file system itself is looked at.
func dockerNames(rootfs, id string) (engineNames, error) {
	if !filepath.IsAbs(rootfs) || !isName(id) {
		return engineNames{}, fmt.Errorf("its spec, with the root file system %s, is not one of Docker's", quote(rootfs))
	}
	rootfs = filepath.Clean(rootfs)
	for i := 1; i < len(rootfs); i++ { // from the top, at each directory above rootfs
		if rootfs[i] != '/' {
			continue
		}
		path := filepath.Join(rootfs[:i], "containers", id, "config.v2.json")
		names, err := readDocker(path, id)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		return names, err
	}
	return engineNames{}, fmt.Errorf("its file of Docker's, containers/%s/config.v2.json, is in no directory above its root file "+
		"system", id)
}

// isName tells a name for a file from a path.
func isName(s string) bool { return s != "" && s != "." && s != ".." && !strings.Contains(s, "/") }

func readDocker(path, id string) (names engineNames, err error) {
	data, err := readRoots(path)
	if err != nil {
		return engineNames{}, err
	}
	var is, imageID string
	d := document{data: data}
	err = d.parse(func(dec *jsontext.Decoder) error {
		_, err := object(dec, nil, func(key string) (err error) {
			switch key {
			case "ID":
				is, err = text(dec)
			case "Name":
				names.container, err = text(dec)
			case "Image":
				imageID, err = text(dec)
			case "Config":
				if dec.PeekKind() != '{' {
					return dec.SkipValue()
				}
				_, err = object(dec, nil, func(key string) (err error) {
					switch key {
					case "Image":
						names.image, err = text(dec)
					case "Labels":
						names.labels, err = stringsIn(dec)
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
		return err
	})
	names.container = strings.TrimPrefix(names.container, "/")
	switch {
	case err != nil:
		return engineNames{}, fmt.Errorf("%s: %w", path, err)
	case is != id || names.container == "":
		return engineNames{}, fmt.Errorf("%s is of container %s with the name %s, and not of this one", path, quote(is),
			quote(names.container))
	}
	// Who runs a container by the id of its image, or the beginning of one, has named none.
	if hex := strings.TrimPrefix(imageID, "sha256:"); names.image != "" && strings.HasPrefix(hex, names.image) {
		names.image = imageID
	}
	return names, nil
}

// stringsIn reads an object of strings, or null.
func stringsIn(dec *jsontext.Decoder) (map[string]string, error) {
	if dec.PeekKind() != '{' {
		return nil, dec.SkipValue()
	}
	all := make(map[string]string)
	_, err := object(dec, nil, func(key string) (err error) {
		all[key], err = text(dec)
		return err
	})
	return all, err
}

// podmanNames reads the lists of containers in Podman's storage (container-libs, storage/containers.go): those that live on
// after the node's next boot, and those that do not. They are in the directory of the directories of containers, where
// the bundle is: STORAGE/overlay-containers/ID/userdata. A container that is made of a directory (--rootfs) has no image.
func podmanNames(bundle, id string) (engineNames, error) {
	dir := filepath.Dir(bundle)
	list := filepath.Dir(dir)
	if filepath.Base(bundle) != "userdata" || filepath.Base(dir) != id || !strings.HasSuffix(list, "-containers") {
		return engineNames{}, fmt.Errorf("its bundle %s is not where Podman's are, DRIVER-containers/ID/userdata", quote(bundle))
	}
	for _, name := range []string{"volatile-containers.json", "containers.json"} {
		path := filepath.Join(list, name)
		data, err := readRoots(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return engineNames{}, err
		}
		names, found, err := podmanContainer(data, id)
		if err != nil {
			return engineNames{}, fmt.Errorf("%s: %w", path, err)
		}
		if found {
			return names, nil
		}
	}
	return engineNames{}, fmt.Errorf("it is in none of Podman's lists of containers in %s", list)
}

// podmanContainer finds a container in a list of Podman's storage. Its image's name is in a text of Podman's own
// (podman, libpod/storage.go, RuntimeContainerMetadata).
func podmanContainer(data []byte, id string) (names engineNames, found bool, err error) {
	d := document{data: data}
	err = d.parse(func(dec *jsontext.Decoder) error {
		return each(dec, func(dec *jsontext.Decoder) error {
			var one engineNames
			var is, metadata string
			_, err := object(dec, nil, func(key string) (err error) {
				switch key {
				case "id":
					is, err = text(dec)
				case "names":
					err = tokens(dec, func(name string) {
						if one.container == "" {
							one.container = name
						}
					})
				case "metadata":
					metadata, err = text(dec)
				default:
					err = dec.SkipValue()
				}
				return err
			})
			if err != nil || is != id {
				return err
			}
			names, found = one, true
			m := document{data: []byte(metadata)}
			return m.parse(func(dec *jsontext.Decoder) error {
				_, err := object(dec, nil, func(key string) (err error) {
					if key != "image-name" {
						return dec.SkipValue()
					}
					names.image, err = text(dec)
					return err
				})
				return err
			})
		})
	})
	if err == nil && found && names.container == "" {
		err = fmt.Errorf("container %s has no name", id)
	}
	return names, found, err
}

// readRoots reads a file that nobody but root may have written.
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
	owner, _ := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", path)
	case owner == nil || int(owner.Uid) != os.Geteuid() || info.Mode()&0o022 != 0:
		return nil, fmt.Errorf("%s could have been written by others than root", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxEngineFile+1))
	if err == nil && len(data) > maxEngineFile {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxEngineFile>>20)
	}
	return data, err
}
