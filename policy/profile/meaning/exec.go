package meaning

import "strings"

// An ExecAccess executes a program.
type ExecAccess struct {
	Path  string // of the program, in which links are resolved
	Owner bool   // the process owns the file

	// To is where the program is to go on. An exec that is allowed and cannot go on there is taken for one that is denied.
	To Destination
}

// A ChangeProfileAccess asks for another label, by attr/current or attr/exec in /proc/self.
type ChangeProfileAccess struct {
	Label  string // as the kernel prints it, without a mode; the parts of a stack have the kernel's order
	Stack  bool   // put it on top of the present label
	OnExec bool   // take it with the next exec

	// Program is the path of that next program. If it is empty, only the request before the exec is decided about.
	Program string
	Owner   bool // the process owns the program's file
}

// A ChangeHatAccess changes into a hat of the profile, or from one hat into another.
type ChangeHatAccess struct{ Hat string }

func (ExecAccess) access()          {}
func (ChangeProfileAccess) access() {}
func (ChangeHatAccess) access()     {}

// A Transition says under which label an executed program runs.
type Transition struct {
	To Target

	// Label is the label of a TargetLabel. It may have a namespace (":ns:name"). For a child it is the last part of the
	// child's name.
	Label string
	Child bool // the profile is looked for among the children of this one
	Stack bool // the label is put on top of what would be without it

	// Else is what the program runs under if the profile to which it should go is not loaded: TargetSame,
	// TargetUnconfined, or TargetNone if the exec is then denied.
	Else Target

	// Scrub reports whether the kernel sets AT_SECURE, for which the loader scrubs the environment. It is about To, and
	// about Else where that is not TargetSame: the kernel never does so for a program that stays in the profile for want
	// of another one (profile_transition leaves out secure_exec at "ix fallback").
	Scrub bool
}

// A Target is a way to find the profile of an executed program.
type Target uint8

const (
	TargetNone       Target = iota // there is none: the exec is denied
	TargetSame                     // the profile itself (ix)
	TargetUnconfined               // no profile (ux)
	TargetAttached                 // the profile that attaches to the program (px, cx)
	TargetLabel                    // a label by its name (px -> name)
	TargetLearning                 // a profile "NAME//null-PATH" that complain mode makes
)

// Exec returns what the kernel does with an exec, and under which label the program runs (profile_transition and
// x_to_label, security/apparmor/domain.c). If the exec is denied, the transition's target is TargetNone.
//
// Whether the profile to which the program goes is loaded, only the kernel knows. If it is not, and Else is TargetNone,
// the exec is denied although the answer is that it is allowed. See Whole for children.
func (p *Profile) Exec(a ExecAccess) (Answer, Transition) {
	if p.Mode == Unconfined {
		free := Transition{To: TargetAttached, Else: TargetSame}
		reached := a.To.reached(free, p)
		return Answer{Allowed: reached, Part: p.unless(reached)}, free
	}
	return p.executes(p.file.whose(p.file.walk(p.file.begin(File), a.Path), a.Owner), a.To, p.whole && p.takes(a.Path))
}

// executes is Exec of a program for which the profile has these permissions. taken is whether a child attaches to it, which
// counts if the profile is Whole.
func (p *Profile) executes(perms Perms, to Destination, taken bool) (Answer, Transition) {
	answer := p.audited(perms, MayExec)
	var t Transition
	switch {
	case !answer.Allowed && p.Mode != Complain: // in complain mode, a denied exec of a quiet rule goes on, too
		return answer, t
	case perms.Allow&MayExec == 0:
		answer.pass()
		t.To = TargetLearning
	default:
		t = p.transition(perms.XIndex)
		switch nowhere := p.whole && p.LeadsNowhere(t, taken); {
		case nowhere && p.Mode == Complain: // "profile transition not found", and the program goes on
			t = Transition{To: TargetLearning}
		case nowhere:
			return Answer{Denied: MayExec, Logged: true, Killed: p.Mode == Kill, Part: p}, Transition{}
		}
	}
	if !to.reached(t, p) {
		return Answer{Denied: MayExec, Part: p}, t
	}
	return answer, t
}

// transition unpacks XIndex.
func (p *Profile) transition(x uint32) Transition {
	t := Transition{Child: x&XChild != 0, Scrub: x&XUnsafe == 0}
	switch {
	case x&XInherit != 0:
		t.Else = TargetSame
	case x&XUnconfined != 0:
		t.Else = TargetUnconfined
	}
	switch x & (XName | XTable) { // both together stand for neither (x_to_label, security/apparmor/domain.c)
	case XTable:
		t.To = TargetLabel
		t.Label, t.Stack = strings.CutPrefix(p.Names[x&XIndexMask], "&")
		t.Label = strings.Replace(t.Label, "\x00", ":", 1) // which parts a namespace from its profile
	case XName:
		t.To = TargetAttached
	default:
		t.To, t.Else = t.Else, TargetNone
		t.Scrub = t.Scrub && t.To != TargetSame
	}
	return t
}

// changeProfile follows change_profile_perms and profile_onexec.
func (p *Profile) changeProfile(a ChangeProfileAccess) Answer {
	request := uint32(MayChangeProfile)
	if a.OnExec {
		request = MayOnExec
	}
	begin := p.file.begin(File)
	answer := p.changed(p.label(begin, a, request), request)
	if !a.withProgram() || !answer.Allowed {
		return answer
	}
	s := p.file.walk(begin, a.Program)
	perms := p.file.whose(s, a.Owner)
	if perms.Allow&MayOnExec == 0 {
		return p.onExec(perms, Perms{})
	}
	return p.onExec(perms, p.label(p.file.zero(s), a, MayOnExec))
}

// changed decides about a request for another label by what rules say of the label.
func (p *Profile) changed(perms Perms, request uint32) Answer {
	answer := p.audited(perms, request)
	answer.Logged = answer.Logged && answer.Denied != 0 // what is allowed is never logged
	return answer
}

// withProgram reports whether the program that is executed is decided about, too.
func (a ChangeProfileAccess) withProgram() bool { return a.OnExec && a.Program != "" }

// onExec decides about a program by its own permissions and those of it together with the label.
func (p *Profile) onExec(program, pair Perms) Answer {
	if program.Allow&MayOnExec != 0 {
		program.Audit, program.Quiet, program.Kill = pair.Audit, pair.Quiet, pair.Kill
		program.Allow &^= MayOnExec &^ pair.Allow
	}
	return p.audited(program, MayOnExec)
}

// label returns what rules about files say of a label from a state on: of the whole label or, where that does not allow
// the request, of all parts of a stack together (label_match, security/apparmor/domain.c).
func (p *Profile) label(s state, a ChangeProfileAccess, request uint32) Perms {
	if a.Stack {
		s = p.file.walk(s, "&")
	}
	if end := p.file.walk(s, a.Label); end != 0 {
		if perms := p.flagged(p.file.other(end)); perms.Allow&request == request {
			return perms
		}
	}
	perms := all
	for part := range strings.SplitSeq(a.Label, "//&") {
		end := p.file.walk(s, part)
		if end == 0 {
			return Perms{}
		}
		perms.and(p.flagged(p.file.other(end)))
	}
	return perms
}

// changeHat follows change_hat: the hat must be one of the profile's or, in a hat, of the same profile's.
func (p *Profile) changeHat(a ChangeHatAccess) Answer {
	root := p.hatsOf()
	for _, child := range root.children() {
		if child.Name == root.Name+"//"+a.Hat {
			return p.toChild(child.Hat)
		}
	}
	return p.toNone()
}

// hatsOf returns the profile whose hats a process can change into, and nil if that is not in the blob.
func (p *Profile) hatsOf() *Profile {
	if p.Hat {
		return p.Parent
	}
	return p
}

// toChild decides about a change into a child that is there.
func (p *Profile) toChild(hat bool) Answer { return Answer{Allowed: hat, Part: p.unless(hat)} }

// toNone decides about a change into a hat that is not there.
func (p *Profile) toNone() Answer {
	learns := p.Mode == Complain
	return Answer{Allowed: learns, Logged: learns, Missing: !learns, Part: p.unless(learns)}
}

func (p *Profile) children() []*Profile {
	if p == nil {
		return nil
	}
	return p.Children
}

// unless returns the profile as the one that denies something, and nil if it is allowed.
func (p *Profile) unless(allowed bool) *Profile {
	if allowed {
		return nil
	}
	return p
}
