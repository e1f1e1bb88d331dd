// Package meaning reads compiled AppArmor profiles, the blobs that apparmor_parser writes, and answers what the kernel
// would: which accesses a profile allows, denies, logs.
//
// It follows the kernel's own reading (security/apparmor: policy_unpack.c, policy_compat.c, match.c, file.c, ipc.c,
// task.c, capability.c, label.c) for policy versions 5 to 9 with permissions in the automaton's accept words, and for
// tables of permissions. It needs neither the kernel nor the parser, knows no text, and trusts no blob: what the kernel
// would refuse is an error, and every walk ends.
package meaning

import (
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/internal/element"
)

// maxProfiles is how many profiles one blob may hold.
const maxProfiles = 4096

// A Mode is what a profile does with an access that it does not allow (PACKED_MODE_* in the kernel's
// include/policy_unpack.h).
type Mode uint8

const (
	Enforce    Mode = iota // denies it
	Complain               // logs it and lets it pass, unless a rule denies it
	Kill                   // denies it, and kills the task for some classes
	Unconfined             // mediates nothing
	User                   // asks a program (flags=(prompt))
)

// String returns the mode as the kernel prints it after a label.
func (m Mode) String() string {
	names := [...]string{"enforce", "complain", "kill", "unconfined", "user"}
	if int(m) < len(names) {
		return names[m]
	}
	return fmt.Sprintf("mode %d", uint8(m))
}

// Flags of a profile that decide how the kernel names paths (PATH_* in include/path.h).
const (
	PathConnect        = 0x4 // attach_disconnected: paths of files outside of the mount namespace begin at /
	PathMediateDeleted = 0x10000
)

// A Profile is one compiled profile. Several goroutines may call its methods at the same time.
type Profile struct {
	Name      string // "main//child" for a child or hat
	Namespace string // policy namespace; empty for the namespace of the process that loads the blob
	Mode      Mode
	Hat       bool
	Audit     bool     // flags=(audit): the kernel logs every access
	Attaches  bool     // it attaches to programs by their path
	Path      uint32   // PathConnect and others
	Names     []string // labels to which exec and change_profile lead; the index is XIndex & XIndexMask

	low, high    capabilities // the first 32, and those after them
	policy, file rules
}

// capabilities are the sets of capabilities that are not in the policy's automaton.
type capabilities struct{ allow, audit, quiet uint32 }

// rules are an automaton, what its states allow, and where a match begins.
type rules struct {
	*dfa
	perms []Perms // what ACCEPT points into; nil where ACCEPT and ACCEPT2 are the permissions themselves
	files bool    // they were written for files: states have permissions for the owner and for others
	start [classes]state
}

// Read returns the profiles of a blob, in the blob's order. The error says what in the blob the kernel would refuse, or
// what this package cannot read.
func Read(data []byte) ([]*Profile, error) {
	r := reader{Reader: element.Reader{Data: data}}
	var all []*Profile
	for r.Pos < len(data) || len(all) == 0 {
		if len(all) == maxProfiles {
			return nil, fmt.Errorf("more than %d profiles", maxProfiles)
		}
		p, err := r.profile()
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// reader reads profiles. The first error stays, and each step after it does nothing.
type reader struct {
	element.Reader
	complain bool // the version word forces complain mode
	err      error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = r.Malformed(format, args...)
	}
}

// want returns the next element, which must have this name and code.
func (r *reader) want(name string, code element.Code) element.Element {
	if r.err != nil {
		return element.Element{Value: make([]byte, 8)}
	}
	e, err := r.Want(name, code)
	if err != nil {
		r.err = err
		return element.Element{Value: make([]byte, 8)}
	}
	return e
}

// accept returns the next element where it has this name and code.
func (r *reader) accept(name string, code element.Code) (element.Element, bool) {
	if r.err != nil {
		return element.Element{}, false
	}
	return r.Accept(name, code)
}

// skip steps over a struct of this name, where it comes next.
func (r *reader) skip(name string) {
	if _, ok := r.accept(name, element.Struct); ok {
		if err := r.Skip(); err != nil && r.err == nil {
			r.err = err
		}
	}
}

// The version word of a blob (include/policy_unpack.h).
const (
	versionMask   = 1<<10 - 1
	versionLeast  = 5
	versionMost   = 9
	forceComplain = 1 << 11
)

func (r *reader) profile() (*Profile, error) {
	var p Profile
	if v, ok := r.accept("version", element.U32); ok {
		word := v.Uint32()
		if n := word & versionMask; n < versionLeast || n > versionMost {
			return nil, fmt.Errorf("a profile is compiled for version %d of the kernel's interface: %d to %d are known", n,
				versionLeast, versionMost)
		}
		r.complain = word&forceComplain != 0
	} else if r.Pos == 0 {
		r.fail("there is no version")
	}
	if ns, ok := r.accept("namespace", element.String); ok {
		p.Namespace = string(ns.Value)
	}
	r.want("profile", element.Struct)
	p.Name = string(r.want("", element.String).Value)
	if r.err == nil && p.Name == "" {
		r.fail("a profile without a name")
	}
	r.accept("rename", element.String)
	_, p.Attaches = r.accept("attach", element.String)
	r.attachment(&p)
	r.accept("disconnected", element.String)
	r.accept("disconnected_ipc", element.String)
	r.accept("kill", element.U32)
	r.accept("error", element.U32)
	r.flags(&p)
	p.low = r.capabilities()
	r.want("", element.U32) // capabilities that are to be set; nothing uses them
	if _, ok := r.accept("caps64", element.Struct); ok {
		p.high = r.capabilities()
		r.want("", element.U32)
		r.want("", element.StructEnd)
	}
	for _, name := range []string{"capsx", "xattrs", "rlimits", "secmark"} {
		r.skip(name)
	}
	r.oldNetwork()
	r.policy(&p)
	r.files(&p)
	r.skip("data")
	r.want("", element.StructEnd)
	if r.err != nil {
		return nil, r.err
	}
	return &p, nil
}

// attachment reads the automaton of the paths of programs of which a profile takes hold.
func (r *reader) attachment(p *Profile) {
	var rules rules
	if r.rules(&rules, false); rules.dfa != nil {
		p.Attaches = true
		r.want("", element.U32) // how long a fixed beginning of the path is
	}
}

func (r *reader) flags(p *Profile) {
	r.want("flags", element.Struct)
	p.Hat = r.want("", element.U32).Uint32()&1 != 0
	mode := r.want("", element.U32).Uint32()
	if mode > uint32(User) {
		r.fail("mode %d", mode)
	}
	if p.Mode = Mode(mode); r.complain {
		p.Mode = Complain
	}
	p.Audit = r.want("", element.U32).Uint32() != 0
	r.want("", element.StructEnd)
	p.Path = PathMediateDeleted
	if e, ok := r.accept("path_flags", element.U32); ok {
		p.Path = e.Uint32()
	}
}

func (r *reader) capabilities() capabilities {
	return capabilities{
		allow: r.want("", element.U32).Uint32(),
		audit: r.want("", element.U32).Uint32(),
		quiet: r.want("", element.U32).Uint32(),
	}
}

// oldNetwork steps over the table of address families of kernels that have no rules about networks in the automaton.
func (r *reader) oldNetwork() {
	e, ok := r.accept("net_allowed_af", element.Array)
	if !ok {
		return
	}
	for range 3 * int(e.Uint16()) {
		r.want("", element.U16)
	}
	r.want("", element.ArrayEnd)
}

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
		if c > 0 {
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
	return r.names()
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
		var words [14]uint32 // reserved, allow, deny, subtree, cond, kill, complain, prompt, audit, quiet, hide, xindex, tag, label
		for i := range words {
			words[i] = r.want("", element.U32).Uint32()
		}
		list = append(list, Perms{Allow: words[1], Deny: words[2], Kill: words[5], Audit: words[8], Quiet: words[9],
			Hide: words[10], XIndex: words[11]})
	}
	r.want("", element.ArrayEnd)
	r.want("", element.StructEnd)
	return list, true
}

// names reads the table of what execs lead to (unpack_trans_table). A namespace is parted from its profile by a NUL.
func (r *reader) names() []string {
	if _, ok := r.accept("xtable", element.Struct); !ok {
		return nil
	}
	n := int(r.want("", element.Array).Uint16())
	var list []string
	for range n {
		if r.err != nil {
			return nil
		}
		list = append(list, string(r.want("", element.String).Value))
	}
	r.want("", element.ArrayEnd)
	r.want("", element.StructEnd)
	return list
}
