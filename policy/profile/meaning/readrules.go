package meaning

import (
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/internal/element"
)

// policy reads the rules about anything but files.
func (r *reader) policy(p *Profile) {
	if _, ok := r.accept("policydb", element.Struct); !ok {
		return
	}
	r.rules(&p.policy, false)
	if r.err == nil && p.policy.dfa == nil {
		r.fail("rules without a table")
	}
	r.want("", element.StructEnd)
	if r.err != nil {
		return
	}
	first := p.policy.start[0]
	for c := range p.policy.start {
		if c >= int(File) { // no class has a lower number
			p.policy.start[c] = p.policy.step(first, byte(c))
		}
	}
}

// files reads the rules about files. Where there are none, the policy's rules are asked, which then know files as a class
// of their own; and where these do not, everything is denied.
func (r *reader) files(p *Profile) {
	p.Names = r.rules(&p.file, true)
	if r.err == nil && p.file.dfa == nil && p.policy.dfa != nil && p.policy.start[File] != 0 {
		p.file = p.policy
	}
}

// rules reads an automaton with what belongs to it (unpack_pdb), and returns its table of names. Where none comes next,
// all stays as it is.
func (r *reader) rules(into *rules, file bool) (names []string) {
	r.skip("tags")
	perms, versioned := r.permissions()
	marked := false
	if v, ok := r.accept("permsv", element.U32); ok && versioned {
		marked = v.Uint32() > 2
	}
	blob, ok := r.accept("aadfa", element.Blob)
	if ok && len(blob.Value) > 0 {
		d, err := readDFA(blob.Value)
		if err != nil {
			r.fail("%v", err)
			return nil
		}
		into.dfa, into.perms, into.files = d, perms, file
		if perms == nil && d.accept2 == nil {
			r.fail("a table of rules without permissions")
		}
		if perms != nil && !marked {
			d.accept2 = nil
		}
		r.starts(into)
		r.bounds(into)
	}
	names = r.names()
	r.targets(into, len(names))
	return names
}

// targets checks that each exec leads to a name that is there (verify_perms).
func (r *reader) targets(into *rules, names int) {
	check := func(p Perms) {
		if p.XIndex&(XName|XTable) == XTable && int(p.XIndex&XIndexMask) >= names {
			r.fail("an exec leads to label %d of %d", p.XIndex&XIndexMask, names)
		}
	}
	switch {
	case into.dfa == nil || r.err != nil:
	case into.perms != nil:
		for _, p := range into.perms {
			check(p)
		}
	case into.files:
		for s := range into.accept {
			check(into.owner(state(s)))
			check(into.other(state(s)))
		}
	}
}

// starts reads where matches begin.
func (r *reader) starts(into *rules) {
	into.start[0], into.start[File] = dfaStart, dfaStart
	if e, ok := r.accept("start", element.U32); ok {
		into.start[0] = state(e.Uint32())
	}
	if e, ok := r.accept("dfa_start", element.U32); ok {
		into.start[File] = state(e.Uint32())
	}
	for _, s := range []state{into.start[0], into.start[File]} {
		if int64(s) >= int64(len(into.base)) {
			r.fail("a match begins in a state that is not there")
			into.start[0], into.start[File] = 0, 0
		}
	}
}

// bounds checks that each state's permissions are in the table of them.
func (r *reader) bounds(into *rules) {
	if into.perms == nil {
		return
	}
	for s := range into.accept {
		last := int64(into.accept[s])
		if into.paired(state(s)) {
			last++
		}
		if last >= int64(len(into.perms)) {
			r.fail("state %d has permissions %d of %d", s, last, len(into.perms))
			return
		}
	}
}

// permissions reads a table of permissions (unpack_perms_table). It reports whether there is one.
func (r *reader) permissions() ([]Perms, bool) {
	if _, ok := r.accept("perms", element.Struct); !ok {
		return nil, false
	}
	if v := r.want("version", element.U32); r.err == nil && v.Uint32() != 1 {
		r.fail("permissions of version %d", v.Uint32())
	}
	n := int(r.want("", element.Array).Uint16())
	list := make([]Perms, 0, n)
	for range n {
		if r.err != nil {
			return nil, false
		}
		// Reserved, allow, deny, subtree, cond, kill, complain, prompt, audit, quiet, hide, xindex, tag, label.
		var words [14]uint32
		for i := range words {
			words[i] = r.want("", element.U32).Uint32()
		}
		perms := Perms{Allow: words[1], Deny: words[2], Kill: words[5], Complain: words[6], Audit: words[8], Quiet: words[9],
			Hide: words[10], XIndex: words[11]}
		if subtree, cond, prompt := words[3], words[4], words[7]; contradict(perms, subtree, cond, prompt) {
			r.fail("permissions %d contradict themselves", len(list))
			return nil, false
		}
		list = append(list, perms)
	}
	r.want("", element.ArrayEnd)
	r.want("", element.StructEnd)
	return list, true
}

// contradict reports whether an entry of a table of permissions says of one both that it is allowed and that it is not
// (verify_perm).
func contradict(p Perms, subtree, cond, prompt uint32) bool {
	return p.Allow&p.Deny != 0 || subtree&^p.Allow != 0 || cond&(p.Allow|p.Deny) != 0 || p.Kill&p.Allow != 0 ||
		p.Complain&(p.Allow|p.Deny) != 0 || prompt&(p.Allow|p.Deny) != 0 || p.Complain&prompt != 0 || p.Hide&p.Allow != 0
}

// names reads the table of what execs lead to (unpack_trans_table). A namespace is parted from its profile by a NUL.
func (r *reader) names() []string {
	if _, ok := r.accept("xtable", element.Struct); !ok {
		return nil
	}
	n := int(r.want("", element.Array).Uint16())
	var list []string // not sized by a count that nothing backs yet
	for range n {
		if r.err != nil {
			return nil
		}
		name := string(r.want("", element.String).Value)
		// One NUL may stand in it, behind a namespace (process_strs_entry).
		ns, label, parted := strings.Cut(name, "\x00")
		if parted && (len(ns) < 2 || ns[0] != ':' || strings.Contains(label, "\x00")) || strings.HasPrefix(name, " ") {
			r.fail("an exec leads to %+.64q, which is no label", name)
		}
		list = append(list, name)
	}
	r.endList()
	return list
}
