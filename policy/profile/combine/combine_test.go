package combine_test

import (
	"errors"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/combine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

func source(name, rules string) Source {
	return Source{name, []byte("abi <abi/3.0>,\nprofile " + name + " {\n" + rules + "\n}\n")}
}

// rulesIn returns the rules of a text's profile, a line each.
func rulesIn(text string) string {
	_, text, _ = strings.Cut(text, "{\n")
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimSpace(line))
	}
	return strings.Join(lines[:max(0, len(lines)-1)], "\n")
}

// said returns what is made of two texts: rules, or why there are none.
func said(t testing.TB, make func(...Source) (string, error), sources ...Source) string {
	t.Helper()
	text, err := make(sources...)
	if unsayable := (*Unsayable)(nil); errors.As(err, &unsayable) {
		return "! " + err.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	return rulesIn(text)
}

func merging(t testing.TB) func(...Source) (string, error) {
	c := profiletest.Compiler(t, profiletest.Features())
	return func(sources ...Source) (string, error) { return Merge(t.Context(), c, Target{Name: "ab"}, sources...) }
}

func intersecting(t testing.TB) func(...Source) (string, error) {
	c := profiletest.Compiler(t, profiletest.Features())
	return func(sources ...Source) (string, error) {
		return Intersect(t.Context(), c, Target{Name: "ab"}, sources...)
	}
}

func TestMergeAndIntersect(t *testing.T) {
	t.Parallel()
	merge, intersect := merging(t), intersecting(t)
	for _, test := range []struct{ name, a, b, merged, intersected string }{
		{"paths", "/srv/** r,", "/srv/* rw,\n/etc/* r,", "/srv/** r,\n/srv/* w,\n/etc/* r,", "/srv/* r,"},
		{"globs that overlap", "/srv/a* r,", "/srv/*.so r,", "/srv/a* r,\n/srv/*.so r,", "/srv/a*.so r,"},
		{"braces", "/{usr/,}lib/** r,", "/usr/lib{,32}/{a,b}/*.so r,", "/{usr/,}lib/** r,\n/usr/lib{,32}/{a,b}/*.so r,",
			"/usr/lib/{a,b}/*.so r,"},
		{"owners", "owner /srv/** rw,", "/srv/** r,", "owner /srv/** w,\n/srv/** r,", "owner /srv/** r,"},
		{"denies of both", "file,\ndeny /etc/** w,", "file,\ndeny /etc/*.conf w,\ndeny /srv/* w,", "file,\ndeny /etc/*.conf w,",
			"file,\ndeny /etc/** w,\ndeny /srv/* w,"},
		{"denies that overlap", "file,\ndeny /etc/a* w,", "file,\ndeny /etc/*b w,", "file,\ndeny /etc/a*b w,", "file,\ndeny /etc/a* w,\ndeny /etc/*b w,"},
		{"a deny against an allow", "/** rw,\ndeny /etc/** w,", "/etc/x w,", "/** rw,\ndeny /etc/{[^/x]**,x{?,/}**} w,", "/etc/x w,\ndeny /etc/** w,"},
		{"a deny against allows", "/** rw,\ndeny /proc/sys/** w,", "/proc/sys/net/** rw,",
			"/** rw,\ndeny /proc/sys/{[^/n]**,n,n[^e]**,ne,ne[^t]**,net,net?**} w,\ndeny /proc/sys/net/ w,", "/proc/sys/net/** rw,\ndeny /proc/sys/** w,"},
		{"capabilities", "capability chown,\ncapability kill,", "capability,\ndeny capability kill,", "capability,",
			"capability chown kill,\ndeny capability kill,"},
		{"a denied capability", "capability,\ndeny capability kill,", "capability,\ndeny capability kill bpf,",
			"capability,\ndeny capability kill,", "capability,\ndeny capability kill bpf,"},
		{"signals", "signal (send) peer=a*,", "signal set=(kill term) peer=*b,", "signal (send) peer=a*,\nsignal set=(kill term) peer=*b,",
			"signal (send) set=(kill term) peer=a*b,"},
		{"ptrace", "ptrace peer=a,", "ptrace (read) ,", "ptrace (trace tracedby readby) peer=a,\nptrace (read),", "ptrace (read) peer=a,"},
		{"networks", "network inet,", "network stream,", "network inet,\nnetwork stream,", "network inet stream,"},
		{"denied networks", "network inet,\nnetwork inet6,\ndeny network raw,", "network inet raw,", "network inet,\nnetwork inet6,\ndeny network inet6 raw,",
			"network inet raw,\ndeny network raw,"},
		{"mounts", "mount fstype=tmpfs,\numount /mnt/**,", "mount -> /mnt/**,\numount,", "mount fstype=tmpfs,\nmount -> /mnt/**,\numount,",
			"mount fstype=tmpfs -> /mnt/**,\numount /mnt/**,"},
		{"options of mounts", "mount options in (ro,nosuid) /dev/sda -> /mnt/,", "mount,",
			"mount,", "mount options in (ro,nosuid) /dev/sda -> /mnt/,"},
		{"options of two mounts", "mount options in (ro,nosuid) /dev/sda -> /mnt/,", "mount options in (ro,nosuid) fstype=ext4,",
			"mount options in (ro,nosuid) /dev/sda -> /mnt/,\nmount fstype=ext4 options in (ro,nosuid),",
			"mount fstype=ext4 options in (ro,nosuid) /dev/sda -> /mnt/,"},
		{"an option and what it may be among", "mount options=(ro,bind) /a/ -> /b/,", "mount options in (ro,bind,nosuid) -> /b/,",
			"mount options in (ro,bind,nosuid) -> /b/,", "mount options=(ro,bind) /a/ -> /b/,"},
		{"an option and a source among options", "mount options=(ro,nosuid) -> /b/,", "mount options in (ro,nosuid,nodev) /a/ -> /b/,",
			"mount options=(ro,nosuid) -> /b/,\nmount options in (ro,nosuid,nodev) /a/ -> /b/,", "mount options=(ro,nosuid) /a/ -> /b/,"},
		{"options in two orders", "mount options=(ro,nosuid) -> /b/,", "mount options=(nosuid,ro) /a/ -> /b/,",
			"mount options=(ro,nosuid) -> /b/,", "mount options=(nosuid,ro) /a/ -> /b/,"},
		{"options among which they are", "mount options in (ro,nosuid,noexec) /a/ -> /b/,", "mount options in (nosuid,ro,nodev) -> /b/,",
			"mount options in (ro,nosuid,noexec) /a/ -> /b/,\nmount options in (nosuid,ro,nodev) -> /b/,", "mount options in (ro nosuid) /a/ -> /b/,"},
		{"paths with blanks", "\"/a=b c\" r,", "\"/a=b c\" rw,", "\"/a=b c\" rw,", "\"/a=b c\" r,"},
		{"execs", "/bin/* ix,", "/bin/a rix,\n/bin/b mr,", "/bin/* ix,\n/bin/a r,\n/bin/b mr,", "/bin/a ix,\n/bin/b m,"},
		{"a more exact exec", "/bin/* ix,\n/bin/a px,", "/bin/a px,", "/bin/* ix,\n/bin/a px,", "/bin/a px,"},
		{"scrubbed environments", "/bin/* Px,", "/bin/* px,", "/bin/* px,", "/bin/* Px,"},
		{"links", "link /a/* -> /b/*,", "link subset /a/x -> /**,",
			"! rules that say just this were not found: those that were would not allow to link \"/a/x\" to \"/b/a\" where the link has rights", "link subset /a/x -> /b/*,"},
		{"changes of the profile", "change_profile -> a*,", "change_profile -> {ab,b},", "change_profile -> a*,\nchange_profile -> {ab,b},",
			"change_profile -> ab,"},
		{"limits", "set rlimit nofile <= 10,\nset rlimit cpu <= 5,", "set rlimit nofile <= 20,", "set rlimit nofile <= 20,",
			"set rlimit cpu <= 5,\nset rlimit nofile <= 10,"},
		{"audit", "audit /srv/** r,", "/srv/** r,", "audit /srv/** r,", "audit /srv/** r,"},
		{"children", "/a cx -> kid,\nprofile kid { /x r, }", "/a cx -> kid,\nprofile kid { /x rw, }",
			"/a cx -> kid,\n\nprofile kid {\n/x rw,\n}", "/a cx -> kid,\n\nprofile kid {\n/x r,\n}"},
		{"what comes with a child", "/a r,\n^hat { /x r, }", "owner /proc/[0-9]*/** w,", "/a r,\nowner /proc/[0-9]*/** w,\n\nhat hat {\n/x r,\n}",
			"! rules that say just this were not found: those that were would not allow write \"/proc/0/attr/current\""}, // and not to append
		{"a child of one", "/a r,\n^hat { /x r, }", "/a r,", "/a r,\n\nhat hat {\n/x r,\n}", "/a r,"},
		{"an exec that goes on differently", "/bin/* ix,", "/bin/sh ux,", "! a profile has one way for a program to go on, and of \"/bin/sh\" a",
			"! a profile has one way for a program to go on, and of \"/bin/sh\" a"},
		{"a deny that cannot be cut", "/** rw,\ndeny /srv/**.so w,", "/srv/a** w,", "! rules that say just this were not found: those that were would allow write",
			"/srv/a** w,\ndeny /srv/**.so w,"},
		{"owners that are denied", "/srv/* rw,\ndeny /srv/* w,", "owner /srv/a w,", "! ", "owner /srv/a w,\ndeny /srv/* w,"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := source("a", test.a), source("b", test.b)
			if got := said(t, merge, a, b); got != test.merged && !(strings.HasPrefix(test.merged, "!") && strings.HasPrefix(got, test.merged)) {
				t.Errorf("merged:\n%s\nwant\n%s", got, test.merged)
			}
			if got := said(t, intersect, a, b); got != test.intersected && !(strings.HasPrefix(test.intersected, "!") && strings.HasPrefix(got, test.intersected)) {
				t.Errorf("intersected:\n%s\nwant\n%s", got, test.intersected)
			}
		})
	}
}

// Where the kernel asks each profile about D-Bus, as Ubuntu's do, rules about it stay.
func TestDBus(t *testing.T) {
	c := profiletest.Compiler(t, append(profiletest.Features(), "dbus {mask {acquire send receive\n}\n}\n"...))
	merge := func(s ...Source) (string, error) { return Merge(t.Context(), c, Target{Name: "ab"}, s...) }
	intersect := func(s ...Source) (string, error) { return Intersect(t.Context(), c, Target{Name: "ab"}, s...) }
	for _, test := range []struct{ a, b, merged, intersected string }{
		{"dbus bus=system,\n/srv/** r,", "dbus send bus=system,\ndbus bus=session,", "dbus bus=system,\ndbus bus=session,\n/srv/** r,",
			"dbus send bus=system,"},
		{"dbus send bus=session peer=(label=a),", "dbus (send receive) bus=session path=/p,",
			"dbus send bus=session peer=(label=a),\ndbus (send receive) bus=session path=/p,", "dbus send bus=session path=/p peer=(label=a),"},
		{"dbus send bus=session peer=(label=a),", "dbus bus=session peer=(name=x),",
			"dbus send bus=session peer=(label=a),\ndbus bus=session peer=(name=x),", "dbus send bus=session peer=(label=a name=x),"},
		{"dbus send bus=session peer=(label=a*),", "dbus send bus=session peer=(label=*b),",
			"dbus send bus=session peer=(label=a*),\ndbus send bus=session peer=(label=*b),",
			"! rules that say just this were not found: those that were would not allow to send by D-Bus, bus \"session\", label \"ab\""},
	} {
		a, b := source("a", test.a), source("b", test.b)
		if got := said(t, merge, a, b); got != test.merged {
			t.Errorf("merged:\n%s\nwant\n%s", got, test.merged)
		}
		if got := said(t, intersect, a, b); got != test.intersected {
			t.Errorf("intersected:\n%s\nwant\n%s", got, test.intersected)
		}
	}
}

func TestSeveral(t *testing.T) {
	a, b, c := source("a", "/srv/** rw,"), source("b", "/srv/*/b r,\n/etc/** r,"), source("c", "/srv/c/* rw,")
	if got := said(t, merging(t), a, b, c); got != "/srv/** rw,\n/etc/** r," {
		t.Error(got)
	}
	if got := said(t, intersecting(t), a, b, c); got != "/srv/c/b r," {
		t.Error(got)
	}
	if got := said(t, merging(t), a); got != "/srv/** rw," {
		t.Error(got)
	}
	text, err := merging(t)(a, b, c)
	if want := "# Allows what at least one of these allows: a, b, c\nabi <abi/3.0>,\nprofile ab {\n"; err != nil || !strings.HasPrefix(text, want) {
		t.Errorf("%s%v", text, err)
	}
}

// What decides for all rules must be the same, or be named.
func TestFlags(t *testing.T) {
	c := profiletest.Compiler(t, profiletest.Features())
	with := func(flags string) Source {
		return Source{"a", []byte("profile a flags=(" + flags + ") {\n  /srv/** r,\n}\n")}
	}
	for _, test := range []struct{ a, b, want, says string }{
		{"attach_disconnected,mediate_deleted", "mediate_deleted attach_disconnected", "attach_disconnected mediate_deleted", ""},
		{"audit", "enforce", "audit", ""},
		{"complain", "complain", "complain", ""},
		{"attach_disconnected", "audit", "", "--flags"},
		{"complain", "kill", "", "--flags"},
	} {
		text, err := Merge(t.Context(), c, Target{Name: "x"}, with(test.a), with(test.b))
		if test.says != "" {
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%s and %s: %v", test.a, test.b, err)
			}
		} else if err != nil || !strings.Contains(text, "flags=("+test.want+")") {
			t.Errorf("%s and %s: %s%v", test.a, test.b, text, err)
		}
	}
	text, err := Merge(t.Context(), c, Target{Name: "x", Flags: []string{"attach_disconnected"}}, with("audit"), with("mediate_deleted"))
	if err != nil || !strings.Contains(text, "profile x flags=(attach_disconnected) {") {
		t.Errorf("%s%v", text, err)
	}
}

// Variables, conditions and includes are followed.
func TestExpanded(t *testing.T) {
	a := Source{"a", []byte(`include <tunables/global>
@{d}=/srv/x /srv/y/
$yes = true
profile a {
  @{d}/** r,
  @{PROC}/stat r,
  if $yes { /yes r, } else { /no r, }
  signal peer=@{profile_name},
  audit { /log r, owner { /mine r, } }
}`)}
	const want = "signal peer=a,\n/srv/x/** r,\n/srv/y/** r,\n/proc/stat r,\n/yes r,\naudit /log r,\naudit owner /mine r,"
	if got := said(t, merging(t), a, source("b", "/yes r,")); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	for text, says := range map[string]string{
		"profile a { /@{x}/ r, }":        "x",
		"profile a { ":                   "",
		"profile a /usr/bin/a { /a r, }": "attaches",
	} {
		if _, err := merging(t)(Source{"a", []byte(text)}, a); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
