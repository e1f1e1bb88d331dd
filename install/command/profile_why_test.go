package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// newCompiling is a machine with this one's parser, and with a few files of AppArmor's.
func newCompiling(t *testing.T) *machine {
	compiler := profiletest.Compiler(t, profiletest.Features())
	m := newMachine(t)
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	compiler.Base = filepath.Join(wd, "apparmor.d")
	m.CompilerOf = func([]byte) (node.Compiler, error) { return compiler, nil }
	m.write("apparmor.d/abi/3.0", string(profiletest.Features()))
	m.write("apparmor.d/tunables/global", "@{PROC}=/proc/\n")
	m.write("apparmor.d/abstractions/base", "  /dev/null rw,\n  signal (receive) peer=unconfined,\n")
	m.transcript.Reset()
	return m
}

func TestProfileWhy(t *testing.T) {
	dir := packageDir(t)
	m := newCompiling(t)
	m.write("web", `abi <abi/3.0>,
include <tunables/global>
profile web flags=(attach_disconnected) {
  include <abstractions/base>
  /srv/** r,
  owner /srv/** w,
  /usr/bin/* ix,
  /usr/bin/tool px -> tools,
  /usr/bin/t1 cx,
  /usr/bin/t2 cx -> boy,
  audit deny @{PROC}/kcore r,
  deny /srv/secret/** rw,
  signal (send) set=(term) peer=web,
  signal (send) set=(term) peer=floor,
  /tmp/l* rwl,
  profile kid flags=(complain) {
    deny /kid w,
    audit deny /toy w,
    deny /bin/su x,
  }
}
`)
	m.write("floor", "abi <abi/3.0>,\nprofile floor {\n  /** r,\n  deny /srv/private/** r,\n}\n")
	m.run("profile", "why", "web", "r /srv/i")
	m.run("profile", "why", "web", "w /srv/secret/x", "r /proc/kcore", "other w /srv/i", "w /srv/**", "r /var/x")
	m.run("profile", "why", "web", "x /usr/bin/id", "x /usr/bin/tool", "capability chown")
	m.run("profile", "why", "web", "x /usr/bin/t1", "x /usr/bin/t2")
	m.run("profile", "why", "web", "signal send set=term peer=floor//&web", "owner l /tmp/l -> /srv/i")
	m.run("profile", "why", "--child", "web//kid", "web", "w /kid", "w /toy", "x /bin/su", "r /kid")
	m.run("profile", "why", "floor//&web", "r /srv/i", "r /srv/private/i", "owner w /srv/i")
	m.run("profile", "why", "--json", "web", "other w /srv/i", "r /proc/kcore")
	m.run("profile", "why", "floor", "mount options=move -> /mnt/")
	m.run("profile", "why", "--json", "floor", "mount options=move -> /mnt/")
	m.run("profile", "why", "web")
	m.run("profile", "why", "web", "capability fly")
	m.run("profile", "why", "--child", "none", "web", "r /x")
	m.run("profile", "why", "none", "r /x")
	m.write("bad", "profile bad {\n  /x,\n}\n")
	m.run("profile", "why", "bad", "r /x")
	m.run("profile", "why", "policy:web", "r /x")
	m.golden(dir)
}

// With an image, paths are judged by its files.
func TestProfileCheckImage(t *testing.T) {
	dir := packageDir(t)
	m := newCompiling(t)
	m.write("shop", sound("shop", "  audit deny /bin/sh x,\n  audit deny /usr/bin/top x,\n"))
	m.write("root/usr/bin/dash", "")
	for link, target := range map[string]string{"root/bin": "usr/bin", "root/usr/bin/sh": "dash"} {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	m.run("profile", "check", "shop")
	m.run("profile", "check", "--rootfs", "root", "shop")
	m.write("image.tar", strings.Repeat("x", 1024))
	m.run("profile", "check", "--image", "image.tar", "shop")
	m.run("profile", "check", "--image", "none.tar", "shop")
	m.run("profile", "check", "--image", "image.tar", "--rootfs", "root", "shop")
	m.golden(dir)
}

// The generated profile can be asked about by its name.
func TestProfileWhyGenerated(t *testing.T) {
	m := newCompiling(t)
	for _, name := range []string{"docker-default", "node:docker-default", "2015:docker-default"} {
		code, out := m.run("profile", "why", name, "w /proc/sysrq-trigger")
		if code != 1 || !strings.Contains(out, "/sysrq-trigger rwklx\n") {
			t.Errorf("%s: exit code %d, %s", name, code, out)
		}
	}
}
