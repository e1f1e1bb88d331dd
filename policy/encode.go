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

// Encode returns the index of a configuration. It returns an error if the configuration contradicts itself:
//
//   - a name is there twice, is used and not there, or cannot be a profile's name;
//   - path.Match does not take a pattern;
//   - a policy that keeps the engine's choice has a floor, or its rule lists what engines may choose;
//   - a list of what engines may choose has an engine's default.
func (c *Config) Encode() ([]byte, error) {
	e := encoder{profiles: make(map[string]int), policies: make(map[string]int), keeps: make(map[string]bool)}

	profiles := slices.SortedFunc(slices.Values(c.Profiles), func(a, b Profile) int { return cmp.Compare(a.Name, b.Name) })
	for i, one := range profiles {
		if _, twice := e.profiles[one.Name]; twice {
			e.fault("profile %q is there twice", one.Name)
		}
		e.profiles[one.Name] = i
	}
	policies := slices.SortedFunc(slices.Values(c.Policies), func(a, b Policy) int { return cmp.Compare(a.Name, b.Name) })
	for i, one := range policies {
		if _, twice := e.policies[one.Name]; twice {
			e.fault("policy %q is there twice", one.Name)
		}
		e.policies[one.Name] = i
		e.keeps[one.Name] = one.Profile == Keep
	}

	tables := headerSize + 4*(len(profiles)+len(policies))
	e.out = append(e.out, magic...)
	e.out = append(e.out, make([]byte, tables-len(magic))...)
	binary.LittleEndian.PutUint32(e.out[8:], formatVersion)
	e.put(16, len(profiles))
	e.put(20, len(policies))
	e.put(24, len(c.Assignments))
	for i, one := range profiles {
		e.put(headerSize+4*i, len(e.out))
		e.profile(one)
	}
	for i, one := range policies {
		e.put(headerSize+4*(len(profiles)+i), len(e.out))
		e.policy(one)
	}
	e.put(28, len(e.out))
	for _, one := range c.Assignments {
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
	out                []byte
	profiles, policies map[string]int  // their places in the order of names
	keeps              map[string]bool // the policies that keep the engine's choice
	faults             []error
}

func (e *encoder) fault(format string, args ...any) {
	e.faults = append(e.faults, fmt.Errorf(format, args...))
}

func (e *encoder) put(at, n int) { binary.LittleEndian.PutUint32(e.out[at:], uint32(n)) }

func (e *encoder) number(n int)    { e.out = binary.AppendUvarint(e.out, uint64(n)) }
func (e *encoder) string(s string) { e.number(len(s)); e.out = append(e.out, s...) }

// profilePlace writes the place of a profile plus one, or 0 for the name none.
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

// policyPlace writes the place of a policy plus one.
func (e *encoder) policyPlace(name, of string) {
	i, ok := e.policies[name]
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

func (e *encoder) policy(p Policy) {
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
		e.policyPlace(a.Policy, of)
		e.profilePlace(a.Floor, "", of)
		e.sized(func() {
			for _, name := range a.Request {
				e.policyPlace(name, of)
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

// sized writes what write writes, after its length.
func (e *encoder) sized(write func()) {
	before := e.out
	e.out = nil
	write()
	written := e.out
	e.out = binary.AppendUvarint(before, uint64(len(written)))
	e.out = append(e.out, written...)
}

// flags returns the first byte of an assignment: the two bits of every Switch, and refusedAssigned.
func flags(a Assignment) (flags byte) {
	for i := range keys {
		if k := &keys[i]; k.Kind == Switch {
			flags |= byte(k.asked(&a)) << k.bits
		}
	}
	if a.OnRefused == Assigned {
		flags |= refusedAssigned
	}
	return flags
}
