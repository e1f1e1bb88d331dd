package meaning

import (
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
)

// A KernelAnswer is what some kernels do with an access, where that is not what Decide returns.
type KernelAnswer struct {
	Kernels string // which ones: "Linux before 6.7"
	Why     string // what they do otherwise: "asks no profile about user namespaces"
	Answer  Answer
}

// String says it as the end of a sentence about an access: "allowed by Linux before 6.7, which asks no profile about user
// namespaces".
func (k KernelAnswer) String() string {
	verb := "denied"
	if k.Answer.Allowed {
		verb = "allowed"
	}
	return verb + " by " + k.Said()
}

// Said says which kernels they are, and why they answer otherwise.
func (k KernelAnswer) Said() string { return strings.TrimSuffix(k.Kernels, ",") + ", which " + k.Why }

// Kernels returns the answers of those kernels that do otherwise with an access than Decide has it, and nil if all that take
// the profiles do the same. Decide answers as a kernel does that asks about all that the profiles have rules about.
//
// Kernels are those of kernel.org and Debian, but where Ubuntu's are named.
func (s Stack) Kernels(a Access) (all []KernelAnswer) {
	decided := s.Decide(a)
	for _, d := range departures {
		whole, departs := Answer{Allowed: true}, false
		for _, p := range s {
			part, other := Answer{}, false
			if p.Mode != Unconfined {
				part, other = d.answer(p, a)
			}
			if departs = departs || other; !other {
				part = p.Decide(a)
			}
			whole.join(part, p)
		}
		if departs && whole.unlike(decided) {
			all = append(all, KernelAnswer{d.kernels, d.why, whole})
		}
	}
	return all
}

// Kernels is Stack.Kernels for one profile.
func (p *Profile) Kernels(a Access) []KernelAnswer { return Stack{p}.Kernels(a) }

// unlike reports whether something else comes of an access.
func (a Answer) unlike(other Answer) bool {
	return a.Allowed != other.Allowed || a.Logged != other.Logged || a.Killed != other.Killed || a.Missing != other.Missing
}

// A departure is what some kernels do in their own way. answer returns what they do with an access under a profile, and
// reports whether that is a matter of this departure.
type departure struct {
	kernels, why string
	answer       func(*Profile, Access) (Answer, bool)
}

var departures = []departure{
	{"Linux up to 6.12", "refuses a program in complain mode too where the profile that it is to go on under is not loaded", missingTarget},
	{"Linux before 7.0 without a fix of 2026 (a4c9efa4dbad)", "often takes a stacked label as a whole alone, and not each part of it", wholeLabels},
	{"Linux before 6.17 without a fix of 2025 (a9eb185be84e)", "refuses a program where the profile that is to be put on top is not loaded, whatever else the rule names", missingOnTop},
	{"Linux before 6.4", "lets attributes of files be read where a profile has no rules about files at all", attributesWithoutRules},
	{"Linux before 6.7", "asks no profile about user namespaces", unasked(Namespaces)},
	{"Linux before 6.7", "asks no profile about io_uring", unasked(IOUring)},
	{"Linux before 6.7 without a fix of 2023 (157a3537d6bc)", "asks about mount(2) alone, and move_mount(2) can do the same", moveMount},
	{"Linux, other than Ubuntu's,", "asks no profile about message queues", unasked(PosixMQueue)},
	{"Linux before 6.17", "knows no rules about sockets in the form that the profile has them in", olderSockets},
	{"Linux before 6.17, other than Ubuntu's,", "asks no profile about D-Bus", unasked(DBus)},
	{"Linux 6.17 and later", "asks about D-Bus only profiles that have rules about sockets in its newer form", func(p *Profile, a Access) (Answer, bool) {
		_, is := a.(DBusAccess)
		return Answer{Allowed: true}, is && p.dbusAlone && p.policy.begin(NetV9) == 0
	}},
	{"Ubuntu's Linux before 6.17", "asks each profile that has rules about D-Bus", func(p *Profile, a Access) (Answer, bool) {
		if _, is := a.(DBusAccess); !is || p.dbusAlone || !p.Compiled(DBus) || p.Mediates(DBus) {
			return Answer{}, false
		}
		alone := *p
		alone.dbusAlone = true
		return alone.Decide(a), true
	}},
}

// unasked is for kernels that ask no profile about a class.
func unasked(c Class) func(*Profile, Access) (Answer, bool) {
	return func(p *Profile, a Access) (Answer, bool) {
		return Answer{Allowed: true}, classOf(a) == c && p.Mediates(c)
	}
}

// classOf returns the class of an access that is about one class that not each kernel knows, and 0 for other accesses.
func classOf(a Access) Class {
	switch a.(type) {
	case UsernsAccess:
		return Namespaces
	case IOUringAccess:
		return IOUring
	case MqueueAccess:
		return PosixMQueue
	case DBusAccess:
		return DBus
	}
	return 0
}

// attributesWithoutRules follows aa_compute_fperms of security/apparmor/file.c, which went with Linux 6.4: it was asked about
// the rules of other classes where a profile has none about files. compute_perms leaves out what it adds.
func attributesWithoutRules(p *Profile, a Access) (Answer, bool) {
	file, is := a.(FileAccess)
	if !is || p.file.dfa == nil || p.file.files || p.file.perms != nil || file.Want&MayGetAttr == 0 {
		return Answer{}, false
	}
	perms := p.file.whose(p.file.walk(p.file.begin(File), file.Path), file.Owner)
	perms.Allow |= MayGetAttr
	return p.audited(perms, file.Want), true
}

// missingTarget is for x_to_label and profile_transition as Linux 6.1 and 6.12 have them. It answers for the case that the profile is missing, which only the kernel knows.
func missingTarget(p *Profile, a Access) (Answer, bool) {
	exec, is := a.(ExecAccess)
	if !is || p.Mode != Complain {
		return Answer{}, false
	}
	answer, t := p.Exec(exec)
	fails := answer.Allowed && (t.To == TargetLabel || t.To == TargetAttached) && (t.Else == TargetNone || t.Stack)
	return Answer{Denied: MayExec, Logged: true, Part: p}, fails
}

// missingOnTop is for x_to_label of before "apparmor: fix x_table_lookup when stacking is not the first entry", which puts the label
// on top of what the rule has instead, and has nothing where the label is not there. It answers for the case that the profile is
// missing, too. In complain mode that is up to missingTarget.
func missingOnTop(p *Profile, a Access) (Answer, bool) {
	exec, is := a.(ExecAccess)
	if !is || p.Mode == Complain {
		return Answer{}, false
	}
	answer, t := p.Exec(exec)
	fails := answer.Allowed && t.To == TargetLabel && t.Stack && t.Else != TargetNone
	return Answer{Denied: MayExec, Logged: true, Part: p}, fails
}

// wholeLabels is for label_compound_match of before "apparmor: make label_match return a consistent value": where a label
// leads out of the rules, that was taken for a match without permissions, and its parts were not looked at.
func wholeLabels(p *Profile, a Access) (Answer, bool) {
	var (
		begin   state
		label   string
		request uint32
	)
	switch a := a.(type) {
	case SignalAccess:
		if p.Mediates(Signals) {
			begin, label, request = p.policy.step(p.policy.start[Signals], byte(a.Signal)), a.Peer, a.Want
		}
	case PtraceAccess:
		if p.Mediates(PTrace) {
			begin, label, request = p.policy.step(p.policy.start[Label], byte(PTrace)), a.Peer, a.Want
		}
	case IOUringAccess:
		if a.Override && p.Mediates(IOUring) {
			begin, label, request = p.policy.start[IOUring], a.Label, MayAppend
		}
	}
	if begin == 0 || !strings.Contains(label, "//&") || p.policy.walk(begin, label) != 0 {
		return Answer{}, false
	}
	return p.checked(p.flagged(Perms{}), request), true
}

// moveMount is for apparmor_move_mount, which came with "apparmor: Fix regression in mount mediation" and was put into Linux 6.6.3, too.
func moveMount(p *Profile, a Access) (Answer, bool) {
	mount, is := a.(MountAccess)
	return Answer{Allowed: true}, is && mount.Asked().Flags&kernelname.Move != 0 && p.policy.begin(Mount) != 0
}

// olderSockets looks for rules in the older form alone.
func olderSockets(p *Profile, a Access) (Answer, bool) {
	if p.policy.begin(NetV9) == 0 {
		return Answer{}, false
	}
	old := *p
	old.policy.start[NetV9] = 0
	switch a.(type) {
	case SocketAccess, UnixAccess:
		return old.Decide(a), true
	}
	return Answer{}, false
}
