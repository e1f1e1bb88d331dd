package access

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

const (
	msNoUser = 1 << 31 // MS_NOUSER, which the kernel refuses, and asks no profile
	allFlags = ^uint32(msNoUser | kernelname.Ignored)
)

// changes are the flags that change how mounts are shared, in the order in which they are written.
var changes = []uint32{kernelname.Shared, kernelname.Private, kernelname.Slave, kernelname.Unbindable}

// otherWords are words of rules for flags that have a usual word as well.
var otherWords = map[string]string{"r": "ro", "read-only": "ro", "w": "rw", "B": "bind", "R": "rbind", "M": "move",
	"make-shared": "shared", "make-rshared": "rshared", "make-private": "private", "make-rprivate": "rprivate",
	"make-slave": "slave", "make-rslave": "rslave", "make-unbindable": "unbindable", "make-runbindable": "runbindable"}

// flagsOf reads flags.
func flagsOf(w word) (flags uint32, err error) {
	list := []word{w}
	if w.listed {
		list = w.list
	} else if w.key != "" {
		list = nil
		for name := range strings.SplitSeq(w.text, ",") {
			list = append(list, word{text: name})
		}
	}
	for _, one := range list {
		if flag, ok := kernelname.MountFlagOf(cmp.Or(otherWords[one.text], one.text)); ok {
			flags |= flag
			continue
		}
		number, err := strconv.ParseUint(one.text, 0, 32)
		if err != nil || !strings.HasPrefix(one.text, "0x") {
			var words []string
			for _, f := range kernelname.MountFlags {
				words = append(words, f.Word)
			}
			return 0, fmt.Errorf("%s is no option of a mount: here can stand %s", shown(one), listed(words))
		}
		flags |= uint32(number)
	}
	return flags, nil
}

// formatFlags writes flags as a list.
func formatFlags(flags uint32) string {
	var words []string
	for _, f := range kernelname.MountFlags {
		if f.Flag != 0 && flags&f.Flag == f.Flag {
			words = append(words, f.Word)
			flags &^= f.Flag
		}
	}
	if flags != 0 {
		words = append(words, "0x"+strconv.FormatUint(uint64(flags), 16))
	}
	if len(words) == 0 {
		return "rw"
	}
	if len(words) == 1 {
		return words[0]
	}
	return "(" + strings.Join(words, ", ") + ")"
}

// A mountWords is what a line says of mounts.
type mountWords struct {
	must, may            uint32 // flags that are set, and those that may be
	source, target, kind *glob  // nil for any
	data                 *glob
}

// mount reads "mount [fstype=TYPE] [options=FLAGS] [options in FLAGS] [data=TEXT] [SOURCE] [-> TARGET]", and the same with
// remount, in which there is no source and no arrow need be. Without options it is about all flags: new mounts, remounts,
// binds, moves and changes of how mounts are shared.
func (p *parser) mount() error {
	m := mountWords{}
	remount := p.words[p.at].is("remount")
	bind := p.words[p.at].is("bind")
	said := false
	p.at++
	for p.more() {
		done, options, err := p.mountCondition(&m)
		if err != nil {
			return err
		}
		said = said || options
		if done {
			continue
		}
		if err := p.mountPath(&m, remount); err != nil {
			return err
		}
	}
	if !said {
		m.may = allFlags
	}
	switch {
	case remount:
		m.must |= kernelname.Remount
	case bind && said:
		return errors.New("options have no meaning behind bind: write mount options=(bind, ...)")
	case bind:
		m.must, m.may = kernelname.Bind, kernelname.Rec
	}
	if p.mounts(m); p.questions == nil {
		return fmt.Errorf("%s: no mount is like that", shown(p.words[0]))
	}
	return nil
}

// mountCondition reads a condition of a mount. It reports whether one comes next, and whether it is about options.
func (p *parser) mountCondition(m *mountWords) (done, options bool, err error) {
	w := p.words[p.at]
	key, in := w.key, false
	if key == "" && (w.is("options") || w.is("fstype")) && p.at+2 < len(p.words) && p.words[p.at+1].is("in") {
		key, in = w.text, true
		p.at += 2
		w = p.words[p.at]
	}
	switch key {
	case "":
		return false, false, nil
	case "options", "option":
		flags, err := flagsOf(w)
		if in {
			m.may |= flags
		} else {
			m.must |= flags
		}
		p.at++
		return true, true, err
	case "fstype", "vfstype":
		g, err := globOf(anything, w)
		m.kind = &g
		p.at++
		return true, false, err
	case "data":
		g, err := globOf(anything, w)
		m.data = &g
		p.at++
		return true, false, err
	}
	return false, false, p.end("fstype=, options=, data=, a source, or -> and a target")
}

// mountPath reads a source, or where something is mounted.
func (p *parser) mountPath(m *mountWords, remount bool) error {
	arrow := p.skip("->")
	if !arrow && !remount {
		if m.source != nil || m.target != nil {
			return p.end(`"->" and a target`)
		}
		g, err := p.text(anything, "a source")
		m.source = &g
		return err
	}
	if m.target != nil {
		return p.end("fstype=, options= or data=")
	}
	g, err := p.text(paths, "where it is mounted")
	m.target = &g
	return err
}

// mounts asks about each of what mount(2) can do. The kernel takes away flags, and texts, that do not belong to that.
func (p *parser) mounts(m mountWords) {
	if f, ok := m.with(kernelname.Remount, allFlags); ok && m.source.empty() && m.kind.empty() {
		p.mountsOf(m, f, nothing, nothing, m.data.of(anything))
	}
	m.may &^= kernelname.Remount
	if m.must&kernelname.Remount != 0 {
		return
	}
	if f, ok := m.with(kernelname.Bind, kernelname.Bind|kernelname.Rec); ok && m.kind.empty() && m.data.empty() {
		p.mountsOf(m, f, m.source.of(paths), nothing, nothing)
	}
	m.may &^= kernelname.Bind
	if m.must&kernelname.Bind != 0 {
		return
	}
	for _, flag := range changes {
		if f, ok := m.with(flag, kernelname.Propagation|kernelname.Rec|kernelname.Silent); ok && m.source.empty() && m.kind.empty() && m.data.empty() {
			p.mountsOf(m, f, nothing, nothing, nothing)
		}
		m.may &^= flag
		if m.must&flag != 0 {
			return
		}
	}
	if _, ok := m.with(kernelname.Move, kernelname.Move); ok && m.kind.empty() && m.data.empty() {
		p.mountsOf(m, flagSet{kernelname.Move, 0}, m.source.of(paths), nothing, nothing)
		if m.source == nil { // what is not mounted yet
			p.mountsOf(m, flagSet{kernelname.Move, 0}, nothing, nothing, nothing)
		}
	}
	if m.may &^= kernelname.Move; m.must&kernelname.Move == 0 {
		p.mountsOf(m, flagSet{m.must, m.may}, m.source.of(anything), m.kind.of(names), m.data.of(anything))
	}
}

// nothing is the texts of a mount that the kernel does not ask about.
var nothing = glob{anything, []string{""}}

// mountsOf asks about mounts of one kind, if there can be any.
func (p *parser) mountsOf(m mountWords, f flagSet, source, kind, data glob) {
	if source.some() && kind.some() && data.some() {
		p.asks([]meaning.Access{meaning.MountAccess{}}, m.target.of(paths), source, kind, f, data)
	}
}

// with returns the sets of flags that have one flag, and what else of them the kernel keeps. It reports whether there are
// any.
func (m *mountWords) with(flag, keeps uint32) (flagSet, bool) {
	return flagSet{(m.must | flag) & keeps, m.may &^ flag & keeps}, (m.must|m.may)&flag != 0
}

// of returns what a line says of a text, nil for nothing, as texts of a kind.
func (g *glob) of(k kind) glob {
	if g == nil {
		return glob{kind: k}
	}
	return glob{k, g.patterns}
}

// empty reports whether a text can be empty.
func (g *glob) empty() bool { return g == nil || g.matches("") }

// flagSet are sets of flags that have all of must and perhaps some of may, as the kernel looks them up: by a byte for each.
type flagSet struct{ must, may uint32 }

func (f flagSet) check() error { return nil }

func (f flagSet) language() (automaton.Language, error) {
	bytes := make([]byte, 32)
	for bit := range bytes {
		bytes[bit] = byte(bit + 1)
	}
	const wrong = 33                                                               // else it is how many flags are behind
	skips := func(from, to int) bool { return f.must>>from&(1<<(to-from)-1) == 0 } // may flags be left out
	return automaton.NewLanguage(automaton.Apart(string(bytes)), 0, func(at int, b byte) int {
		bit := int(b) - 1
		if at == wrong || bit < at || bit > 31 || (f.must|f.may)>>bit&1 == 0 || !skips(at, bit) {
			return wrong
		}
		return bit + 1
	}, func(at int) bool { return at != wrong && skips(at, 32) }, func(at int) bool { return at == wrong }), nil
}

// umount reads "umount [TARGET]".
func (p *parser) umount() error {
	p.at++
	p.skip("->")
	target := glob{kind: paths}
	if p.more() {
		var err error
		if target, err = p.text(paths, "where something is mounted"); err != nil {
			return err
		}
	}
	p.asks([]meaning.Access{meaning.UmountAccess{}}, target)
	return p.end("")
}

// pivotRoot reads "pivot_root [oldroot=OLD] [NEW]".
func (p *parser) pivotRoot() error {
	p.at++
	old, root := glob{kind: paths}, glob{kind: paths}
	var err error
	if p.more() && p.words[p.at].key == "oldroot" {
		if old, err = globOf(paths, p.words[p.at]); err != nil {
			return err
		}
		p.at++
	}
	if p.more() {
		if root, err = p.text(paths, "oldroot= or the new root"); err != nil {
			return err
		}
	}
	p.asks([]meaning.Access{meaning.PivotRootAccess{}}, root, old)
	return p.end("")
}

func formatMount(a meaning.MountAccess) string {
	var b strings.Builder
	change := a.Flags&kernelname.Propagation != 0
	if a.Flags&kernelname.Remount != 0 {
		fmt.Fprintf(&b, "remount options=%s data=%s -> %s", formatFlags(a.Flags&^kernelname.Remount), literal(a.Data), literal(a.Target))
		return b.String()
	}
	b.WriteString("mount")
	fresh := a.Flags&(kernelname.Bind|kernelname.Move) == 0 && !change
	if fresh {
		b.WriteString(" fstype=" + literal(a.Type))
	}
	b.WriteString(" options=" + formatFlags(a.Flags))
	if fresh {
		b.WriteString(" data=" + literal(a.Data))
	}
	if fresh || a.Flags&kernelname.Bind != 0 || !change {
		b.WriteString(" " + literal(a.Source))
	}
	b.WriteString(" -> " + literal(a.Target))
	return b.String()
}

func formatPivotRoot(a meaning.PivotRootAccess) string {
	return "pivot_root oldroot=" + literal(a.Old) + " " + literal(a.New)
}
