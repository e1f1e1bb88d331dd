package meaning_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// Which kernels answer otherwise is said of each access about which they do. A guest shows it: TestKernelsAnswerAsIsSaid.
func TestKernels(t *testing.T) {
	file := func(name string) []byte {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	newer := read(t, file("parsers/4.1.8.on-6.12.blob"), "parsers")
	tables := read(t, file("parsers/4.1.8.on-7.2.blob"), "parsers") // with rules about D-Bus, and about sockets in the old form
	sockets := read(t, file("sockets.permissions5"), "sockets")
	old := func(text string) *Profile {
		return read(t, profiletest.Several(t, "abi <abi/3.0>,\nprofile old "+text+"\n"), "old")
	}
	message := DBusAccess{Want: DBusSend, Bus: "session", Path: "/", Interface: "x", Member: "y", Label: "z"}
	alone := func() *Profile {
		all, err := ReadFor(file("parsers/4.1.8.on-7.2.blob"), lacking{})
		if err != nil {
			t.Fatal(err)
		}
		return all[slices.IndexFunc(all, func(p *Profile) bool { return p.Name == "parsers" })]
	}()
	for _, test := range []struct {
		name string
		p    *Profile
		a    Access
		want string // what is said, with "; " between two kinds of kernels
	}{
		{"user namespaces", newer, UsernsAccess{}, "allowed by Linux before 6.7, which asks no profile about user namespaces"},
		{"io_uring", newer, IOUringAccess{}, "allowed by Linux before 6.7, which asks no profile about io_uring"},
		{"what a profile allows", old("{ file, }"), FileAccess{Path: "/x", Want: MayRead}, ""},
		{"attributes without rules", old("{ signal, }"), FileAccess{Path: "/x", Want: MayGetAttr},
			"allowed by Linux before 6.4, which lets attributes of files be read where a profile has no rules about files at all"},
		{"attributes with rules", old("{ /y r, }"), FileAccess{Path: "/x", Want: MayGetAttr}, ""},
		{"reading without rules", old("{ signal, }"), FileAccess{Path: "/x", Want: MayRead}, ""},
		{"moved mounts", old("{ mount fstype=proc, }"), MountAccess{Target: "/x/", Flags: 1 << 13},
			"allowed by Linux before 6.7 without a fix of 2023 (157a3537d6bc), which asks about mount(2) alone, and move_mount(2) can do the same"},
		{"other mounts", old("{ mount fstype=proc, }"), MountAccess{Target: "/x/", Type: "tmpfs"}, ""},
		{"a missing profile in complain mode", old("flags=(complain) { /x px -> y, }"), ExecAccess{Path: "/x"},
			"denied by Linux up to 6.12, which refuses a program in complain mode too where the profile that it is to go on under is not loaded"},
		{"a missing profile in enforce mode", old("{ /x px -> y, }"), ExecAccess{Path: "/x"}, ""},
		{"a missing profile with another way", old("flags=(complain) { /x pix -> y, }"), ExecAccess{Path: "/x"}, ""},
		{"a missing profile on top", old("{ /x px -> &y, }"), ExecAccess{Path: "/x"}, ""},
		{"a missing profile on top, with another way", old("{ /x pux -> &y, }"), ExecAccess{Path: "/x"}, "denied by Linux before 6.17 without a fix of " +
			"2025 (a9eb185be84e), which refuses a program where the profile that is to be put on top is not loaded, whatever else the rule names"},
		{"a missing profile on top in complain mode", old("flags=(complain) { /x pux -> &y, }"), ExecAccess{Path: "/x"},
			"denied by Linux up to 6.12, which refuses a program in complain mode too where the profile that it is to go on under is not loaded"},
		{"parts of a label", old("{ signal peer={a,b}, }"), SignalAccess{Want: MayWrite, Signal: 9, Peer: "a//&b"},
			"denied by Linux before 7.0 without a fix of 2026 (a4c9efa4dbad), which often takes a stacked label as a whole alone, and not each part of it"},
		{"a whole label", old("{ signal peer=a//&b, }"), SignalAccess{Want: MayWrite, Signal: 9, Peer: "a//&b"}, ""},
		{"parts of a label that is traced", old("{ ptrace peer={a,b}, }"), PtraceAccess{Want: MayRead, Peer: "a//&b"},
			"denied by Linux before 7.0 without a fix of 2026 (a4c9efa4dbad), which often takes a stacked label as a whole alone, and not each part of it"},
		{"sockets in the new form", sockets, UnixAccess{Type: 1, Want: MayCreate},
			"denied by Linux before 6.17, which knows no rules about sockets in the form that the profile has them in"},
		{"sockets in the old form", tables, SocketAccess{Family: 10, Type: 1, Want: MayCreate}, ""},
		{"D-Bus beside sockets in the new form", sockets, message, "allowed by Linux before 6.17, other than Ubuntu's, which asks no profile about D-Bus"},
		{"D-Bus beside sockets in the old form", tables, message, "denied by Ubuntu's Linux before 6.17, which asks each profile that has rules about D-Bus"},
		{"D-Bus for a kernel that asks each profile", alone, message, "allowed by Linux before 6.17, other than Ubuntu's, which asks no profile about D-Bus; " +
			"allowed by Linux 6.17 and later, which asks about D-Bus only profiles that have rules about sockets in its newer form"},
	} {
		var said []string
		for _, k := range test.p.Kernels(test.a) {
			said = append(said, k.String())
		}
		if got := strings.Join(said, "; "); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

// lacking is a kernel without any feature.
type lacking struct{}

func (lacking) Supports(string) bool { return false }

// What each part of a stack allows is allowed: that one part would have another answer does not matter where another denies.
func TestKernelsOfStacks(t *testing.T) {
	both := profiletest.Several(t, "abi <abi/3.0>,\nprofile a { signal, }\nprofile b { /x r, }\n")
	a, b := read(t, both, "a"), read(t, both, "b")
	access := FileAccess{Path: "/x", Want: MayGetAttr | MayRead}
	if all := (Stack{a, b}).Kernels(access); all != nil {
		t.Errorf("%v", all)
	}
	access.Want = MayGetAttr
	if all := (Stack{a, b}).Kernels(access); len(all) != 1 || !all[0].Answer.Allowed {
		t.Errorf("%v", all)
	}
}
