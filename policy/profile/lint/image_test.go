package lint

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/rootfs"
)

// image makes a root file system. A file is its name, a link "NAME -> TARGET", and a hard link "NAME = TARGET".
func image(t *testing.T, files ...string) *rootfs.Tree {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		name, link, isLink := strings.Cut(f, " -> ")
		name, hard, isHard := strings.Cut(name, " = ")
		path := filepath.Join(dir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case isLink:
			err = errors.Join(err, os.Symlink(link, path))
		case isHard:
			err = errors.Join(err, os.Link(filepath.Join(dir, hard), path))
		default:
			err = errors.Join(err, os.WriteFile(path, nil, 0o644))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	tree, err := rootfs.Dir(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

// With an image, paths are judged by what is a link there, and by nothing else.
func TestImage(t *testing.T) {
	debian := image(t, "/usr/bin/dash", "/usr/bin/sh -> dash", "/bin -> usr/bin", "/usr/bin/mawk", "/usr/bin/awk -> /etc/alternatives/awk",
		"/etc/alternatives/awk -> /usr/bin/mawk", "/run/x", "/var/run -> /run", "/usr/bin/python3.11", "/usr/bin/python3 -> python3.11")
	alpine := image(t, "/bin/busybox", "/bin/sh -> /bin/busybox", "/bin/ps -> busybox", "/usr/bin/top -> ../../bin/busybox", "/usr/sbin/x")
	boxes := image(t, "/bin/busybox", "/bin/sh = /bin/busybox", "/bin/ps = /bin/busybox")
	for _, test := range []struct {
		name  string
		tree  *rootfs.Tree
		rules string
		want  string
		says  string // in one of the messages
	}{
		{"a merged directory", debian, "file,\naudit deny /bin/dash x,", "usr-merge:7", "in the image /bin/dash is a link to /usr/bin/dash"},
		{"none that is merged", alpine, "file,\naudit deny /bin/x x,\naudit deny /sbin/** w,\naudit deny /lib/** w,", "", ""},
		{"the shell, as it is called there", debian, "file,\naudit deny /{usr/,}bin/sh x,", "link:7",
			"/bin/sh is a link to /usr/bin/dash, and the kernel sees that one: there the rule for /{usr/,}bin/sh does not deny x, nor for one other path; write it for /usr/bin/dash"},
		{"the shell, as it is", debian, "file,\naudit deny /{usr/,}bin/{sh,dash} x,", "", ""},
		{"links to links", debian, "file,\naudit deny /usr/bin/awk mrwx,", "link:7", "write it for /usr/bin/mawk"},
		{"what only this image has", debian, "/usr/bin/python3 ix,", "link:6", "does not allow x"},
		{"what is allowed as it is", debian, "/usr/bin/python3 ix,\n/usr/bin/python3.* ix,", "", ""},
		{"what is denied on purpose", debian, "/bin/* ix,\n/usr/bin/* ix,\naudit deny /usr/bin/dash x,", "", ""},
		{"a directory of the state", debian, "file,\naudit deny /var/run/** w,", "link:7", "/run/x"},
		{"a file that is made later", debian, "/var/run/nginx.pid rw,", "link:6", "in the image /var/run is a link to /run, and the kernel sees " +
			"that one: there the rule for /var/run/nginx.pid does not allow rw; write it for /run/nginx.pid"},
		{"files that are made later", debian, "/var/run/n** rw,", "link:6", "write it for /run/n**"},
		{"files that are allowed where they are", debian, "/var/run/** rw,\n/run/** rw,", "", ""},
		{"a library that is not there", debian, "/bin/lib/** mr,", "usr-merge:6", "write it for /usr/bin/lib/**"},
		{"any directory", debian, "/** r,", "", ""},
		{"a link of the kernel's", alpine, "file,\naudit deny /proc/self/mem w,\naudit deny /var/run/** w,", "link:7", "/proc/PID"},
		{"busybox", alpine, "file,\naudit deny /{usr/,}bin/{sh,top} x,", "busybox:7", "does not deny x, nor for one other path"},
		{"busybox denied", alpine, "file,\naudit deny /{usr/,}bin/{sh,busybox} x,", "", ""},
		{"busybox by hard links", boxes, "file,\naudit deny /bin/sh x,", "busybox:7", "a hard link of /bin/busybox"},
		{"a debian without busybox", debian, "file,\naudit deny /{usr/,}bin/top x,", "", ""},
		{"all of it", debian, "file,\naudit deny /** w,", "dev-null:7", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			text := sound(test.rules)
			warnings, partial, err := Text(t.Context(), text, Options{Rules: read(t, text), Image: test.tree})
			if err != nil {
				t.Fatal(err)
			}
			var all strings.Builder
			for _, w := range warnings {
				all.WriteString(w.Message + "\n")
			}
			if got := checksOf(warnings); got != test.want || partial || !strings.Contains(all.String(), test.says) {
				t.Errorf("%s, want %s\n%s", got, test.want, all.String())
			}
		})
	}
}
