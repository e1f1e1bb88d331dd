// Package image writes the container image that the DaemonSet runs, without a container engine.
//
// It uses github.com/google/go-containerregistry. containerd's own packages write images as well, but only from a content store,
// and ko builds Go programs itself, of which ours need flags of their own.
package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/oci-apparmor/oci-apparmor/hook/programs"
)

// Build is the programs for one architecture, as Go names it, and the directory that they are in.
type Build struct{ Arch, Dir string }

// Image is what to write.
type Image struct {
	Builds  []Build
	Others  []string  // files beside the programs: the script that places them, the unit, the licence
	Version string    // of the programs
	Date    time.Time // of all files
}

// Index returns the image for all architectures.
func (i *Image) Index() (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, b := range i.Builds {
		image, err := i.of(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.Arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: b.Arch}},
		})
	}
	return index, nil
}

// of returns the image of one architecture.
func (i *Image) of(b Build) (v1.Image, error) {
	var files []string
	for _, program := range programs.Names {
		files = append(files, filepath.Join(b.Dir, program))
	}
	layer, err := layerOf(append(files, i.Others...), i.Date)
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: b.Arch, Created: v1.Time{Time: i.Date},
		RootFS: config.RootFS,
		Config: v1.Config{
			Entrypoint: []string{"/" + programs.Names[0]},
			Env:        []string{"PATH=/"},
			WorkingDir: "/",
			Labels: map[string]string{
				"org.opencontainers.image.title":    "oci-apparmor",
				"org.opencontainers.image.source":   "https://github.com/oci-apparmor/oci-apparmor",
				"org.opencontainers.image.version":  i.Version,
				"org.opencontainers.image.licenses": "Apache-2.0",
			},
		},
	})
}

// layerOf returns a layer with files in its root directory. What is a program there stays one, and belongs to root.
func layerOf(files []string, date time.Time) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	slices.SortFunc(files, func(a, b string) int { return strings.Compare(filepath.Base(a), filepath.Base(b)) })
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		mode := int64(0o644)
		if info, err := os.Stat(file); err == nil && info.Mode()&0o111 != 0 {
			mode = 0o755
		}
		h := &tar.Header{Name: filepath.Base(file), Mode: mode, Size: int64(len(data)), ModTime: date, Format: tar.FormatPAX}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(data); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
}

// Write writes the image as a tar of an OCI layout. ref is the name and tag that ctr and podman then call it by. The same
// programs, version and date make the same bytes.
func (i *Image) Write(file, ref string) error {
	index, err := i.Index()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(file), ".layout")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	l, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := l.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"io.containerd.image.name":          ref,
		"org.opencontainers.image.ref.name": ref,
	})); err != nil {
		return err
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	w := tar.NewWriter(f)
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		h := &tar.Header{Name: name, Mode: 0o644, ModTime: i.Date, Format: tar.FormatPAX}
		if d.IsDir() {
			h.Name, h.Mode, h.Typeflag = name+"/", 0o755, tar.TypeDir
			return w.WriteHeader(h)
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return err
		}
		h.Size = int64(len(data))
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	return errors.Join(err, w.Close(), f.Close())
}
