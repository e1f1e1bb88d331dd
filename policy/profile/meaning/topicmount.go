package meaning

import "strconv"

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
		name, ok := flagNames[b-1]
		if !ok {
			name = strconv.Itoa(1 << (b - 1))
		}
		names = append(names, name)
	}
	return names
}

// flagNames are the names of flags in rules by their bits (parser/mount.cc).
var flagNames = map[byte]string{0: "ro", 1: "nosuid", 2: "nodev", 3: "noexec", 4: "sync", 5: "remount", 6: "mand", 7: "dirsync",
	8: "nosymfollow", 10: "noatime", 11: "nodiratime", 12: "bind", 13: "move", 14: "rec", 15: "silent", 16: "acl",
	17: "unbindable", 18: "private", 19: "slave", 20: "shared", 21: "relatime", 23: "iversion", 24: "strictatime", 25: "lazytime"}

// validFlags reports for flags that were read in the order of their bits whether a mount can be asked about with them: what
// the other fields must be, and whether it can have data.
func validFlags(flags uint32, source, typ, data bool) bool {
	const kinds = msRemount | msBind | msPropagation | msMove
	switch {
	case flags&msIgnored != 0:
		return false
	case flags&msRemount != 0:
		return !source && !typ
	case flags&msBind != 0:
		return flags&^(msBind|msRec) == 0 && !typ && !data
	case flags&msPropagation != 0:
		return flags&^(msPropagation|msRec|msSilent) == 0 && !source && !typ && !data
	case flags&msMove != 0:
		return flags == msMove && !typ && !data
	}
	return flags&kinds == 0
}
