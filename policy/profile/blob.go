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

// Codes of a blob's elements (enum aa_code, security/apparmor/include/policy_unpack.h). All numbers are little endian.
const (
	codeU8        = iota
	codeU16       // 2 bytes
	codeU32       // 4 bytes
	codeU64       // 8 bytes
	codeName      // u16 length, bytes with a closing NUL; names the element behind it
	codeString    // u16 length, bytes with a closing NUL
	codeBlob      // u32 length, bytes
	codeStruct    //
	codeStructEnd //
	codeList      //
	codeListEnd   //
	codeArray     // u16 count of the elements that follow
	codeArrayEnd  //
)

// Parse reads what a compiled blob defines, without trusting it: a sequence of
//
//	"version" U32, "profile" STRUCT, name, ..., "flags" STRUCT { U32 flags, U32 mode, U32 audit }, ..., STRUCTEND
//
// (sd_serialize_top_profile, parser/parser_interface.c). It accepts only what we would load: names that CheckName
// accepts ("main//child" for a child), no policy namespace, no attachment to programs of the host, no header or
// compression in front, nothing behind, and the kernel ABI that mediates everything.
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

// SHA256 gives the hash of Data, by which the store names the blob.
func (b Blob) SHA256() [sha256.Size]byte { return sha256.Sum256(b.Data) }

// Check reports whether the blob is exactly the profile called name with its children, all of them in mode.
func (b Blob) Check(name string, mode Mode) error {
	main := 0
	for _, p := range b.Profiles {
		if p.Name == name {
			main++
		} else if !strings.HasPrefix(p.Name, name+"//") {
			return fmt.Errorf("it defines profile %s, expected only %s and children of it (it defines %s): rename or "+
				"remove what does not belong", quote(p.Name), quote(name), b.list())
		}
	}
	if main != 1 {
		return fmt.Errorf("it defines profile %s %d times, expected once (it defines %s)", quote(name), main, b.list())
	}
	for _, p := range b.Profiles {
		if p.Mode != mode {
			return fmt.Errorf("profile %s is in %s mode, expected %s (it defines %s)", quote(p.Name), p.Mode, mode,
				b.list())
		}
	}
	return nil
}

// list says for an error what a blob defines.
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
		names = append(names, fmt.Sprintf("%s (%s)", quote(p.Name), p.Mode))
	}
	return strings.Join(names, ", ")
}

// WithMode gives a copy of the blob with every profile in mode. It is what apparmor_parser makes of the same text with
// that mode among its flags: the mode is one word, and nothing else of a profile depends on it.
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

// located is a profile, and where in the blob its mode word is.
type located struct {
	Compiled
	modeAt int
}

// zstdMagic begins what parsers since 5.0 write for a kernel that takes compressed policy.
const zstdMagic = "\x28\xb5\x2f\xfd"

func walk(data []byte) ([]located, error) {
	if len(data) == 0 {
		return nil, errors.New("it defines no profile")
	}
	if bytes.HasPrefix(data, []byte(zstdMagic)) {
		return nil, errors.New("the compiled profile is compressed with zstd: compile it uncompressed")
	}
	r := reader{data: data}
	var found []located
	names := make(map[string]bool)
	for r.pos < len(data) {
		if len(found) == maxProfiles {
			return nil, fmt.Errorf("more than %d profiles in one text: split it", maxProfiles)
		}
		p, err := r.profile()
		if err != nil {
			return nil, err
		}
		if names[p.Name] {
			return nil, fmt.Errorf("profile %s is defined twice", quote(p.Name))
		}
		names[p.Name] = true
		found = append(found, p)
	}
	return found, nil
}

// reader walks a blob's elements.
type reader struct {
	data []byte
	pos  int
}

// element is one value of a blob: its name, where it has one, its code, and its bytes without lengths and closing NUL.
type element struct {
	name  []byte
	code  byte
	value []byte
	at    int // offset of value
}

// is reports whether the element has this name ("" for none) and code.
func (e element) is(name string, code byte) bool { return string(e.name) == name && e.code == code }

// malformed is the error for bytes that no parser writes.
func (r *reader) malformed(format string, args ...any) error {
	return fmt.Errorf("not a compiled AppArmor profile in the form that the kernel loads: byte %d of %d: %s",
		r.pos, len(r.data), fmt.Sprintf(format, args...))
}

// take gives the next n bytes and steps behind them.
func (r *reader) take(n int) ([]byte, error) {
	if n > len(r.data)-r.pos {
		return nil, r.malformed("%d bytes are missing at its end", n-(len(r.data)-r.pos))
	}
	b := r.data[r.pos : r.pos+n]
	r.pos += n
	return b, nil
}

// text gives a name's or string's bytes without the closing NUL.
func (r *reader) text() ([]byte, error) {
	n, err := r.take(2)
	if err != nil {
		return nil, err
	}
	b, err := r.take(int(binary.LittleEndian.Uint16(n)))
	if err != nil {
		return nil, err
	}
	if len(b) == 0 || b[len(b)-1] != 0 {
		return nil, r.malformed("a string without an end")
	}
	return b[:len(b)-1], nil
}

// next gives the next element. It may have no name, but no empty one.
func (r *reader) next() (element, error) {
	var e element
	code, err := r.take(1)
	if err != nil {
		return e, err
	}
	if code[0] == codeName {
		if e.name, err = r.text(); err != nil {
			return e, err
		}
		if len(e.name) == 0 {
			return e, r.malformed("an empty name")
		}
		if code, err = r.take(1); err != nil {
			return e, err
		}
	}
	e.code, e.at = code[0], r.pos
	switch e.code {
	case codeU8:
		e.value, err = r.take(1)
	case codeU16, codeArray:
		e.value, err = r.take(2)
	case codeU32:
		e.value, err = r.take(4)
	case codeU64:
		e.value, err = r.take(8)
	case codeString:
		e.value, err = r.text()
	case codeBlob:
		var n []byte
		if n, err = r.take(4); err != nil {
			return e, err
		}
		size := binary.LittleEndian.Uint32(n)
		if int64(size) > int64(len(r.data)) {
			return e, r.malformed("a table of %d bytes", size)
		}
		e.value, err = r.take(int(size))
	case codeStruct, codeStructEnd, codeList, codeListEnd, codeArrayEnd:
	default:
		return e, r.malformed("%#x is no element's code", e.code)
	}
	return e, err
}

// want gives the next element and refuses any but one of this name and code.
func (r *reader) want(name string, code byte) (element, error) {
	at := r.pos
	e, err := r.next()
	if err != nil {
		return e, err
	}
	if !e.is(name, code) {
		r.pos = at
		return e, r.malformed("element %s of code %d where %s of code %d belongs", quote(string(e.name)), e.code,
			quote(name), code)
	}
	return e, nil
}

// profile reads one profile with its version word, and hashes it.
func (r *reader) profile() (located, error) {
	var p located
	version, err := r.want("version", codeU32)
	if err != nil {
		return p, err
	}
	start := r.pos
	top, err := r.next()
	if err != nil {
		return p, err
	}
	if string(top.name) == "namespace" {
		return p, fmt.Errorf("a profile is for the policy namespace %s: profiles of a namespace are not supported, "+
			"take it out of the profile's name", quote(string(top.value)))
	}
	if !top.is("profile", codeStruct) {
		return p, r.malformed("element %s where a profile belongs", quote(string(top.name)))
	}
	name, err := r.want("", codeString)
	if err != nil {
		return p, err
	}
	p.Name = string(name.value)
	if err := checkFullName(p.Name); err != nil {
		return p, err
	}
	word := binary.LittleEndian.Uint32(version.value)
	if abi := word & abiMask; abi != kernelABI {
		return p, fmt.Errorf("profile %s is compiled for kernel ABI %d, expected %d: compiled without the kernel's "+
			"features, it would not mediate mounts and signals", quote(p.Name), abi, kernelABI)
	}
	if word&forceComplain != 0 {
		return p, fmt.Errorf("profile %s is compiled with complain mode forced (apparmor_parser -C, or a link in "+
			"force-complain): its denials would not be enforced", quote(p.Name))
	}
	if err := r.head(&p); err != nil {
		return p, err
	}
	for depth := 1; depth > 0; {
		e, err := r.next()
		if err != nil {
			return p, err
		}
		switch e.code {
		case codeStruct:
			depth++
		case codeStructEnd:
			depth--
		}
	}

	// aa_calc_profile_hash: the version word, then the profile from the name of its struct to the struct's end.
	s1, s256 := sha1.New(), sha256.New()
	for _, b := range [][]byte{version.value, r.data[start:r.pos]} {
		s1.Write(b)
		s256.Write(b)
	}
	s1.Sum(p.SHA1[:0])
	s256.Sum(p.SHA256[:0])
	return p, nil
}

// head reads what stands between a profile's name and its mode, and the mode. Only elements known to be harmless are
// let through: what may come here decides which programs a profile takes hold of (an attachment), or which other
// profile it takes the place of ("rename").
func (r *reader) head(p *located) error {
	for {
		e, err := r.next()
		if err != nil {
			return err
		}
		switch {
		case e.is("disconnected", codeString), e.is("disconnected_ipc", codeString), e.is("kill", codeU32),
			e.is("error", codeU32):
			continue
		case e.is("flags", codeStruct):
			if _, err := r.want("", codeU32); err != nil { // hat, debug
				return err
			}
			mode, err := r.want("", codeU32)
			if err != nil {
				return err
			}
			m := binary.LittleEndian.Uint32(mode.value)
			if m > uint32(Unconfined) {
				return fmt.Errorf("profile %s is in mode %d, which is not supported: use enforce, complain or kill",
					quote(p.Name), m)
			}
			p.Mode, p.modeAt = Mode(m), mode.at
			if _, err := r.want("", codeU32); err != nil { // audit
				return err
			}
			_, err = r.want("", codeStructEnd)
			return err
		case slices.Contains([]string{"attach", "aadfa", "perms", "permsv"}, string(e.name)):
			return fmt.Errorf("profile %s attaches to programs by their path, on the whole node: write "+
				"\"profile %s { ... }\" without a path (a child is reached by \"cx -> NAME\")", quote(p.Name),
				p.Name[strings.LastIndex(p.Name, "/")+1:])
		default:
			return fmt.Errorf("profile %s holds an element %s before its flags that is not known to be harmless",
				quote(p.Name), quote(string(e.name)))
		}
	}
}
