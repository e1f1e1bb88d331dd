package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/programs"
)

// sample returns an image of two architectures, whose programs are one line each.
func sample(t *testing.T) *Image {
	t.Helper()
	dir := t.TempDir()
	i := &Image{Version: "1.2.0", Date: time.Unix(1700000000, 0).UTC()}
	put := func(name, text string, mode os.FileMode) string {
		at := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return at
	}
	for _, arch := range []string{"amd64", "arm64"} {
		for _, p := range programs.Names {
			put(arch+"/"+p, arch+" "+p, 0o755)
		}
		i.Builds = append(i.Builds, Build{arch, filepath.Join(dir, arch)})
	}
	i.Others = []string{put("place.sh", "#!/bin/sh\n", 0o755), put("LICENSE", "text", 0o644)}
	return i
}

func TestImage(t *testing.T) {
	index, err := sample(t).Index()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 2 {
		t.Fatalf("%d images", len(manifest.Manifests))
	}
	for n, arch := range []string{"amd64", "arm64"} {
		if p := manifest.Manifests[n].Platform; p == nil || p.String() != "linux/"+arch {
			t.Errorf("%v", p)
		}
		image, err := index.Image(manifest.Manifests[n].Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil || config.Architecture != arch || !slices.Equal(config.Config.Entrypoint, []string{"/oci-apparmor"}) ||
			config.Config.Labels["org.opencontainers.image.version"] != "1.2.0" {
			t.Errorf("%+v, %v", config, err)
		}
		layers, err := image.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatal(layers, err)
		}
		content, err := layers[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]string{}
		for r := tar.NewReader(content); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			data, err := io.ReadAll(r)
			if err != nil {
				t.Fatal(err)
			}
			files[h.Name] = fmt.Sprintf("%o %d:%d %s", h.Mode, h.Uid, h.Gid, data)
		}
		if files["oci-apparmor"] != "755 0:0 "+arch+" oci-apparmor" || files["LICENSE"] != "644 0:0 text" || len(files) != 6 {
			t.Errorf("%s: %q", arch, files)
		}
	}
}

// The same files make the same bytes.
func TestWriteIsReproducible(t *testing.T) {
	i := sample(t)
	var all []string
	for n := range 2 {
		at := filepath.Join(t.TempDir(), fmt.Sprint(n))
		if err := i.Write(at, "example.org/oci-apparmor:1"); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(at)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(data))
	}
	if all[0] != all[1] {
		t.Error("two calls wrote different files")
	}
	i.Date = i.Date.Add(time.Hour)
	at := filepath.Join(t.TempDir(), "later")
	if err := i.Write(at, "example.org/oci-apparmor:1"); err != nil {
		t.Fatal(err)
	}
	if data, _ := os.ReadFile(at); string(data) == all[0] {
		t.Error("the date changed nothing")
	}
}

func TestWriteWithoutAProgram(t *testing.T) {
	i := sample(t)
	if err := os.Remove(filepath.Join(i.Builds[1].Dir, programs.Names[2])); err != nil {
		t.Fatal(err)
	}
	at := filepath.Join(t.TempDir(), "image.tar")
	if err := i.Write(at, "x"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(at); err == nil {
		t.Error("a file was written")
	}
}
