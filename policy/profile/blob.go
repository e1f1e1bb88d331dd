package profile

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/internal/element"
)

// maxProfiles is how many profiles one blob may define. A profile and its children are seldom more than ten.
const maxProfiles = 256

// The version word of a blob (ENCODE_VERSION in parser/policydb.h of AppArmor, VERSION_* in the kernel's
// security/apparmor/policy_unpack.c): the kernel ABI in its low ten bits, and a bit that overrides every mode.
const (
	abiMask       = 1<<10 - 1
	forceComplain = 1 << 11

	// kernelABI is what parsers 3.0 to 6.0 write when they know the features of a kernel that has AppArmor's v7
	// policy, which is every kernel in use. Where they don't know them they write 5 without a complaint, and the
	// profile then mediates neither mounts nor signals.
	kernelABI = 7
)

// Parse reads which profiles a compiled blob defines. It does not trust the blob, which must be a sequence of
//
//	"version" U32, "profile" STRUCT, name, ..., "flags" STRUCT { U32 flags, U32 mode, U32 audit }, ..., STRUCTEND
//
// (sd_serialize_top_profile, parser/parser_interface.c). Parse returns an error for whatever we would not load. Each
// name must be one that CheckName accepts, or "main//child" for a child. No profile may have a policy namespace, or
// attach to programs of the host. Nothing may stand before the first profile, as a header or a compressed form, or
// after the last one. The kernel ABI must be the one that mediates everything.
//
// Data of the result is data itself, not a copy.
func Parse(data []byte) (Blob, error) {
	found, err := walk(data)
	if err != nil {
		return Blob{}, err
	}
	b := Blob{Data: data, Profiles: make([]Compiled, len(found))}
	for i, f := range found {
		b.Profiles[i] = f.Compiled
	}
	return b, nil
}

// SHA256 returns the hash of Data. The store names the blob by it.
func (b Blob) SHA256() [sha256.Size]byte { return sha256.Sum256(b.Data) }

// Check returns an error unless the blob defines the profile called name, once, no profile but it and its children, and
// each of them in mode.
func (b Blob) Check(name string, mode Mode) error {
	main := 0
	for _, p := range b.Profiles {
		if p.Name == name {
			main++
		} else if !strings.HasPrefix(p.Name, name+"//") {
			return fmt.Errorf("it defines profile %s, expected only %s and children of it (it defines %s): rename or "+
				"remove what does not belong", oneline.Quote(p.Name), oneline.Quote(name), b.list())
		}
	}
	if main != 1 {
		return fmt.Errorf("it defines profile %s %d times, expected once (it defines %s)", oneline.Quote(name), main, b.list())
	}
	for _, p := range b.Profiles {
		if p.Mode != mode {
			return fmt.Errorf("profile %s is in %s mode, expected %s (it defines %s)", oneline.Quote(p.Name), p.Mode, mode,
				b.list())
		}
	}
	return nil
}

// list returns what a blob defines, for an error.
func (b Blob) list() string {
	const most = 8
	if len(b.Profiles) == 0 {
		return "no profile"
	}
	var names []string
	for i, p := range b.Profiles {
		if i == most {
			names = append(names, fmt.Sprintf("%d more", len(b.Profiles)-most))
			break
		}
		names = append(names, fmt.Sprintf("%s (%s)", oneline.Quote(p.Name), p.Mode))
	}
	return strings.Join(names, ", ")
}

// WithMode returns a copy of the blob with every profile in mode. apparmor_parser writes the same bytes for the same
// text with that mode among its flags: the mode is one word of the blob, and nothing else in a profile depends on it.
func (b Blob) WithMode(mode Mode) (Blob, error) {
	if mode > Kill {
		return Blob{}, fmt.Errorf("a profile can't be put into %s mode: use enforce, complain or kill", mode)
	}
	found, err := walk(b.Data)
	if err != nil {
		return Blob{}, err
	}
	data := slices.Clone(b.Data)
	for _, f := range found {
		binary.LittleEndian.PutUint32(data[f.modeAt:], uint32(mode))
	}
	return Parse(data)
}

// located is a profile and the offset of its mode word in the blob.
type located struct {
	Compiled
	modeAt int
}

// zstdMagic begins what parsers since 5.0 write for a kernel that takes compressed policy.
const zstdMagic = "\x28\xb5\x2f\xfd"

// modeUser is PACKED_MODE_USER (security/apparmor/include/policy_unpack.h).
const modeUser = 4

func walk(data []byte) ([]located, error) {
	if len(data) == 0 {
		return nil, errors.New("it defines no profile")
	}
	if bytes.HasPrefix(data, []byte(zstdMagic)) {
		return nil, errors.New("the compiled profile is compressed with zstd: compile it uncompressed")
	}
	r := reader{element.Reader{Data: data}}
	var found []located
	names := make(map[string]bool)
	for r.Pos < len(data) {
		if len(found) == maxProfiles {
			return nil, fmt.Errorf("more than %d profiles in one text: split it", maxProfiles)
		}
		p, err := r.profile()
		if err != nil {
			return nil, err
		}
		if names[p.Name] {
			return nil, fmt.Errorf("profile %s is defined twice", oneline.Quote(p.Name))
		}
		names[p.Name] = true
		found = append(found, p)
	}
	return found, nil
}

// reader walks a blob's profiles.
type reader struct{ element.Reader }

// profile reads one profile with its version word, and hashes it.
func (r *reader) profile() (located, error) {
	var p located
	version, err := r.Want("version", element.U32)
	if err != nil {
		return p, err
	}
	start := r.Pos
	top, err := r.Next()
	if err != nil {
		return p, err
	}
	if string(top.Name) == "namespace" {
		return p, fmt.Errorf("a profile is for the policy namespace %s: profiles of a namespace are not supported, "+
			"take it out of the profile's name", oneline.Quote(string(top.Value)))
	}
	if !top.Is("profile", element.Struct) {
		return p, r.Malformed("element %s where a profile belongs", oneline.Quote(string(top.Name)))
	}
	name, err := r.Want("", element.String)
	if err != nil {
		return p, err
	}
	p.Name = string(name.Value)
	if err := checkFullName(p.Name); err != nil {
		return p, err
	}
	word := version.Uint32()
	if abi := word & abiMask; abi != kernelABI {
		return p, fmt.Errorf("profile %s is compiled for kernel ABI %d, expected %d: compiled without the kernel's "+
			"features, it would not mediate mounts and signals", oneline.Quote(p.Name), abi, kernelABI)
	}
	if word&forceComplain != 0 {
		return p, fmt.Errorf("profile %s is compiled with complain mode forced (apparmor_parser -C, or a link in "+
			"force-complain): its denials would not be enforced", oneline.Quote(p.Name))
	}
	if err := r.head(&p); err != nil {
		return p, err
	}
	if err := r.Skip(); err != nil {
		return p, err
	}

	// aa_calc_profile_hash: the version word, then the profile from the name of its struct to the struct's end.
	s1, s256 := sha1.New(), sha256.New()
	for _, b := range [][]byte{version.Value, r.Data[start:r.Pos]} {
		s1.Write(b)
		s256.Write(b)
	}
	s1.Sum(p.SHA1[:0])
	s256.Sum(p.SHA256[:0])
	return p, nil
}

// head reads the elements between a profile's name and its mode, and the mode. It accepts only elements that are known
// to be harmless: others decide to which programs a profile attaches, or which other profile it replaces ("rename").
func (r *reader) head(p *located) error {
	for {
		e, err := r.Next()
		if err != nil {
			return err
		}
		switch {
		case e.Is("disconnected", element.String), e.Is("disconnected_ipc", element.String), e.Is("kill", element.U32),
			e.Is("error", element.U32):
			continue
		case e.Is("flags", element.Struct):
			if _, err := r.Want("", element.U32); err != nil { // hat, debug
				return err
			}
			mode, err := r.Want("", element.U32)
			if err != nil {
				return err
			}
			m := mode.Uint32()
			if m == modeUser {
				return refusedError{fmt.Errorf("profile %s has the flag prompt, by which a program is asked about "+
					"what it does not allow: use enforce, complain or kill", oneline.Quote(p.Name))}
			}
			if m > uint32(Unconfined) {
				return fmt.Errorf("profile %s is in mode %d, which is not supported: use enforce, complain or kill",
					oneline.Quote(p.Name), m)
			}
			p.Mode, p.modeAt = Mode(m), mode.At
			if _, err := r.Want("", element.U32); err != nil { // audit
				return err
			}
			_, err = r.Want("", element.StructEnd)
			return err
		case slices.Contains([]string{"attach", "aadfa", "perms", "permsv"}, string(e.Name)):
			return ofProfile{p.Name, fmt.Errorf("profile %s attaches to programs by their path, on the whole node: write "+
				"\"profile %s { ... }\" without a path (a child is reached by \"cx -> NAME\")", oneline.Quote(p.Name),
				p.Name[strings.LastIndex(p.Name, "/")+1:])}
		default:
			return fmt.Errorf("profile %s holds an element %s before its flags that is not known to be harmless",
				oneline.Quote(p.Name), oneline.Quote(string(e.Name)))
		}
	}
}
