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

// Index is a Config in the form that a container start reads. Decide reads it in place, and never decodes it as a whole.
//
// It is one piece of memory, integers little endian:
//
//	 0  8 bytes  magic
//	 8  u32      version of this format
//	12  u32      CRC-32 (IEEE) of all that follows
//	16  u32      number of profiles
//	20  u32      number of policies
//	24  u32      number of assignments
//	28  u32      offset of the first assignment
//	32  u32 ...  offset of every profile, in the order of their names
//	    u32 ...  offset of every policy, in the order of their names
//
// The records follow. In a record, a number is a uvarint, and a string is its length and its bytes. A record names a profile
// or a policy by its place in the order plus one. 0 is none: Keep, or no floor. Assignments follow one another in their
// order, each after its length. The conditions come first, so that an assignment is skipped at the first condition that
// does not hold.
type Index struct{ data []byte }

const (
	magic      = "ociaapol"
	headerSize = 32
)

// checksum is IEEE's CRC. Castagnoli's is as fast, but a container start computes only one checksum, and hash/crc32 sets up
// its tables in 15 microseconds for IEEE's and in 140 for Castagnoli's.
func checksum(b []byte) uint32 { return crc32.ChecksumIEEE(b) }

// ErrIndex is wrapped by the errors for an index that is damaged, or of another version of the program.
var ErrIndex = errors.New("unreadable policy index")

func damaged(what string) error {
	return fmt.Errorf("%w: %s; write it anew with \"oci-apparmor policy apply\"", ErrIndex, what)
}

// OpenIndex returns the index in b, which Encode returned. It checks the magic, the version and the checksum. The Index
// reads b whenever it is used. What its methods return does not refer to b. The error wraps ErrIndex.
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
	profiles, policies, _ := x.counts()
	if tables := headerSize + 4*(uint64(profiles)+uint64(policies)); tables > uint64(len(b)) {
		return Index{}, damaged("it ends within its tables")
	}
	return x, nil
}

func (x Index) u32(at int) uint32 { return binary.LittleEndian.Uint32(x.data[at:]) }

// counts returns the numbers of profiles, policies and assignments. They are 0 for the zero Index.
func (x Index) counts() (profiles, policies, assignments int) {
	if len(x.data) < headerSize {
		return 0, 0, 0
	}
	return int(x.u32(16)), int(x.u32(20)), int(x.u32(24))
}

// record returns the fields that begin at an offset.
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

func (x Index) policyRecord(i int) fields {
	profiles, policies, _ := x.counts()
	if i < 0 || i >= policies {
		return fields{bad: true}
	}
	return x.record(x.u32(headerSize + 4*(profiles+i)))
}

// find searches n records for a name. Each record begins with its name.
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

func (x Index) policyIndex(name string) (int, bool) {
	_, policies, _ := x.counts()
	return find(policies, x.policyRecord, name)
}

// Profile returns the profile of that name, without its text.
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

// Blobs returns the hashes of the profiles' blobs, in the order of the profiles' names.
func (x Index) Blobs() ([][32]byte, error) {
	profiles, _, _ := x.counts()
	all := make([][32]byte, profiles)
	for i := range all {
		r := x.profileRecord(i)
		r.bytes() // the name
		r.byte()
		r.byte()
		r.bytes() // the source
		if r.fill(all[i][:]); r.bad {
			return nil, damaged(fmt.Sprintf("no profile can be read at place %d", i))
		}
	}
	return all, nil
}

// policyAt is a Policy as the index has it. It has its profiles' places: -1 for Keep, and for no floor.
type policyAt struct {
	name           string
	profile, floor int
}

func (x Index) policy(i int) (policyAt, error) {
	r := x.policyRecord(i)
	e := policyAt{name: r.string(), profile: r.place(), floor: r.place()}
	if r.bad {
		return policyAt{}, damaged(fmt.Sprintf("no policy can be read at place %d", i))
	}
	return e, nil
}

// Config decodes the whole index. Profiles and policies are in the order of their names, profiles without their text.
func (x Index) Config() (*Config, error) {
	profiles, policies, _ := x.counts()
	c := new(Config)
	for i := range profiles {
		one, err := x.profile(i)
		if err != nil {
			return nil, err
		}
		c.Profiles = append(c.Profiles, one)
	}
	for i := range policies {
		e, err := x.policy(i)
		if err != nil {
			return nil, err
		}
		one := Policy{Name: e.name, Profile: Keep}
		if e.profile >= profiles || e.floor >= profiles {
			return nil, damaged("policy " + oneline.Word(e.name) + " names a profile that is not there")
		}
		if e.profile >= 0 {
			one.Profile = c.Profiles[e.profile].Name
		}
		if e.floor >= 0 {
			one.Floor = c.Profiles[e.floor].Name
		}
		c.Policies = append(c.Policies, one)
	}
	for r, err := range x.rules() {
		if err != nil {
			return nil, err
		}
		a, err := r.assignment(c)
		if err != nil {
			return nil, err
		}
		c.Assignments = append(c.Assignments, a)
	}
	return c, nil
}

// fields reads one record. After a read past its end, or of a number that is none, bad is set, and all reads return zero
// values.
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

// place reads a place plus one. It returns the place, or -1 for none.
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
