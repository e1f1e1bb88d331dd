package policy

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"path"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Encode gives the index of a policy. It refuses a policy that contradicts itself: a name that is there twice, that is
// referred to and not there, or that is no name for a profile; a pattern that path.Match does not take; a kept choice
// with a floor or a list of what may be chosen; a list that has an engine's default.
func (p *Config) Encode() ([]byte, error) {
	e := encoder{profiles: make(map[string]int), entries: make(map[string]int), keeps: make(map[string]bool)}

	profiles := slices.SortedFunc(slices.Values(p.Profiles), func(a, b Profile) int { return cmp.Compare(a.Name, b.Name) })
	for i, one := range profiles {
		if _, twice := e.profiles[one.Name]; twice {
			e.fault("profile %q is there twice", one.Name)
		}
		e.profiles[one.Name] = i
	}
	entries := slices.SortedFunc(slices.Values(p.Policies), func(a, b Policy) int { return cmp.Compare(a.Name, b.Name) })
	for i, one := range entries {
		if _, twice := e.entries[one.Name]; twice {
			e.fault("policy %q is there twice", one.Name)
		}
		e.entries[one.Name] = i
		e.keeps[one.Name] = one.Profile == Keep
	}

	tables := headerSize + 4*(len(profiles)+len(entries))
	e.out = append(e.out, magic...)
	e.out = append(e.out, make([]byte, tables-len(magic))...)
	binary.LittleEndian.PutUint32(e.out[8:], formatVersion)
	e.put(16, len(profiles))
	e.put(20, len(entries))
	e.put(24, len(p.Assignments))
	for i, one := range profiles {
		e.put(headerSize+4*i, len(e.out))
		e.profile(one)
	}
	for i, one := range entries {
		e.put(headerSize+4*(len(profiles)+i), len(e.out))
		e.entry(one)
	}
	e.put(28, len(e.out))
	for _, one := range p.Assignments {
		e.assignment(one)
	}
	if len(e.out) > math.MaxInt32 {
		e.fault("it needs %d bytes, and an index has at most %d", len(e.out), math.MaxInt32)
	}
	if len(e.faults) > 0 {
		return nil, fmt.Errorf("policy: %w", errors.Join(e.faults...))
	}
	binary.LittleEndian.PutUint32(e.out[12:], checksum(e.out[16:]))
	return e.out, nil
}

type encoder struct {
	out               []byte
	profiles, entries map[string]int  // their places in the order of names
	keeps             map[string]bool // the entries that keep the engine's choice
	faults            []error
}

func (e *encoder) fault(format string, args ...any) {
	e.faults = append(e.faults, fmt.Errorf(format, args...))
}

func (e *encoder) put(at, n int) { binary.LittleEndian.PutUint32(e.out[at:], uint32(n)) }

func (e *encoder) number(n int)    { e.out = binary.AppendUvarint(e.out, uint64(n)) }
func (e *encoder) string(s string) { e.number(len(s)); e.out = append(e.out, s...) }

// profilePlace writes the place of a profile, plus one; 0 for the name that stands for none.
func (e *encoder) profilePlace(name, none, of string) {
	i, ok := e.profiles[name]
	switch {
	case name == none:
		i = -1
	case !ok:
		e.fault("%s names the profile %q, which is not there", of, name)
	}
	e.number(i + 1)
}

// entryPlace writes the place of an entry, plus one.
func (e *encoder) entryPlace(name, of string) {
	i, ok := e.entries[name]
	if !ok {
		e.fault("%s names the policy %q, which is not there", of, name)
	}
	e.number(i + 1)
}

func (e *encoder) profile(p Profile) {
	if err := profile.CheckName(p.Name); err != nil {
		e.faults = append(e.faults, err)
	}
	if p.Mode >= profile.Unconfined {
		e.fault("profile %q is in mode %s, which confines nothing", p.Name, p.Mode)
	}
	e.string(p.Name)
	e.out = append(e.out, byte(p.Mode), byte(p.OnDrift))
	e.string(p.Source)
	e.out = append(e.out, p.Blob[:]...)
	e.number(len(p.Compiled))
	for _, c := range p.Compiled {
		e.string(c.Name)
		e.out = append(e.out, byte(c.Mode))
		e.out = append(e.out, c.SHA1[:]...)
		e.out = append(e.out, c.SHA256[:]...)
	}
}

func (e *encoder) entry(p Policy) {
	of := fmt.Sprintf("policy %q", p.Name)
	if p.Profile == Keep && p.Floor != "" {
		e.fault("%s keeps the engine's choice, on which nothing can be stacked, and has the floor %q", of, p.Floor)
	}
	e.string(p.Name)
	e.profilePlace(p.Profile, Keep, of)
	e.profilePlace(p.Floor, "", of)
}

func (e *encoder) assignment(a Assignment) {
	of := fmt.Sprintf("the assignment at %s line %d", a.File, a.Line)
	for _, name := range append([]string{a.Policy}, a.Request...) {
		if a.Floor != "" && e.keeps[name] {
			e.fault("%s has the floor %q, and policy %q keeps the engine's choice, on which nothing can be stacked",
				of, a.Floor, name)
		}
	}

	if len(a.AcceptChoice) > 0 && e.keeps[a.Policy] {
		e.fault("%s lists what engines may choose, and policy %q keeps whatever they choose", of, a.Policy)
	}

	e.sized(func() {
		e.out = append(e.out, flags(a))
		for i := range keys {
			switch k := &keys[i]; k.Kind {
			case Patterns:
				e.patterns(*k.patterns(&a), k.Name, of)
			case LabelPatterns:
				e.number(len(a.Label))
				for _, l := range a.Label {
					e.string(l.Key)
					e.patterns(l.Patterns, k.Name+" "+l.Key, of)
				}
			}
		}
		e.string(a.File)
		e.number(a.Line)
		e.entryPlace(a.Policy, of)
		e.profilePlace(a.Floor, "", of)
		e.sized(func() {
			for _, name := range a.Request {
				e.entryPlace(name, of)
			}
		})
		e.sized(func() {
			for _, name := range a.AcceptChoice {
				e.choice(name, of)
			}
		})
	})
}

// patterns writes the patterns of a condition.
func (e *encoder) patterns(list []string, key, of string) {
	e.number(len(list))
	for _, pattern := range list {
		if _, err := path.Match(pattern, ""); err != nil {
			e.fault("%s has the pattern %q for %s: %w", of, pattern, key, err)
		}
		n := plain(pattern)
		e.string(pattern[:n])
		e.string(pattern[n:])
	}
}

// choice writes the name of a profile that engines may choose. It need not be one of the policy's.
func (e *encoder) choice(name, of string) {
	if err := profile.CheckName(name); err != nil {
		e.fault("%s lists what engines may choose: %w", of, err)
	}
	if title, is := engine.ByDefault(name); is || name == Keep {
		e.fault("%s lists %q for engines to choose, which is nobody's choice (%s)", of, name, title)
	}
	e.string(name)
}

// sized writes what write writes, behind its length.
func (e *encoder) sized(write func()) {
	before := e.out
	e.out = nil
	write()
	written := e.out
	e.out = binary.AppendUvarint(before, uint64(len(written)))
	e.out = append(e.out, written...)
}

func flags(a Assignment) (flags byte) {
	if a.Sandbox {
		flags |= onlySandbox
	}
	if a.Privileged != nil && *a.Privileged {
		flags |= onlyPrivileged
	}
	if a.Privileged != nil && !*a.Privileged {
		flags |= onlyUnprivileged
	}
	if a.OnRefused == Assigned {
		flags |= refusedAssigned
	}
	return flags
}
