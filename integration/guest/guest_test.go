package guest

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestSelect(t *testing.T) {
	for _, test := range []struct{ suites, want, wrong string }{
		{"all", "bookworm trixie forky", ""},
		{"forky,bookworm", "bookworm forky", ""},
		{"trixie", "trixie", ""},
		{"trixie,sarge", "", `"sarge"`},
		{"", "", `""`},
	} {
		guests, err := Select(test.suites)
		var names []string
		for _, g := range guests {
			names = append(names, g.Suite)
		}
		if got := strings.Join(names, " "); got != test.want || (err != nil) != (test.wrong != "") {
			t.Errorf("Select(%q) = %q, %v; want %q", test.suites, got, err, test.want)
		}
		if err != nil && !strings.Contains(err.Error(), test.wrong) {
			t.Errorf("Select(%q): %v; want it to name %s", test.suites, err, test.wrong)
		}
	}
}

func TestDebianURI(t *testing.T) {
	for _, test := range []struct {
		name, text string
		deb822     bool
		want       string
	}{
		{"one line", "# deb http://old.invalid/debian sid main\ndeb http://mirror.invalid/debian trixie main\n", false, "http://mirror.invalid/debian"},
		{"options", "deb [arch=amd64 signed-by=/k.gpg] http://mirror.invalid/debian/ trixie main\n", false, "http://mirror.invalid/debian/"},
		{"sources only", "deb-src http://mirror.invalid/debian trixie main\n", false, ""},
		{"another distribution", "deb http://mirror.invalid/ubuntu noble main\n", false, ""},
		{"security is no mirror", "deb http://mirror.invalid/debian-security trixie-security main\n", false, ""},
		{"deb822", "Types: deb\nURIs: http://mirror.invalid/debian-security\n\nTypes: deb deb-src\nURIs: http://mirror.invalid/debian\nSuites: trixie\n", true, "http://mirror.invalid/debian"},
		{"deb822 in another order", "URIs: http://mirror.invalid/debian\n# a comment\nTypes: deb\n\nTypes: deb\n", true, "http://mirror.invalid/debian"},
		{"deb822 sources only", "Types: deb-src\nURIs: http://mirror.invalid/debian\n", true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := debianURI(strings.NewReader(test.text), test.deb822); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestRefusalNamesThePackage(t *testing.T) {
	const output = "Get:7 http://mirror.invalid/debian criu\nE: Unable to locate package criu\n podman : Depends: conmon but it is not installable\nE: Package 'crun' has no installation candidate\n"
	for name, want := range map[string]string{
		"criu":   "E: Unable to locate package criu",
		"podman": "podman : Depends: conmon but it is not installable",
		"crun":   "E: Package 'crun' has no installation candidate",
		"cri":    "",
		"conmon": "",
	} {
		if got := refusal(output, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestLoadOrder(t *testing.T) {
	const index = "kernel/a.ko.xz: kernel/b-c.ko.xz kernel/d.ko.xz\nkernel/b-c.ko.xz: kernel/d.ko.xz\nkernel/d.ko.xz:\nkernel/e.ko: kernel/d.ko.xz\n"
	got, err := loadOrder(index, "kernel/built-in.ko\n", []string{"a", "built_in", "e"})
	want := []string{"kernel/d.ko.xz", "kernel/b-c.ko.xz", "kernel/a.ko.xz", "kernel/e.ko"}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if _, err := loadOrder(index, "", []string{"nosuch"}); err == nil {
		t.Error("a module that the kernel does not have is no error")
	}
}

func TestMarkedOutput(t *testing.T) {
	const nonce = "N0NCE"
	const stream = "noise\x00" + nonce + " start\nbytes \x00N0 \x00\x00" + "and\r\nlines\x00" + nonce + " exit 42\nlate noise"
	for name, r := range map[string]io.Reader{
		"at once":      strings.NewReader(stream),
		"byte by byte": iotest.OneByteReader(strings.NewReader(stream)),
		"with its end": iotest.DataErrReader(strings.NewReader(stream)),
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			started, code := false, -1
			err := marked{nonce, func() { started = true }, func(c int) { code = c }}.copy(&out, r)
			if want := "bytes \x00N0 \x00\x00and\r\nlines"; err != nil || !started || code != 42 || out.String() != want {
				t.Errorf("started %v, exit code %d, %q, %v", started, code, out.String(), err)
			}
		})
	}
}

func TestMarkedOutputOfAGuestThatDies(t *testing.T) {
	var out bytes.Buffer
	exited := false
	err := marked{"N", func() {}, func(int) { exited = true }}.copy(&out, strings.NewReader("\x00N start\nhalf a\x00N exi"))
	if err != nil || exited || out.String() != "half a\x00N exi" {
		t.Errorf("%q, exited %v, %v", out.String(), exited, err)
	}
}

func TestMarkedOutputIsReadOnAfterAWriteError(t *testing.T) {
	broken := errors.New("broken")
	exited := false
	err := marked{"N", func() {}, func(int) { exited = true }}.copy(failingWriter{broken}, strings.NewReader("\x00N start\nwords\x00N exit 0\n"))
	if err != broken || !exited {
		t.Errorf("exited %v, %v", exited, err)
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }

func TestWhatAGuestGoesWithoutIsTold(t *testing.T) {
	image := &Image{Guest: Guest{Suite: "forky"}, Dir: t.TempDir()}
	if lines := image.NotShown(); len(lines) != 0 {
		t.Errorf("of a guest that has everything: %q", lines)
	}
	const missing = "nginx E: Unable to locate package nginx\ncriu E: Package 'criu' has no installation candidate\n"
	if err := os.WriteFile(filepath.Join(image.Dir, "missing"), []byte(missing), 0o644); err != nil {
		t.Fatal(err)
	}
	lines := image.NotShown()
	if len(lines) != 2 || !strings.Contains(lines[0], "criu") || !strings.Contains(lines[1], "forky: NOT SHOWN is what needs nginx") ||
		!strings.HasSuffix(lines[1], "E: Unable to locate package nginx") {
		t.Errorf("%q", lines)
	}
}
