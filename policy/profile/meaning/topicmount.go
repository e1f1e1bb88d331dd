package meaning

import "github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"

// mountState is where a key of a mount is: in its target, source, type, flags or data.
type mountState struct {
	field  uint8
	at     state
	before Perms // those of all before the data
}

// The fields of a mount, by their places in its key.
const (
	mountFlags = 3
	mountData  = 4
)

func mountTopics() []*Topic {
	mount := newTopic("mount", func(Ask) Access { return MountAccess{} }, Ask{Want: mayMount})
	mount.answers = func(p *Profile, q *Topic) Answers {
		r, begin := &p.policy, p.policy.begin(Mount)
		if begin == 0 {
			return passing(1)
		}
		step := func(s mountState, b byte) mountState {
			switch {
			case b != 0:
				s.at = r.next(s.at, b)
			case s.field == mountFlags && s.at != 0:
				s.field, s.before = mountData, r.at(s.at)
				if s.at = r.zero(s.at); !asksData(s.before) {
					s.at = 0
				}
			case s.field < mountData:
				s.field, s.at = s.field+1, r.zero(s.at)
			}
			return s
		}
		mark := func(s mountState) Perms {
			switch {
			case s.at == 0:
				return s.before // none, if no rule is about what was before
			default:
				return r.at(s.at)
			}
		}
		return newWalk(mountState{at: begin}, r.classesOf(0), step, mark,
			func(perms Perms) []Outcome { return []Outcome{p.audited(perms, mayMount).outcome()} })
	}

	umount := newTopic("umount", func(Ask) Access { return UmountAccess{} }, Ask{Want: mayUmount})
	umount.answers = func(p *Profile, q *Topic) Answers { return p.audits(q, Mount) }

	pivot := newTopic("pivot_root", func(Ask) Access { return PivotRootAccess{} }, Ask{Want: mayPivotRoot})
	pivot.answers = func(p *Profile, q *Topic) Answers { return p.audits(q, Mount) }
	return []*Topic{mount, umount, pivot}
}

// audits are the answers of rules of a class that a key is looked up in as it is, and that are logged as those of files.
func (p *Profile) audits(q *Topic, c Class) Answers {
	begin := p.policy.begin(c)
	if begin == 0 {
		return passing(len(q.Asks))
	}
	return p.policy.direct(begin, func(s state) []Outcome {
		return q.each(func(ask Ask) Answer { return p.audited(p.policy.at(s), ask.Want) })
	})
}

// Flags returns the flags of a mount that a FlagsField has, by their names in rules. What has no name is a number.
func Flags(field string) (names []string) {
	for _, b := range []byte(field) {
		names = append(names, kernelname.MountFlagWord(1<<(b-1)))
	}
	return names
}

// validFlags reports for flags that were read in the order of their bits whether a mount can be asked about with them: what
// the other fields must be, and whether it can have data.
func validFlags(flags uint32, source, typ, data bool) bool {
	const kinds = kernelname.Remount | kernelname.Bind | kernelname.Propagation | kernelname.Move
	switch {
	case flags&kernelname.Ignored != 0:
		return false
	case flags&kernelname.Remount != 0:
		return !source && !typ
	case flags&kernelname.Bind != 0:
		return flags&^(kernelname.Bind|kernelname.Rec) == 0 && !typ && !data
	case flags&kernelname.Propagation != 0:
		return flags&^(kernelname.Propagation|kernelname.Rec|kernelname.Silent) == 0 && !source && !typ && !data
	case flags&kernelname.Move != 0:
		return flags == kernelname.Move && !typ && !data
	}
	return flags&kinds == 0
}
