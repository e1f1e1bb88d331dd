package profile

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestSupports(t *testing.T) {
	const features = "caps {mask {chown kill\n}\n}\nnamespaces {mask {userns_create\n}\nprofile {yes\n}\n}\nio_uring {mask {sqpoll\n}\n}\nx {0x1\n}"
	for path, want := range map[string]bool{
		"caps": true, "caps/mask": true, "caps/mask/kill": true, "namespaces/mask/userns_create": true, "namespaces/profile/yes": true,
		"io_uring": true, "x/0x1": true, "mask": false, "kill": false, "caps/kill": false, "caps/mask/userns_create": false,
		"network/af_unix": false, "": false, "capsmask": false,
	} {
		if got := (&Compiler{features: []byte(features)}).Supports(path); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
	for _, hostile := range []string{"", "}}}a", "{{{", "a {b", "\x00"} {
		if hasFeature(hostile, "a/c") {
			t.Errorf("%q has it", hostile)
		}
	}
}

func TestABIsAndIncludes(t *testing.T) {
	c := realCompiler(t)
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(c.Base, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("abi/4.0", "namespaces {mask {userns_create\n}\n}\n")
	write("abi/3.0", "namespaces {profile {yes\n}\n}\n")
	if got := c.ABIs("namespaces/mask/userns_create"); !slices.Equal(got, []string{"abi/4.0"}) {
		t.Errorf("%q", got)
	}
	own := write("local/web", "  deny /x w,\n")
	theirs := write("abstractions/base", "  include <abstractions/base.d>\n  /tmp/** rw,\n")
	more := write("abstractions/base.d/more", "  /srv/** r,\n")
	text, err := c.Preprocess(t.Context(), []byte("profile web {\n  include <abstractions/base>\n  include \""+own+"\"\n}\n"))
	wantError(t, err)
	var paths []string
	for _, f := range c.Included(text) {
		paths = append(paths, f.Path)
	}
	if !slices.Equal(paths, []string{theirs, more, own}) {
		t.Errorf("%q, want %q\n%s", paths, []string{theirs, more, own}, text)
	}
	if !c.Theirs(theirs) || c.Theirs(more) || c.Theirs(own) || c.Theirs(c.Base+"/abstractions/../local/web") {
		t.Error("whose they are is not told")
	}
	for path, shipped := range map[string]bool{"abstractions/exo-open": true, "abstractions/company": false, "local/exo-open": false,
		"abstractions/exo-open.d/x": false, "../abstractions/exo-open": false} {
		if got := c.Shipped(filepath.Join(c.Base, path)); (got != "") != shipped {
			t.Errorf("%s: %q", path, got)
		}
	}
	if got := c.Included([]byte("##included <../../../../../../dev/zero>\n##included <\n##included\n")); len(got) != 0 {
		t.Errorf("%v", got)
	}
}
