package rootfs

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// archiveOf makes an archive of tar. A member is "NAME" for a directory with a slash at its end, "NAME -> TARGET" for a
// symbolic link, "NAME = TARGET" for a hard link, and "NAME: CONTENT" for a file.
func archiveOf(members ...string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m, Mode: 0o755}
		content := ""
		if name, target, ok := strings.Cut(m, " -> "); ok {
			h.Name, h.Linkname, h.Typeflag = name, target, tar.TypeSymlink
		} else if name, target, ok := strings.Cut(m, " = "); ok {
			h.Name, h.Linkname, h.Typeflag = name, target, tar.TypeLink
		} else if name, text, ok := strings.Cut(m, ": "); ok {
			h.Name, h.Size, content = name, int64(len(text)), text
		} else if strings.HasSuffix(m, "/") {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			panic(err)
		}
		w.Write([]byte(content))
	}
	w.Close()
	return b.Bytes()
}

func gzipped(data []byte) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(data)
	w.Close()
	return b.Bytes()
}

func zstandard(data []byte) []byte {
	w, _ := zstd.NewWriter(nil)
	return w.EncodeAll(data, nil)
}

// saved are archives of an image with these layers, as different programs write them.
func saved(layers ...[]byte) map[string][]byte {
	docker, oci, names, digests := []string{}, []string{"oci-layout: {}"}, []string{}, []string{}
	for i, layer := range layers {
		name := fmt.Sprintf("l%d/layer.tar", i)
		docker, names = append(docker, name+": "+string(layer)), append(names, `"`+name+`"`)
		data := gzipped(layer)
		if i%2 == 1 {
			data = zstandard(layer)
		}
		digest := fmt.Sprintf("sha256:%d", i)
		oci, digests = append(oci, blob(digest)+": "+string(data)), append(digests, `{"digest":"`+digest+`"}`)
	}
	oci = append(oci, `index.json: {"manifests":[{"digest":"sha256:index"}]}`, `blobs/sha256/index: {"manifests":[{"digest":"sha256:m"},{"digest":"sha256:other"}]}`,
		`blobs/sha256/m: {"config":{"digest":"sha256:c"},"layers":[`+strings.Join(digests, ",")+`]}`)
	return map[string][]byte{
		"docker": archiveOf(append(docker, `manifest.json: [{"Config":"c.json","Layers":[`+strings.Join(names, ",")+`]}]`)...),
		"oci":    archiveOf(oci...),
	}
}

// list shows a tree.
func list(t *Tree) string {
	var all []string
	t.each(func(at string, n *node) bool {
		switch {
		case n.isDir():
			at += "/"
		case n.target != "":
			at += " -> " + n.target
		}
		all = append(all, at)
		return true
	})
	aliases, _ := t.Aliases()
	for _, a := range aliases {
		is := " is "
		if a.Dir {
			is = " is directory "
		}
		all = append(all, a.Path+is+a.Real)
	}
	for _, names := range t.HardLinks() {
		all = append(all, strings.Join(names, " = "))
	}
	return strings.Join(all, "\n")
}

var debian = []string{"usr/", "usr/bin/", "bin -> usr/bin", "usr/bin/dash: x", "usr/bin/sh -> dash", "etc/", "etc/alternatives/", "usr/bin/awk -> /etc/alternatives/awk",
	"etc/alternatives/awk -> /usr/bin/mawk", "usr/bin/mawk: x", "usr/bin/perl: x", "usr/bin/perl5 = usr/bin/perl", "var/run -> /run", "run/", "usr/bin/X11 -> .", "lost -> /none", "out -> ../../../../etc"}

const debianTree = `/bin -> usr/bin
/etc/
/etc/alternatives/
/etc/alternatives/awk -> /usr/bin/mawk
/lost -> /none
/out -> ../../../../etc
/run/
/usr/
/usr/bin/
/usr/bin/X11 -> .
/usr/bin/awk -> /etc/alternatives/awk
/usr/bin/dash
/usr/bin/mawk
/usr/bin/perl
/usr/bin/perl5
/usr/bin/sh -> dash
/var/
/var/run -> /run
/bin is directory /usr/bin
/bin/X11 is directory /usr/bin
/bin/awk is /usr/bin/mawk
/bin/dash is /usr/bin/dash
/bin/mawk is /usr/bin/mawk
/bin/perl is /usr/bin/perl
/bin/perl5 is /usr/bin/perl5
/bin/sh is /usr/bin/dash
/etc/alternatives/awk is /usr/bin/mawk
/out is directory /etc
/out/alternatives/awk is /usr/bin/mawk
/usr/bin/awk is /usr/bin/mawk
/usr/bin/sh is /usr/bin/dash
/var/run is directory /run
/usr/bin/perl = /usr/bin/perl5`

func TestArchive(t *testing.T) {
	for name, data := range saved(archiveOf(debian...)) {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		tree, err := Archive(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if got := list(tree); got != debianTree {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

// A directory is read as an archive is, and nothing outside of it.
func TestDir(t *testing.T) {
	dir := t.TempDir()
	for _, m := range debian {
		m, link, isLink := strings.Cut(m, " -> ")
		m, hard, isHard := strings.Cut(m, " = ")
		m, _, _ = strings.Cut(m, ": ")
		path := filepath.Join(dir, m)
		os.MkdirAll(filepath.Dir(path), 0o755)
		var err error
		switch {
		case isLink:
			err = os.Symlink(link, path)
		case isHard:
			err = os.Link(filepath.Join(dir, hard), path)
		case strings.HasSuffix(m, "/"):
			err = os.MkdirAll(path, 0o755)
		default:
			err = os.WriteFile(path, nil, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tree, err := Dir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := list(tree); got != debianTree {
		t.Errorf("\n%s", got)
	}
	if _, err := Dir(t.Context(), dir+"/none"); err == nil {
		t.Error("it reads a directory that is not there")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Dir(ctx, dir); err == nil {
		t.Error("it goes on when it is stopped")
	}
}

// Layers put files over those of others, and take some away.
func TestLayers(t *testing.T) {
	for name, data := range saved(
		archiveOf("usr/bin/", "bin -> usr/bin", "usr/bin/a: x", "usr/bin/b: x", "old/", "old/x: x", "old/y: x", "file: x", "dir/x: x"),
		archiveOf("bin/c: x", "usr/bin/.wh.a", "old/.wh..wh..opq", "old/z: x", "file/", "file/in: x"),
		archiveOf(".wh.dir", "bin/.wh.b"),
	) {
		tree, err := readArchive(t.Context(), bytes.NewReader(data))
		if err != nil {
			t.Fatal(err)
		}
		const want = "/bin -> usr/bin\n/file/\n/file/in\n/old/\n/old/z\n/usr/\n/usr/bin/\n/usr/bin/c\n/bin is directory /usr/bin\n/bin/c is /usr/bin/c"
		if got := list(tree); got != want {
			t.Errorf("%s:\n%s", name, got)
		}
	}
}

func TestReal(t *testing.T) {
	tree := newTree()
	if err := tree.layer(t.Context(), bytes.NewReader(archiveOf("a/b/", "a/b/c: x", "up -> ..", "abs -> /../../a/./b", "loop -> loop", "one -> two", "two -> one",
		"a/rel -> ../a/b/c", "file: x")), new(int64(1<<20))); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{"/": "/", "/a/b/c": "/a/b/c", "/../../a/b": "/a/b", "/up/up/a": "/a", "/abs/c": "/a/b/c", "/loop": "", "/one": "",
		"/a/rel": "/a/b/c", "/file/x": "", "/file/../a": "", "/none": "", "/a/none/../b": "", strings.Repeat("/a/..", 2000): ""} {
		if got, _ := tree.Real(path); got != want {
			t.Errorf("%.40s: %q, want %q", path, got, want)
		}
	}
}

// An archive of somebody else's is bounded in what it takes.
func TestHostile(t *testing.T) {
	deep := strings.Repeat("d/", 300) + "x: x"
	var fans []string // links to directories in one another, through each of which there are as many paths again
	for i := range 60 {
		fans = append(fans, fmt.Sprintf("d%d/", i))
		for j := range 60 {
			fans = append(fans, fmt.Sprintf("d%d/l%d -> /d%d", i, j, (i+1)%60))
		}
	}
	for name, test := range map[string]struct {
		data []byte
		want string // of the error; empty for none
	}{
		"nothing":                    {nil, "it is empty"},
		"no archive":                 {[]byte(strings.Repeat("x", 2000)), "no archive"},
		"no image":                   {archiveOf("etc/passwd: x"), "neither manifest.json nor index.json"},
		"no images":                  {archiveOf("manifest.json: []"), "names no image"},
		"a manifest that is none":    {archiveOf("manifest.json: {"), "manifest.json"},
		"a layer that is not there":  {archiveOf(`manifest.json: [{"Layers":["../../../etc/passwd"]}]`), "has no"},
		"a layer that is cut off":    {archiveOf(`manifest.json: [{"Layers":["l"]}]`, "l: "+string(archiveOf(debian...)[:700])), "layer"},
		"links in a circle":          {archiveOf(`manifest.json: [{"Layers":["a"]}]`, "a -> b", "b -> a"), "link to a link"},
		"an index of itself":         {archiveOf(`index.json: {"manifests":[{"digest":"sha256:a"}]}`, `blobs/sha256/a: {"manifests":[{"digest":"sha256:a"}]}`), "indexes of indexes"},
		"many layers":                {archiveOf(`manifest.json: [{"Layers":[` + strings.Repeat(`"a",`, 1000) + `"a"]}]`), "1001 layers"},
		"names that lead out":        {saved(archiveOf("../../etc/passwd: x", "/abs: x", "a/../../b: x", "..: x", "../.wh.x", ".wh..", ".wh..wh..opq"))["docker"], ""},
		"directories in one another": {saved(archiveOf(deep))["docker"], "deep"},
		"many links":                 {saved(archiveOf(fans...))["docker"], ""},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			tree, err := readArchive(t.Context(), bytes.NewReader(test.data))
			if err == nil {
				aliases, _ := tree.Aliases()
				if len(aliases) > maxAliases || slices.ContainsFunc(aliases, func(a Alias) bool { return strings.Contains(a.Real, "..") }) {
					t.Errorf("%d aliases", len(aliases))
				}
			}
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if took := time.Since(start); took > time.Minute {
				t.Errorf("it took %s", took)
			}
		})
	}
}

func FuzzArchive(f *testing.F) {
	for _, data := range saved(archiveOf(debian...), archiveOf("bin/.wh.sh", ".wh.var")) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		tree, err := readArchive(t.Context(), bytes.NewReader(data))
		if err != nil {
			return
		}
		aliases, _ := tree.Aliases()
		for _, a := range aliases {
			if real, ok := tree.Real(a.Path); !ok || real != a.Real {
				t.Errorf("%q is %q, and not %q", a.Path, real, a.Real)
			}
		}
	})
}
