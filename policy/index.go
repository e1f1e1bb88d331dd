package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"sort"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// Index is a Policy in the form in which a container start reads it: decided upon in place, never decoded as a whole.
//
// It is one piece of memory, integers little endian:
//
//	 0  8 bytes  magic
//	 8  u32      version of this format
//	12  u32      CRC-32 (IEEE) of all that follows
//	16  u32      number of profiles
//	20  u32      number of entries
//	24  u32      number of assignments
//	28  u32      offset of the first assignment
//	32  u32 ...  offset of every profile, in the order of their names
//	    u32 ...  offset of every entry, in the order of their names
//
// and then the records. In a record a number is a uvarint and a string is its length and its bytes. Records refer to
// profiles and entries by their place in the order plus one, 0 being none (Keep, no floor). Assignments follow one
// another in their order, each behind its length, conditions first, so that one that does not match is skipped after
// its first condition that does not hold.
type Index struct{ data []byte }

const (
	magic         = "ociaapol"
	formatVersion = 3
	headerSize    = 32
)

// The CRC is IEEE's and not Castagnoli's although both are as fast: a container start computes it once, and setting up
// hash/crc32's tables takes 15 microseconds for the one and 140 for the other.
func checksum(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

// ErrIndex is wrapped by the errors for an index that is damaged, or of another version of the program.
var ErrIndex = errors.New("unreadable policy index")

func damaged(what string) error {
	return fmt.Errorf("%w: %s; write it anew with \"oci-apparmor policy apply\"", ErrIndex, what)
}

// OpenIndex checks that b is what Encode gave, by its magic, its version and its checksum. The Index reads b whenever
// it is used, and nothing it gives refers to b. The error wraps ErrIndex.
func OpenIndex(b []byte) (Index, error) {
	switch {
	case len(b) < headerSize || string(b[:8]) != magic:
		return Index{}, damaged("it does not begin like one")
	case binary.LittleEndian.Uint32(b[8:]) != formatVersion:
		return Index{}, damaged(fmt.Sprintf("its format has version %d, this program reads %d",
			binary.LittleEndian.Uint32(b[8:]), formatVersion))
	case binary.LittleEndian.Uint32(b[12:]) != checksum(b[16:]):
		return Index{}, damaged("its checksum is wrong")
	}
	x := Index{b}
	profiles, entries, _ := x.counts()
	if tables := headerSize + 4*(uint64(profiles)+uint64(entries)); tables > uint64(len(b)) {
		return Index{}, damaged("it ends within its tables")
	}
	return x, nil
}

func (x Index) u32(at int) uint32 { return binary.LittleEndian.Uint32(x.data[at:]) }

// counts gives the numbers of profiles, entries and assignments: none of the zero Index.
func (x Index) counts() (profiles, entries, assignments int) {
	if len(x.data) < headerSize {
		return 0, 0, 0
	}
	return int(x.u32(16)), int(x.u32(20)), int(x.u32(24))
}

// record gives what stands at an offset.
func (x Index) record(offset uint32) fields {
	if uint64(offset) > uint64(len(x.data)) {
		return fields{bad: true}
	}
	return fields{b: x.data[offset:]}
}

func (x Index) profileRecord(i int) fields {
	if profiles, _, _ := x.counts(); i < 0 || i >= profiles {
		return fields{bad: true}
	}
	return x.record(x.u32(headerSize + 4*i))
}

func (x Index) entryRecord(i int) fields {
	profiles, entries, _ := x.counts()
	if i < 0 || i >= entries {
		return fields{bad: true}
	}
	return x.record(x.u32(headerSize + 4*(profiles+i)))
}

// find searches n records for a name, which is what each begins with.
func find(n int, record func(int) fields, name string) (int, bool) {
	return sort.Find(n, func(i int) int {
		r := record(i)
		switch at := r.bytes(); {
		case name < string(at):
			return -1
		case name > string(at):
			return 1
		}
		return 0
	})
}

func (x Index) entryIndex(name string) (int, bool) {
	_, entries, _ := x.counts()
	return find(entries, x.entryRecord, name)
}

// Profile gives the profile of that name, without its text.
func (x Index) Profile(name string) (Profile, bool) {
	i, ok := x.profileIndex(name)
	if !ok {
		return Profile{}, false
	}
	p, err := x.profile(i)
	return p, err == nil
}

func (x Index) profileIndex(name string) (int, bool) {
	profiles, _, _ := x.counts()
	return find(profiles, x.profileRecord, name)
}

func (x Index) profile(i int) (Profile, error) {
	r := x.profileRecord(i)
	p := Profile{
		Name:    r.string(),
		Mode:    profile.Mode(r.byte()),
		OnDrift: profile.Drift(r.byte()),
		Source:  r.string(),
	}
	r.fill(p.Blob[:])
	for n := r.number(); n > 0 && !r.bad; n-- {
		c := profile.Compiled{Name: r.string(), Mode: profile.Mode(r.byte())}
		r.fill(c.SHA1[:])
		r.fill(c.SHA256[:])
		p.Compiled = append(p.Compiled, c)
	}
	if r.bad || p.Mode >= profile.Unconfined {
		return Profile{}, damaged(fmt.Sprintf("no profile can be read at place %d", i))
	}
	return p, nil
}

// entry is a Policy as the index has it. Its profile is -1 for Keep, its floor -1 without one.
type entry struct {
	name           string
	profile, floor int
}

func (x Index) entry(i int) (entry, error) {
	r := x.entryRecord(i)
	e := entry{name: r.string(), profile: r.place(), floor: r.place()}
	if r.bad {
		return entry{}, damaged(fmt.Sprintf("no policy can be read at place %d", i))
	}
	return e, nil
}

// Config decodes the whole index. Profiles and policies come in the order of their names, profiles without their text.
func (x Index) Config() (*Config, error) {
	profiles, entries, _ := x.counts()
	p := new(Config)
	for i := range profiles {
		one, err := x.profile(i)
		if err != nil {
			return nil, err
		}
		p.Profiles = append(p.Profiles, one)
	}
	for i := range entries {
		e, err := x.entry(i)
		if err != nil {
			return nil, err
		}
		one := Policy{Name: e.name, Profile: Keep}
		if e.profile >= profiles || e.floor >= profiles {
			return nil, damaged("policy " + oneline.Word(e.name) + " names a profile that is not there")
		}
		if e.profile >= 0 {
			one.Profile = p.Profiles[e.profile].Name
		}
		if e.floor >= 0 {
			one.Floor = p.Profiles[e.floor].Name
		}
		p.Policies = append(p.Policies, one)
	}
	for r, err := range x.rules() {
		if err != nil {
			return nil, err
		}
		a, err := r.assignment(p)
		if err != nil {
			return nil, err
		}
		p.Assignments = append(p.Assignments, a)
	}
	return p, nil
}

// fields reads one record. Reading past its end, or something that is no number, sets bad and gives zero values from
// there on.
type fields struct {
	b   []byte
	bad bool
}

func (f *fields) number() uint64 {
	if len(f.b) > 0 && f.b[0] < 0x80 { // nearly always
		v := f.b[0]
		f.b = f.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.b, f.bad = nil, true
		return 0
	}
	f.b = f.b[n:]
	return v
}

// place reads a place in an order, plus one; -1 is none.
func (f *fields) place() int {
	n := f.number()
	if n > 1<<31 {
		f.b, f.bad = nil, true
		return -1
	}
	return int(n) - 1
}

func (f *fields) take(n uint64) []byte {
	if n > uint64(len(f.b)) {
		f.b, f.bad = nil, true
		return nil
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) byte() byte {
	if b := f.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (f *fields) fill(b []byte)  { copy(b, f.take(uint64(len(b)))) }
func (f *fields) bytes() []byte  { return f.take(f.number()) }
func (f *fields) string() string { return string(f.bytes()) }
