package access_test

import (
	"strings"
	"testing"
	"unicode"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/access"
)

// Whatever a line is, Parse ends, and says what is wrong in printable text; and what a pattern is printed as, is it.
func FuzzParse(f *testing.F) {
	for _, line := range lines {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		p, err := Parse(line)
		if err != nil {
			if strings.ContainsFunc(err.Error(), func(r rune) bool { return !unicode.IsPrint(r) }) {
				t.Fatalf("%q: %q", line, err)
			}
			return
		}
		again, err := Parse(p.String())
		if err != nil || again.String() != p.String() {
			t.Fatalf("%q is printed as %q, and that as %q: %v", line, p, again, err)
		}
		if _, _, err := p.Allowed(nil); err != nil && !strings.Contains(err.Error(), "too many states") {
			t.Fatalf("%q: %v", line, err)
		}
	})
}

// lines are what each form of a line looks like.
var lines = []string{
	"r /srv/**", "owner w /home/*/x", `w "/a b"`, "/srv/** rw", "other read+write /x", "file", "file rw /x",
	"x /usr/bin/x -> unconfined", "px /usr/bin/x -> y", `l /a -> "/b c"`, "owner link /a -> /b", `r /{a,b}[^c]?\*\040*`,
	"signal", "signal send set=(kill, term) peer=a//&*", "signal (send receive) peer=unconfined", "ptrace", "ptrace trace peer=x",
	"userns", "io_uring", "io_uring override_creds label=x", "change_profile", "change_profile onexec stack owner /x -> y",
	"change_profile -> &y", "change_profile request -> y", "change_hat", "change_hat h*",
	"network", "network inet stream protocol=6", "tcp connect", "inet6 udp", "unix", "unix stream connect addr=none peer=x",
	"owner unix (send receive) type=dgram addr=@* peer=(addr=auto, label={a,b})", "unix listen addr=/x backlog=3",
	"mount", "mount fstype=(tmpfs, proc) options=(ro, nosuid) options in (nodev) data=x \"\" -> /x", "remount options=0x200 /x",
	"bind /a -> /b", "umount /x", "pivot_root oldroot=/x/ /y/", "mqueue (create open) type=posix label=x /q", "mqueue",
	"dbus", "dbus send bus=system path=/x interface=y member=z peer=(name=a, label=b)", "dbus bind name=a.*",
	"rlimit", "set rlimit nofile <= 1024", "rlimit as=infinity",
	"capability", "capability sys_admin", "capability (sys_admin, chown)",
}
