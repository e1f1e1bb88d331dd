package compare

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// outcomeOf returns the outcome of an access.
func outcomeOf(s meaning.Stack, a meaning.Access) meaning.Outcome {
	parts := make([]meaning.Outcome, len(s))
	for i, p := range s {
		d := p.Decide(a)
		parts[i] = meaning.Outcome{Allowed: d.Allowed, Logged: d.Logged, Killed: d.Killed, Missing: d.Missing, Denied: d.Denied != 0}
	}
	return meaning.Together(parts...)
}

// lastCapability is the greatest number of a capability that rules can have.
const lastCapability = 63

// capabilities compares capabilities.
func capabilities(a, b meaning.Stack) (lines []Line) {
	all := make(map[Change][]int)
	for number, access := range everyCapability() {
		for _, c := range changed(outcomeOf(a, access), outcomeOf(b, access)) {
			all[c] = append(all[c], number)
		}
	}
	for _, c := range Changes() {
		list := all[c]
		if len(list) == 0 {
			continue
		}
		line := Line{Change: c, What: "capability", Topic: "capability", Witness: meaning.CapabilityAccess(list[0])}
		var names, others []string
		for n, name := range kernelname.Capabilities {
			if slices.Contains(list, n) {
				names = append(names, name)
			} else {
				others = append(others, name)
			}
		}
		switch {
		case len(names) == 0: // no kernel has them
			continue
		case len(others) < len(names):
			line.Except = others
		default:
			line.What += " " + strings.Join(names, " ")
		}
		lines = append(lines, line)
	}
	return lines
}

// everyCapability returns the accesses to all capabilities.
func everyCapability() (all []meaning.Access) {
	for number := range lastCapability + 1 {
		all = append(all, meaning.CapabilityAccess(number))
	}
	return all
}

// everyLimit returns accesses to limits of resources, one of each kind that profiles may tell apart.
func everyLimit(a, b meaning.Stack) (all []meaning.Access) {
	values := make(map[int][]uint64)
	for _, p := range slices.Concat(a, b) {
		for n, limit := range p.Rlimits {
			values[n] = append(values[n], limit)
			if limit < math.MaxUint64 {
				values[n] = append(values[n], limit+1)
			}
		}
	}
	for _, n := range slices.Sorted(maps.Keys(values)) {
		slices.Sort(values[n])
		for _, hard := range slices.Compact(values[n]) {
			all = append(all, meaning.RlimitAccess{Resource: n, Hard: hard})
		}
	}
	return all
}

// limits compares the limits of resources.
func limits(a, b meaning.Stack) (lines []Line) {
	said := make(map[Change]int) // the resource that was said last of
	for _, access := range everyLimit(a, b) {
		n := access.(meaning.RlimitAccess).Resource
		for _, c := range changed(outcomeOf(a, access), outcomeOf(b, access)) {
			if last, ok := said[c]; ok && last == n {
				continue
			}
			said[c] = n
			lines = append(lines, Line{Change: c, Topic: "rlimit", Witness: access,
				What: fmt.Sprintf("set rlimit %s, limit %s", kernelname.Resources.Word(uint16(n)), limitOf(b, n)), From: limitOf(a, n), To: limitOf(b, n)})
		}
	}
	return lines
}

// limitOf returns the least of a stack's limits.
func limitOf(s meaning.Stack, resource int) string {
	least, set := uint64(math.MaxUint64), false
	for _, p := range s {
		if limit, ok := p.Rlimits[resource]; ok && limit <= least {
			least, set = limit, true
		}
	}
	if !set || least == math.MaxUint64 {
		return "none"
	}
	return strconv.FormatUint(least, 10)
}

// hatsOf returns the names of hats into which a stack may change by one of its parts.
func hatsOf(s meaning.Stack) (names []string) {
	for _, p := range s {
		root := p
		if p.Hat && p.Parent != nil {
			root = p.Parent
		}
		for _, child := range root.Children {
			names = append(names, strings.TrimPrefix(child.Name, root.Name+"//"))
		}
	}
	return names
}

// everyHat returns changes into all hats that profiles have and, at the end, into one that they have not.
func everyHat(a, b meaning.Stack) (all []meaning.Access) {
	names := slices.Concat(hatsOf(a), hatsOf(b))
	slices.Sort(names)
	names = slices.Compact(names)
	another := "another"
	for slices.Contains(names, another) {
		another += "x"
	}
	for _, name := range append(names, another) {
		all = append(all, meaning.ChangeHatAccess{Hat: name})
	}
	return all
}

// hats compares into which hats a process may change.
func hats(a, b meaning.Stack) (lines []Line) {
	all := everyHat(a, b)
	for i, access := range all {
		what := "change_hat " + quoted(access.(meaning.ChangeHatAccess).Hat)
		if i == len(all)-1 {
			what = "change_hat to any other hat"
		}
		for _, c := range changed(outcomeOf(a, access), outcomeOf(b, access)) {
			lines = append(lines, Line{Change: c, What: what, Topic: "change_hat", Witness: access})
		}
	}
	return lines
}

// attributes compares what is no access.
func attributes(a, b meaning.Stack) (lines []Line) {
	say := func(what, from, to string) {
		if from != to {
			lines = append(lines, Line{Change: Otherwise, What: what, From: cmp.Or(from, "none"), To: cmp.Or(to, "none")})
		}
	}
	if len(a) != len(b) {
		say("profiles of the stack", strconv.Itoa(len(a)), strconv.Itoa(len(b)))
		return lines
	}
	for i, x := range a {
		y := b[i]
		if len(a) > 1 && x.Name != y.Name {
			say("profile of the stack", x.Name, y.Name)
		}
		say("mode", x.Mode.String(), y.Mode.String())
		say("path flags", pathFlags(x), pathFlags(y))
		say("the path of disconnected files begins with", x.Disconnected, y.Disconnected)
		if x.Mode == meaning.Kill || y.Mode == meaning.Kill {
			say("signal that kills", killSignal(x), killSignal(y))
		}
		say("extended attributes by which it attaches", strings.Join(x.XAttrs, " "), strings.Join(y.XAttrs, " "))
		say("packets with a security mark", secmarks(x), secmarks(y))
		say("hat", fmt.Sprint(x.Hat), fmt.Sprint(y.Hat))
		if x.Namespace != y.Namespace {
			say("policy namespace", x.Namespace, y.Namespace)
		}
	}
	return lines
}

func killSignal(p *meaning.Profile) string {
	if p.Mode != meaning.Kill || p.KillSignal == 0 {
		return meaning.SIGKILL.String()
	}
	return p.KillSignal.String()
}

func pathFlags(p *meaning.Profile) string {
	var names []string
	for _, f := range []struct {
		bit  uint32
		name string
	}{{meaning.PathConnect, "attach_disconnected"}, {meaning.PathMediateDeleted, "mediate_deleted"},
		{0x8, "chroot_relative"}, {0x10, "chroot_attach"}, {0x8000, "delegate_deleted"}} {
		if p.Path&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return strings.Join(names, ",")
}

func secmarks(p *meaning.Profile) string {
	var all []string
	for _, m := range p.Secmarks {
		all = append(all, fmt.Sprintf("%s deny=%t audit=%t", m.Label, m.Deny, m.Audit))
	}
	return strings.Join(all, "; ")
}
