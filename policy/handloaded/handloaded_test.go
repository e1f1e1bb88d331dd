package handloaded

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

func TestText(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "state", "texts"))
	b, err := profile.Parse(kerneltest.Blob("1", "web", "web//kid"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Get("web"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before: %v", err)
	}
	want := New([]byte("profile web {}"), b)
	want.Source = "/x"
	write := func(commits bool) {
		t.Helper()
		commit, drop, err := d.Write(want)
		if err != nil {
			t.Fatal(err)
		}
		if commits {
			if err := commit(); err != nil {
				t.Fatal(err)
			}
		}
		drop()
	}
	write(false)
	if _, err := d.Get("web"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after a write that was dropped: %v", err)
	}
	write(true)
	got, err := d.Get("web")
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if p, err := got.Profiles(); err != nil || !reflect.DeepEqual(p, b.Profiles) {
		t.Errorf("%+v, %v", p, err)
	}
	if files, _ := os.ReadDir(string(d)); len(files) != 1 {
		t.Errorf("in the directory are %v", files)
	}
	if err := os.Rename(d.path("web"), d.path("work")); err != nil {
		t.Fatal(err)
	}
	if got, err := d.Get("work"); err == nil {
		t.Errorf("another profile's text: %+v", got)
	}
	if err := errors.Join(d.Remove("work"), d.Remove("work"), d.Remove("../x")); err != nil {
		t.Error(err)
	}
	for _, name := range []string{"../web", "", "a/b", "unconfined"} {
		if _, err := d.Get(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", name, err)
		}
		if _, _, err := d.Write(Text{Name: name}); err == nil {
			t.Errorf("%q was written", name)
		}
	}
}
