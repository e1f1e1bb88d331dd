package meaning

import "github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"

// mounting is how far the texts of a mount are read: where, what, which type, the flags and the data.
type mounting struct {
	field  int8
	state  state
	before int32 // what the rules say ahead of the data, by its number
	data   bool  // there are some
}

// mountSweep follows mount.
func mountSweep(p *Profile, _ []Access) sweep {
	const flags, data = 3, 4
	r := p.policy.only(mayMount | matchesData)
	begin := r.begin(Mount)
	if begin == 0 {
		return always(func(Access) Answer { return Answer{Allowed: true} })
	}
	var before noted[Perms]
	before.number(Perms{}) // as after texts that no rule is about
	return reading[mounting]{automaton.NewLazy(r.bytes("\x00"), mounting{state: r.first(begin)}, func(at mounting, b byte) mounting {
		switch {
		case at.field == data:
			at.data = true
			at.state = r.next(at.state, b)
		case b != 0:
			at.state = r.next(at.state, b)
		case at.field < flags:
			at.field++
			at.state = r.zero(at.state)
		default:
			perms := Perms{}
			if at.state != 0 {
				perms = r.at(at.state)
			}
			at.field++
			at.before = before.number(perms)
			if at.state = r.zero(at.state); perms.Allow&(mayMount|matchesData) != matchesData {
				at.state = 0
			}
		}
		return at
	}), func(at mounting, _ Access) Answer {
		perms := before.values[at.before]
		if at.data && at.state != 0 {
			perms = r.at(at.state)
		}
		return p.audited(perms, mayMount)
	}, func(at mounting) bool { return at.state == 0 }}
}

// keySweep is about unmounting, changing the root and message buses, of which the texts are the key.
func keySweep(p *Profile, like []Access) sweep {
	class := Mount
	if _, ok := like[0].(DBusAccess); ok {
		class = DBus
	}
	if !p.Mediates(class) {
		return always(func(Access) Answer { return Answer{Allowed: true} })
	}
	perms := uint32(mayUmount | mayPivotRoot)
	if class == DBus {
		perms = DBusSend | DBusReceive | DBusBind | DBusEavesdrop
	}
	return keyed{prunedMachine{p.policy.only(perms), p.policy.start[class]}, func(s state, a Access) Answer {
		switch a := a.(type) {
		case UmountAccess:
			return p.audited(p.policy.at(s), mayUmount)
		case DBusAccess:
			return p.checked(p.flagged(p.policy.at(s)), a.Want)
		}
		return p.audited(p.policy.at(s), mayPivotRoot)
	}}
}

// queueing is how far the name and the label of a message queue are read.
type queueing struct {
	second bool // the name is behind
	state  state
	named  int32 // what the rules say of the name, by its number
	begun  bool  // the label is not empty
	labelled
}

// mqueueSweep follows mqueue.
func mqueueSweep(p *Profile, _ []Access) sweep {
	if !p.Mediates(PosixMQueue) {
		return always(func(Access) Answer { return Answer{Allowed: true} })
	}
	const perms = MayRead | MayWrite | MayCreate | MayDelete | MayOpen | MaySetAttr | MayGetAttr
	l := newLabelReader(&p.policy, perms, p.policy.at)
	r := p.policy.only(perms)
	var named noted[Perms]
	classes := automaton.Together(l.classes(), automaton.Apart("\x00"))
	return reading[queueing]{automaton.NewLazy(classes, queueing{state: r.first(r.start[PosixMQueue])}, func(at queueing, b byte) queueing {
		switch {
		case !at.second && b != 0:
			at.state = r.next(at.state, b)
		case !at.second:
			at = queueing{second: true, named: named.number(p.policy.at(at.state)), labelled: l.first(r.zero(at.state))}
		default:
			at.begun, at.labelled = true, l.next(at.labelled, b)
		}
		return at
	}), func(at queueing, a Access) Answer {
		want := a.(MqueueAccess).Want
		perms := named.values[at.named]
		if at.begun && perms.Allow&want != want {
			perms = l.perms(at.labelled, want)
		}
		return p.checked(p.flagged(perms), want)
	}, nil}
}
