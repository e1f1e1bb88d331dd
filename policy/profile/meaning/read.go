package meaning

import (
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/internal/element"
)

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
	if e, ok := r.accept("disconnected", element.String); ok {
		p.Disconnected = string(e.Value)
	}
	r.accept("disconnected_ipc", element.String)
	r.killSignal(&p)
	r.accept("error", element.U32)
	r.flags(&p)
	p.low = r.capabilities()
	r.want("", element.U32) // capabilities that are to be set; nothing uses them
	if _, ok := r.accept("caps64", element.Struct); ok {
		p.high = r.capabilities()
		r.want("", element.U32)
		r.want("", element.StructEnd)
	}
	r.skip("capsx") // capabilities that rules with conditions would be about; no parser writes any, no kernel looks at them
	r.xattrs(&p)
	r.rlimits(&p)
	r.secmarks(&p)
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
	if r.rules(&p.attach, false); p.attach.dfa != nil {
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

// killSignal reads what the kernel kills with in mode kill, as Linux numbers it.
func (r *reader) killSignal(p *Profile) {
	e, ok := r.accept("kill", element.U32)
	if !ok {
		return
	}
	if n := e.Uint32(); n < 1 || n > uint32(LastSignal)+4 { // MAXMAPPED_SIG, security/apparmor/include/sig_names.h
		r.fail("signal %d to kill with", n)
	} else {
		p.KillSignal = Signal(n)
	}
}

// list reads the count of the elements of an array that stands alone in a struct of this name, and 0 where there is no
// such struct. endList reads what closes it.
func (r *reader) list(name string) (int, bool) {
	if _, ok := r.accept(name, element.Struct); !ok {
		return 0, false
	}
	return int(r.want("", element.Array).Uint16()), true
}

func (r *reader) endList() {
	r.want("", element.ArrayEnd)
	r.want("", element.StructEnd)
}

func (r *reader) xattrs(p *Profile) {
	n, ok := r.list("xattrs")
	if !ok {
		return
	}
	for range n {
		if r.err != nil {
			return
		}
		p.XAttrs = append(p.XAttrs, string(r.want("", element.String).Value))
	}
	r.endList()
}

// rlimits reads the limits. The mask says which of them are set.
func (r *reader) rlimits(p *Profile) {
	const most = 16 // RLIM_NLIMITS
	if _, ok := r.accept("rlimits", element.Struct); !ok {
		return
	}
	mask := r.want("", element.U32).Uint32()
	n := int(r.want("", element.Array).Uint16())
	if n > most {
		r.fail("%d limits of resources", n)
		return
	}
	p.Rlimits = make(map[int]uint64)
	for i := range n {
		if limit := r.want("", element.U64).Uint64(); mask>>i&1 != 0 {
			p.Rlimits[i] = limit
		}
	}
	r.endList()
}

func (r *reader) secmarks(p *Profile) {
	n, ok := r.list("secmark")
	if !ok {
		return
	}
	for range n {
		if r.err != nil {
			return
		}
		var m Secmark
		m.Audit = r.want("", element.U8).Value[0] != 0
		m.Deny = r.want("", element.U8).Value[0] != 0
		m.Label = string(r.want("", element.String).Value)
		p.Secmarks = append(p.Secmarks, m)
	}
	r.endList()
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
