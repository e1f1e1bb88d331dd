package command

import (
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

func TestProfileMeaning(t *testing.T) {
	dir := packageDir(t)
	m := newCompiling(t)
	const text = "abi <abi/3.0>,\ninclude <tunables/global>\nprofile web flags=(attach_disconnected) {\n"
	m.write("web", text+`  include <abstractions/base>
  /srv/** r,
  /usr/bin/* ix,
  network inet stream,
  /usr/bin/tool cx -> tool,
  profile tool { /srv/** r, }
}
`)
	m.write("web2", text+`  include <abstractions/base>
  /srv/** rw,
  deny /srv/secret/** rw,
  audit /srv/log/** w,
  owner @{PROC}/[0-9]*/** r,
  /usr/bin/* px -> tools,
  network inet,
  capability chown,
  mount fstype=tmpfs options=(rw,nosuid) -> /mnt/*/,
  signal (receive) set=(term) peer=crun,
  /usr/bin/tool cx -> tool,
  profile tool { /srv/{a,b}* r, }
}
`)
	m.write("same", text+"  include <abstractions/base>\n  /srv/{,**} r,\n  deny /srv/ r,\n  /usr/bin/* ix,\n"+
		"  network inet stream,\n  /usr/bin/tool cx -> tool,\n  profile tool { /srv/** r, }\n}\n")
	m.write("strict", text+"  /srv/** r,\n}\n")
	m.run("profile", "diff", "--meaning", "web", "web2")
	m.run("profile", "diff", "--meaning", "web", "web")
	m.run("profile", "diff", "--meaning", "web", "same")
	m.run("profile", "diff", "--meaning", "--json", "web", "strict")
	m.run("profile", "diff", "--meaning", "web//&strict", "strict")
	m.write("moves", text+"  /srv/** r,\n  mount options=move -> /mnt/,\n}\n")
	m.run("profile", "diff", "--meaning", "strict", "moves")
	m.run("profile", "diff", "--meaning", "--json", "strict", "moves")
	m.run("profile", "diff", "--meaning", "web", "missing")
	m.run("profile", "diff", "--json", "web", "web")
	m.run("profile", "contains", "strict", "web")
	m.run("profile", "contains", "web", "strict")
	m.run("profile", "contains", "--quiet", "web2", "web")
	m.run("profile", "contains", "web", "web2")
	m.run("profile", "contains", "web//&strict", "strict")
	m.run("profile", "contains", "web", "kernel:none")
	m.note("a file of compiled profiles")
	m.write("blob", string(kerneltest.Blob("x", "web")))
	m.run("profile", "contains", "blob", "blob")
	m.write("blob", string(kerneltest.Blob("x", "web"))[:40])
	m.run("profile", "contains", "blob", "blob")
	m.note("compiled profiles are larger than their texts may be")
	m.write("large", string(profiletest.Large(40_000, 1)))
	m.run("profile", "contains", "large", "large")
	m.golden(dir)
}

// What is generated for any engine's name differs in nothing but that name.
func TestProfileMeaningGenerated(t *testing.T) {
	m := newCompiling(t)
	code, out := m.run("profile", "diff", "--meaning", "node:docker-default", "2015:docker-default")
	if code != 1 || !strings.Contains(out, "  network alg") || strings.ContainsFunc(out, func(r rune) bool { return r > '~' }) {
		t.Errorf("exit code %d, %s", code, out)
	}
	if code, out := m.run("profile", "contains", "node:docker-default", "node:docker-default"); code != 0 {
		t.Errorf("exit code %d, %s", code, out)
	}
	if _, err := os.Stat("missing"); err == nil {
		t.Error("a file was made")
	}
}
