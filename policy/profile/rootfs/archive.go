package rootfs

import (
	"archive/tar"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Bounds on archives.
const (
	maxMembers  = 100_000  // of the archive itself
	maxDocument = 4 << 20  // bytes of a manifest or an index
	maxLayers   = 1000     // of an image; engines run up to 127
	maxLayer    = 64 << 30 // bytes of all layers without compression
	maxNesting  = 8        // of indexes and links in an archive
)

// Archive reads an image from an archive, as docker save and podman save write it: with manifest.json, or with the layout
// of OCI. Of an archive with several images it reads the first one, and of an image for several platforms the first, too.
func Archive(ctx context.Context, name string) (*Tree, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	t, err := readArchive(ctx, f)
	if err != nil {
		return nil, fmt.Errorf("read the image in %s: %w", name, err)
	}
	return t, nil
}

// archive is a file of which it is known where its members are.
type archive struct {
	file    io.ReaderAt
	members map[string]member
}

// member is a part of the archive, or a link to one.
type member struct {
	at, size int64
	target   string
}

func readArchive(ctx context.Context, file io.ReaderAt) (*Tree, error) {
	a := archive{file, make(map[string]member)}
	if err := a.index(ctx); err != nil {
		return nil, err
	}
	layers, err := a.layers()
	if err != nil {
		return nil, err
	}
	if len(layers) > maxLayers {
		return nil, fmt.Errorf("it has %d layers", len(layers))
	}
	t := newTree()
	left := int64(maxLayer)
	for _, layer := range layers {
		content, err := a.open(layer)
		if err == nil {
			err = t.layer(ctx, content, &left)
		}
		if err != nil {
			return nil, fmt.Errorf("layer %.100q: %w", layer, err)
		}
	}
	t.finish()
	return t, nil
}

// index finds the archive's members.
func (a *archive) index(ctx context.Context) error {
	at := &counted{r: io.NewSectionReader(a.file, 0, 1<<62)}
	r := tar.NewReader(at)
	for {
		h, err := r.Next()
		switch {
		case errors.Is(err, io.EOF) && len(a.members) > 0:
			return nil
		case errors.Is(err, io.EOF):
			return errors.New("it is empty")
		case err != nil:
			return fmt.Errorf("it is no archive of tar, such as an engine's command save writes: %w", err)
		case ctx.Err() != nil:
			return ctx.Err()
		case len(a.members) == maxMembers:
			return fmt.Errorf("it has more than %d members", maxMembers)
		}
		m := member{at: at.n, size: h.Size}
		switch h.Typeflag {
		case tar.TypeReg:
		case tar.TypeSymlink: // of older versions of docker save, from one layer to an equal one
			m.target = path.Join(path.Dir(h.Name), h.Linkname)
		case tar.TypeLink:
			m.target = h.Linkname
		default:
			continue
		}
		a.members[path.Clean(h.Name)] = m
	}
}

// counted counts what is read. It cannot seek, so that the count is that of all bytes.
type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// section returns a member's content.
func (a *archive) section(name string) (*io.SectionReader, error) {
	for range maxNesting {
		m, ok := a.members[path.Clean(name)]
		if !ok {
			return nil, fmt.Errorf("it has no %.200q", name)
		}
		if m.target == "" {
			return io.NewSectionReader(a.file, m.at, m.size), nil
		}
		name = m.target
	}
	return nil, fmt.Errorf("%.200q is a link to a link, and so on", name)
}

// document reads a member of JSON.
func (a *archive) document(name string, into any) error {
	s, err := a.section(name)
	if err != nil {
		return err
	}
	if s.Size() > maxDocument {
		return fmt.Errorf("its %.200q has %d bytes", name, s.Size())
	}
	text, err := io.ReadAll(s)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("its %.200q: %w", name, err)
	}
	return nil
}

// layers returns the names of the image's layers, the lowest first.
func (a *archive) layers() ([]string, error) {
	if _, ok := a.members["manifest.json"]; ok {
		var images []struct{ Layers []string }
		if err := a.document("manifest.json", &images); err != nil {
			return nil, err
		}
		if len(images) == 0 {
			return nil, errors.New("its manifest.json names no image")
		}
		return images[0].Layers, nil
	}
	name := "index.json"
	if _, ok := a.members[name]; !ok {
		return nil, errors.New("it has neither manifest.json nor index.json, as what an engine's command save writes has: a root file system " +
			"in a directory is for --rootfs")
	}
	for range maxNesting {
		var d struct {
			Manifests, Layers []struct{ Digest string }
		}
		if err := a.document(name, &d); err != nil {
			return nil, err
		}
		if len(d.Manifests) == 0 {
			var layers []string
			for _, l := range d.Layers {
				layers = append(layers, blob(l.Digest))
			}
			return layers, nil
		}
		name = blob(d.Manifests[0].Digest)
	}
	return nil, errors.New("its index is of indexes of indexes, and so on")
}

// blob is where the layout of OCI has content of a digest.
func blob(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// open returns a layer without its compression.
func (a *archive) open(name string) (io.Reader, error) {
	s, err := a.section(name)
	if err != nil {
		return nil, err
	}
	r := bufio.NewReader(s)
	start, _ := r.Peek(4)
	switch {
	case bytes.HasPrefix(start, []byte{0x1f, 0x8b}):
		return gzip.NewReader(r)
	case bytes.Equal(start, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(128<<20))
		if err != nil {
			return nil, err
		}
		return z.IOReadCloser(), nil
	}
	return r, nil
}

// The names by which a layer takes away files of those below it (layer.md of the OCI image specification).
const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
)

// layer puts the files of a layer over those below it. left is how many bytes may be read.
func (t *Tree) layer(ctx context.Context, content io.Reader, left *int64) error {
	limited := &io.LimitedReader{R: content, N: *left}
	r := tar.NewReader(limited)
	defer func() { *left = limited.N }()
	for {
		h, err := r.Next()
		switch {
		case limited.N <= 0:
			return fmt.Errorf("the layers have more than %d bytes", int64(maxLayer))
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		}
		if err := t.entry(h); err != nil {
			return err
		}
	}
}

// entry puts one file of a layer in its place, or takes one away.
func (t *Tree) entry(h *tar.Header) error {
	dir, last := path.Split(path.Clean("/" + h.Name))
	if last == opaque {
		return t.remove(dir, true)
	}
	if gone, ok := strings.CutPrefix(last, whiteout); ok {
		return t.remove(dir+gone, false)
	}
	n := &node{}
	switch h.Typeflag {
	case tar.TypeDir:
		n.entries = make(map[string]*node)
	case tar.TypeSymlink:
		if n.target = h.Linkname; n.target == "" || len(n.target) > maxName {
			return nil
		}
	case tar.TypeLink:
		_, to, ok := t.walk("/" + h.Linkname)
		if !ok || to.isDir() {
			return nil
		}
		if n.inode = to.inode; n.inode == nil {
			n.inode = &inode{}
		}
	case tar.TypeReg, tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		n.inode = &inode{}
	default:
		return nil
	}
	return t.put(h.Name, n)
}
