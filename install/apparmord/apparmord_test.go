package apparmord

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

func web() File {
	return File{
		Name: "web", By: Policy, Source: "profiles/a\nb", Text: []byte("abi <abi/3.0>,\nprofile web {\n}\n"),
		Compiled: []profile.Compiled{{Name: "web", Mode: profile.Complain, SHA1: [20]byte{1}, SHA256: [32]byte{2}}, {Name: "web//kid"}},
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	d := Dir(t.TempDir())
	want := web()
	if err := d.Write(want); err != nil {
		t.Fatal(err)
	}
	files, err := d.Files()
	if err != nil || len(files) != 1 {
		t.Fatalf("%+v, %v", files, err)
	}
	if files[0].Stamp.Size < int64(len(want.Text)) || files[0].Read.IsZero() {
		t.Errorf("its stamp is %+v, read at %v", files[0].Stamp, files[0].Read)
	}
	files[0].Stamp, files[0].Read = safefile.Stamp{}, time.Time{}
	if !reflect.DeepEqual(files[0], want) {
		t.Fatalf("%+v, %v; want %+v", files, err, want)
	}
	data, err := os.ReadFile(d.Path("web"))
	if err != nil || !strings.HasPrefix(string(data), "# Written by oci-apparmor policy apply; do not edit") {
		t.Errorf("%s, %v", data, err)
	}
	for line := range strings.Lines(strings.TrimSuffix(string(data), string(want.Text))) {
		if line[0] != '#' {
			t.Errorf("no comment, and not the profile's: %q", line)
		}
	}
	if info, err := os.Stat(d.Path("web")); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}

	if err := os.WriteFile(d.Path("web"), append(data, "# edited\n"...), 0o644); err != nil {
		t.Fatal(err)
	}
	if files, err := d.Files(); err != nil || len(files) != 1 || !files[0].Edited {
		t.Errorf("an edited file is %+v, %v", files, err)
	}
	if err := d.Write(want); err != nil {
		t.Error(err)
	}
	if err := d.Remove("web"); err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(string(d)); err != nil || len(entries) > 0 {
		t.Errorf("left are %v, %v", entries, err)
	}
	if err := d.Remove("web"); err != nil {
		t.Error(err)
	}
}

func TestForeignFilesStay(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, d Dir){
		"a file of somebody's": func(t *testing.T, d Dir) {
			if err := os.WriteFile(d.Path("web"), []byte("profile web { }\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		},
		"a copy of another of ours": func(t *testing.T, d Dir) {
			other := web()
			other.Name, other.Compiled = "other", other.Compiled[:1]
			if err := errors.Join(d.Write(other), os.Rename(d.Path("other"), d.Path("web"))); err != nil {
				t.Fatal(err)
			}
		},
		"a link": func(t *testing.T, d Dir) {
			if err := errors.Join(d.Write(web()), os.Rename(d.Path("web"), d.Path("web")+".x"),
				os.Symlink(d.Path("web")+".x", d.Path("web"))); err != nil {
				t.Fatal(err)
			}
		},
		"a directory": func(t *testing.T, d Dir) {
			if err := os.Mkdir(d.Path("web"), 0o755); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := Dir(t.TempDir())
			make(t, d)
			before, err := os.Lstat(d.Path("web"))
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Write(web()); !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), d.Path("web")) {
				t.Errorf("write: %v", err)
			}
			if err := d.Remove("web"); err != nil {
				t.Errorf("remove: %v", err)
			}
			if files, err := d.Files(); err != nil || len(files) > 0 {
				t.Errorf("ours are %v, %v", files, err)
			}
			if after, err := os.Lstat(d.Path("web")); err != nil || !os.SameFile(before, after) {
				t.Errorf("it was changed: %v", err)
			}
		})
	}
}

func TestOthersAreKnownByWhatTheyDefine(t *testing.T) {
	d := Dir(t.TempDir())
	if err := d.Write(web()); err != nil {
		t.Fatal(err)
	}
	define := func(name string) string { return "profile " + name + " {\n}\n" }
	files := map[string]string{
		"nginx": "include <tunables/global>\nprofile docker-nginx flags=(complain) {\n}\n  profile \"quoted\" { }\n",
		"nest":  "profile outer /{usr/,}bin/outer { # {\n  \"/a{b\" r,\n  profile inner {\n  }\n  profile inner2 { }\n}\n" + define("last"),
		".away": define("hidden"), "notes": "# profile none {\n", "README": define("readme"), "old": define("disabled"),
		"disable/old": "", "disable/other": define("other"),
	}
	for _, end := range []string{".dpkg-old", ".dpkg-new", ".dpkg-dist", ".dpkg-bak", "~", ".orig", ".rej", ".rpmsave", ".rpmnew"} {
		files["web"+end] = define("web")
	}
	if err := os.Mkdir(filepath.Join(string(d), "disable"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(string(d), name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	nginx, nest := filepath.Join(string(d), "nginx"), filepath.Join(string(d), "nest")
	want := map[string]string{"docker-nginx": nginx, "quoted": nginx, "outer": nest, "last": nest}
	if got, err := d.Others(func(name string) bool { return name == "web" }); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

// A full disk or a directory that is read-only leaves what was there.
func TestAWriteThatFailsLeavesNothing(t *testing.T) {
	d := Dir(filepath.Join(t.TempDir(), "gone"))
	if d.Exists() {
		t.Error("it does not exist")
	}
	if err := d.Write(web()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	bad := web()
	bad.Name = "../web"
	if err := Dir(t.TempDir()).Write(bad); err == nil {
		t.Error("a name that is a path is accepted")
	}
}
