package meaning_test

import (
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

func parse(t testing.TB, text string) map[string]*Profile {
	t.Helper()
	all, err := Read(profiletest.Several(t, text))
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]*Profile)
	for _, p := range all {
		byName[p.Name] = p
	}
	return byName
}

// saying returns an answer as a word for the tests: what happens, whether it is logged, and by whom it is denied.
func saying(a Answer) string {
	words := []string{"denied"}
	if a.Allowed {
		words[0] = "allowed"
	}
	if a.Logged {
		words = append(words, "logged")
	}
	if a.Killed {
		words = append(words, "killed")
	}
	if a.Missing {
		words = append(words, "missing")
	}
	if a.Allowed != (a.Part == nil) {
		words = append(words, "by the wrong part")
	}
	return strings.Join(words, " ")
}

func TestDecide(t *testing.T) {
	p := parse(t, profiletest.Decided)
	const (
		allowed, audited = "allowed", "allowed logged"
		denied, quiet    = "denied logged", "denied"
		killed           = "denied logged killed"

		inet, inet6, netlink, stream, raw = 2, 10, 16, 1, 3

		rdonly, nosuid, nodev, remount, bind, move, rec, slave = 1, 2, 4, 1 << 5, 1 << 12, 1 << 13, 1 << 14, 1 << 19
	)
	for _, test := range []struct {
		profile string
		access  Access
		want    string
	}{
		{"decided", FileAccess{Path: "/srv/x", Want: MayRead}, allowed},
		{"decided", FileAccess{Path: "/srv/x", Want: MayRead | MayWrite}, denied},
		{"decided", FileAccess{Path: "/srv/x", Want: MayGetAttr}, allowed},
		{"decided", FileAccess{Path: "/nowhere", Want: MayGetAttr}, allowed},
		{"decided", FileAccess{Path: "/srv/secret/x", Want: MayRead}, quiet},
		{"decided", FileAccess{Path: "/home/me/x", Want: MayWrite, Owner: true}, allowed},
		{"decided", FileAccess{Path: "/home/me/x", Want: MayCreate | MayDelete | MayChmod | MayChown, Owner: true}, allowed},
		{"decided", FileAccess{Path: "/home/me/x", Want: MayWrite}, denied},
		{"decided", FileAccess{Path: "/var/log/x", Want: MayAppend}, allowed},
		{"decided", FileAccess{Path: "/var/log/x", Want: MayCreate}, denied},
		{"decided", FileAccess{Path: "/var/audited", Want: MayWrite}, audited},
		{"decided", FileAccess{Path: "/usr/lib/x", Want: MayMmapExec}, allowed},
		{"decided", FileAccess{Path: "/srv/x", Want: MayMmapExec}, denied},
		{"decided", FileAccess{Path: "/run/lock", Want: MayLock}, allowed},
		{"decided", FileAccess{Path: "/srv/x", Want: MayLock}, denied},

		{"decided", LinkAccess{Path: "/links/plain-a", Target: "/srv/b"}, allowed},
		{"decided", LinkAccess{Path: "/links/plain-a", Target: "/etc/b"}, denied},
		{"decided", LinkAccess{Path: "/links/same-a", Target: "/srv/b"}, allowed},
		{"decided", LinkAccess{Path: "/links/more-a", Target: "/srv/b", Owner: true}, denied},
		{"decided", LinkAccess{Path: "/links/run-a", Target: "/usr/bin/same", Owner: true}, allowed},
		{"decided", LinkAccess{Path: "/links/run-a", Target: "/usr/bin/other", Owner: true}, denied},
		// The parser writes the subset test for owners only.
		{"decided", LinkAccess{Path: "/links/more-a", Target: "/srv/b"}, allowed},
		{"decided", LinkAccess{Path: "/links/run-a", Target: "/usr/bin/other"}, allowed},
		{"decided", LinkAccess{Path: "/elsewhere", Target: "/srv/b"}, denied},
		// That a denied link is not logged is said of pairs of paths, and the kernel does not come to the pair.
		{"decided", LinkAccess{Path: "/srv/secret/a", Target: "/srv/b"}, denied},

		{"decided", ExecAccess{Path: "/usr/bin/same"}, allowed},
		{"decided", ExecAccess{Path: "/usr/bin/unknown"}, denied},
		{"decided", ExecAccess{Path: "/usr/bin/never"}, quiet},
		{"elsewhere", ExecAccess{Path: "/usr/bin/unknown"}, audited},

		{"decided", ChangeProfileAccess{Label: "elsewhere"}, allowed},
		{"decided", ChangeProfileAccess{Label: "elsewher"}, denied},
		{"decided", ChangeProfileAccess{Label: "elsewhere//&decided"}, denied},
		{"decided", ChangeProfileAccess{Label: "elsewhere", Stack: true}, denied},
		{"decided", ChangeProfileAccess{Label: "elsewhere", OnExec: true}, allowed},
		{"decided", ChangeProfileAccess{Label: "elsewhere", OnExec: true, Program: "/bin/any"}, allowed},
		{"decided", ChangeProfileAccess{Label: "second"}, allowed}, // whatever program the rule names
		{"decided", ChangeProfileAccess{Label: "second", OnExec: true}, allowed},
		{"decided", ChangeProfileAccess{Label: "second", OnExec: true, Program: "/usr/bin/start"}, allowed},
		{"decided", ChangeProfileAccess{Label: "second", OnExec: true, Program: "/usr/bin/sh"}, denied},
		{"elsewhere", ChangeProfileAccess{Label: "unconfined"}, audited},

		{"decided", ChangeHatAccess{Hat: "hat"}, allowed},
		{"decided", ChangeHatAccess{Hat: "kid"}, quiet},
		{"decided", ChangeHatAccess{Hat: "none"}, "denied missing"},
		{"decided//hat", ChangeHatAccess{Hat: "other-hat"}, allowed},
		{"decided//hat", ChangeHatAccess{Hat: "none"}, "denied missing"},
		{"elsewhere", ChangeHatAccess{Hat: "none"}, audited},

		{"decided", CapabilityAccess(10), allowed},
		{"decided", CapabilityAccess(0), audited},
		{"decided", CapabilityAccess(21), quiet},
		{"decided", CapabilityAccess(1), denied},
		{"elsewhere", CapabilityAccess(1), audited},
		{"elsewhere", CapabilityAccess(0), allowed},
		{"killing", CapabilityAccess(1), killed},

		{"decided", RlimitAccess{Resource: 7, Hard: 1024}, allowed},
		{"decided", RlimitAccess{Resource: 7, Hard: 1025}, denied},
		{"decided", RlimitAccess{Resource: 4, Hard: 1}, denied},
		{"decided", RlimitAccess{Resource: 3, Hard: ^uint64(0)}, allowed},

		{"decided", SocketAccess{Family: inet, Type: stream, Want: MayCreate | MayConnect | MayBind}, allowed},
		{"decided", SocketAccess{Family: inet, Type: raw, Want: MayCreate}, denied},
		{"decided", SocketAccess{Family: inet6, Type: stream, Want: MayCreate}, denied},
		{"decided", SocketAccess{Family: netlink, Type: raw, Protocol: 15, Want: MayCreate}, allowed},
		{"decided", UnixAccess{Type: stream, Want: MayCreate}, denied},
		{"killing", SocketAccess{Family: inet6, Type: stream, Want: MayCreate}, denied},

		{"decided", MountAccess{Source: "tmpfs", Target: "/mnt/x/", Type: "tmpfs", Flags: rdonly | nosuid}, allowed},
		{"decided", MountAccess{Source: "tmpfs", Target: "/mnt/x/", Type: "tmpfs", Flags: nosuid}, denied},
		{"decided", MountAccess{Source: "tmpfs", Target: "/etc/", Type: "tmpfs", Flags: rdonly | nosuid}, denied},
		{"decided", MountAccess{Source: "tmpfs", Target: "/mnt/x/", Type: "tmpfs", Flags: rdonly | nosuid | 0xc0ed<<16}, allowed},
		{"decided", MountAccess{Source: "proc", Target: "/mnt/x/", Type: "proc"}, quiet},
		{"decided", MountAccess{Source: "/srv/", Target: "/mnt/x/", Flags: bind | rdonly}, allowed}, // the kernel drops ro
		{"decided", MountAccess{Source: "/srv/", Target: "/mnt/x/", Flags: bind | rec}, denied},
		{"decided", MountAccess{Source: "any", Target: "/", Flags: slave | rec}, allowed},
		{"decided", MountAccess{Source: "/a/", Target: "/b/", Flags: move}, allowed},
		{"decided", MountAccess{Target: "/b/", Flags: move}, denied},
		{"decided", MountAccess{Target: "/mnt/", Flags: remount | rdonly}, allowed},
		{"decided", MountAccess{Target: "/mnt/", Flags: remount}, denied},
		{"decided", MountAccess{Source: "/dev/sda", Target: "/disk/", Type: "ext4", Flags: nosuid}, allowed},
		{"decided", UmountAccess{Target: "/mnt/x/"}, allowed},
		{"decided", UmountAccess{Target: "/"}, denied},
		{"decided", PivotRootAccess{New: "/new/", Old: "/new/old/"}, allowed},
		{"decided", PivotRootAccess{New: "/new/", Old: "/new/"}, denied},

		{"decided", SignalAccess{Want: MayRead, Signal: SIGTERM, Peer: "unconfined"}, allowed},
		{"decided", SignalAccess{Want: MayWrite, Signal: SIGTERM, Peer: "unconfined"}, denied},
		{"killing", SignalAccess{Want: MayWrite, Signal: SIGTERM, Peer: "unconfined"}, denied}, // KILLED, and lives
		{"elsewhere", SignalAccess{Want: MayWrite, Signal: SIGTERM, Peer: "unconfined"}, allowed},
		{"decided", PtraceAccess{Want: MayRead, Peer: "decided"}, allowed},
		{"decided", PtraceAccess{Want: MayWrite, Peer: "decided"}, denied},

		{"decided", UsernsAccess{}, allowed}, // these classes are not mediated
		{"decided", IOUringAccess{}, allowed},
		{"decided", IOUringAccess{Override: true, Label: "x"}, allowed},
		{"decided", MqueueAccess{Name: "/q", Want: MayCreate}, allowed},
		{"decided", DBusAccess{Want: DBusSend, Bus: "system"}, allowed},

		{"elsewhere", FileAccess{Path: "/etc/x", Want: MayWrite}, audited},
		{"elsewhere", FileAccess{Path: "/srv/secret/x", Want: MayWrite}, quiet},
		{"elsewhere", FileAccess{Path: "/srv/x", Want: MayRead}, allowed},
		{"killing", FileAccess{Path: "/etc/x", Want: MayWrite}, killed},
		{"killing", FileAccess{Path: "/srv/x", Want: MayRead}, allowed},
		{"loud", FileAccess{Path: "/srv/x", Want: MayRead}, audited},
		{"loud", FileAccess{Path: "/etc/x", Want: MayWrite}, denied},
		{"loud", CapabilityAccess(1), denied},
		{"free", FileAccess{Path: "/etc/x", Want: MayWrite}, allowed},
		{"free", CapabilityAccess(1), allowed},
	} {
		if p[test.profile] == nil {
			t.Fatalf("no profile %s", test.profile)
		}
		if got := saying(p[test.profile].Decide(test.access)); got != test.want {
			t.Errorf("%s: %T%+v: %s, want %s", test.profile, test.access, test.access, got, test.want)
		}
	}
}

func TestStack(t *testing.T) {
	p := parse(t, profiletest.Decided)
	for _, test := range []struct {
		parts  string
		access Access
		want   string
		part   string
	}{
		{"decided killing", FileAccess{Path: "/srv/x", Want: MayRead}, "allowed", ""},
		{"decided killing", FileAccess{Path: "/home/x", Want: MayRead, Owner: true}, "denied logged killed", "killing"},
		{"decided elsewhere", FileAccess{Path: "/home/x", Want: MayRead, Owner: true}, "allowed logged", ""},
		{"elsewhere decided", FileAccess{Path: "/etc/x", Want: MayRead}, "denied logged", "decided"},
		{"decided loud", FileAccess{Path: "/srv/secret/x", Want: MayRead}, "denied logged", "decided"},
		{"free decided", CapabilityAccess(21), "denied", "decided"},
		{"free", CapabilityAccess(21), "allowed", ""},
		{"", CapabilityAccess(21), "allowed", ""},
	} {
		var s Stack
		for _, name := range strings.Fields(test.parts) {
			s = append(s, p[name])
		}
		answer := s.Decide(test.access)
		part := ""
		if answer.Part != nil {
			part = answer.Part.Name
		}
		if got := saying(answer); got != test.want || part != test.part {
			t.Errorf("%s: %T%+v: %s by %q, want %s by %q", test.parts, test.access, test.access, got, part, test.want,
				test.part)
		}
	}
}

func TestExec(t *testing.T) {
	p := parse(t, profiletest.Decided)["decided"]
	for path, want := range map[string]Transition{
		"/usr/bin/same":     {To: TargetSame},
		"/usr/bin/free":     {To: TargetUnconfined, Scrub: true},
		"/usr/bin/unsafe":   {To: TargetUnconfined},
		"/usr/bin/other":    {To: TargetAttached},
		"/usr/bin/named":    {To: TargetLabel, Label: "elsewhere"},
		"/usr/bin/child":    {To: TargetAttached, Child: true},
		"/usr/bin/kid":      {To: TargetLabel, Label: "decided//kid"},
		"/usr/bin/fallback": {To: TargetAttached, Else: TargetSame},
		"/usr/bin/stacked":  {To: TargetLabel, Label: "elsewhere", Stack: true},
		"/usr/bin/both":     {To: TargetLabel, Label: "elsewhere", Else: TargetUnconfined, Scrub: true},
		"/usr/bin/never":    {},
		"/usr/bin/unknown":  {},
	} {
		if _, got := p.Exec(ExecAccess{Path: path}); got != want {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
	if _, got := parse(t, profiletest.Decided)["elsewhere"].Exec(ExecAccess{Path: "/x"}); got != (Transition{To: TargetLearning}) {
		t.Errorf("in complain mode: %+v", got)
	}
}

// A child's own name may be a path.
func TestChildrenCalledByPaths(t *testing.T) {
	p := parse(t, "abi <abi/3.0>,\nprofile web { /bin/* cx, profile /bin/sh { /a r, } profile kid { /b r, } }\nprofile /bin/web { ^hat { } }\n")
	for child, parent := range map[string]string{"web///bin/sh": "web", "web//kid": "web", "/bin/web//hat": "/bin/web"} {
		if p[child] == nil || p[child].Parent == nil || p[child].Parent != p[parent] {
			t.Errorf("%s is not a child of %s", child, parent)
		}
	}
}

// The other things that a profile holds.
func TestRead(t *testing.T) {
	p := parse(t, profiletest.Decided)
	d := p["decided"]
	if len(d.Rlimits) != 2 || d.Rlimits[7] != 1024 || d.Rlimits[4] != 0 {
		t.Errorf("limits %v", d.Rlimits)
	}
	if len(d.Children) != 3 || p["decided//hat"].Parent != d || !p["decided//hat"].Hat || p["decided//kid"].Hat || d.Parent != nil {
		t.Errorf("children %v", d.Children)
	}
}

// A question about a file allocates nothing.
func TestAQuestionDoesNotAllocate(t *testing.T) {
	p := parse(t, profiletest.Decided)
	stack := Stack{p["decided"], p["loud"]}
	path := "/srv/secret/" + strings.Repeat("x", 100)
	if n := testing.AllocsPerRun(100, func() {
		p["decided"].Decide(FileAccess{Path: path, Want: MayRead})
		stack.Decide(FileAccess{Path: path, Want: MayRead | MayWrite, Owner: true})
		stack.Decide(LinkAccess{Path: path, Target: path})
		stack.Decide(CapabilityAccess(21))
		stack.Decide(SignalAccess{Want: MayRead, Signal: SIGTERM, Peer: "unconfined"})
		stack.Decide(MountAccess{Target: path, Data: path, Flags: 3})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkFile(b *testing.B) {
	p := parse(b, profiletest.Decided)["decided"]
	for b.Loop() {
		p.Decide(FileAccess{Path: "/srv/secret/some/file/of/usual/length", Want: MayRead, Owner: true})
	}
}
