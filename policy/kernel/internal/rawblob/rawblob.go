// Package rawblob finds the profiles in the bytes of any load that the kernel took. It also takes loads that package
// profile refuses: profiles with path attachments, odd names, or other formats of rules.
package rawblob

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Profile is one profile of a load.
type Profile struct {
	Name      string
	Namespace bool // the load names a namespace for it

	// Version is the raw word of the profile's header. Body is what the kernel hashes after that word: from the name of the
	// struct to its end (aa_unpack, security/apparmor/policy_unpack.c).
	Version uint32
	Body    []byte
}

// Codes of the elements (enum aa_code, security/apparmor/include/policy_unpack.h).
const (
	u8 = iota
	u16
	u32
	u64
	name
	text
	blob
	structure
	structureEnd
	list
	listEnd
	array
	arrayEnd
)

var errShort = errors.New("compiled profile: ends within an element")

// Walk returns the profiles of a load. It reads only their names, in time linear in the length of data.
func Walk(data []byte) ([]Profile, error) {
	var profiles []Profile
	var version uint32
	namespace := false
	for at := 0; at < len(data); {
		start := at
		code, value, at2, err := element(data, at)
		if err != nil {
			return nil, err
		}
		if code != name {
			return nil, fmt.Errorf("compiled profile: element %d without a name at byte %d", code, at)
		}
		what := string(value)
		if code, value, at, err = element(data, at2); err != nil {
			return nil, err
		}
		switch {
		case what == "version" && code == u32:
			version, namespace = binary.LittleEndian.Uint32(value), false
		case what == "namespace" && code == text:
			namespace = true
		case what == "profile" && code == structure:
			p := Profile{Namespace: namespace, Version: version}
			if code, value, at, err = element(data, at); err != nil {
				return nil, err
			}
			if code != text {
				return nil, fmt.Errorf("compiled profile: struct without the profile's name at byte %d", start)
			}
			p.Name = string(value)
			for depth := 1; depth > 0; {
				if code, _, at, err = element(data, at); err != nil {
					return nil, err
				}
				switch code {
				case structure:
					depth++
				case structureEnd:
					depth--
				}
			}
			p.Body = data[start:at]
			profiles = append(profiles, p)
		default:
			return nil, fmt.Errorf("compiled profile: %q with element %d at byte %d", what, code, start)
		}
	}
	if len(profiles) == 0 {
		return nil, errors.New("compiled profile: no profile in it")
	}
	return profiles, nil
}

// element reads one element. It returns its code, its value without lengths and without the NUL of strings, and the offset
// of the next element.
func element(data []byte, at int) (code byte, value []byte, next int, err error) {
	if at >= len(data) {
		return 0, nil, 0, errShort
	}
	code = data[at]
	rest := data[at+1:]
	size, prefix := 0, 0
	switch code {
	case u8:
		size = 1
	case u16, array:
		size = 2
	case u32:
		size = 4
	case u64:
		size = 8
	case name, text:
		if prefix = 2; len(rest) < prefix {
			return 0, nil, 0, errShort
		}
		size = int(binary.LittleEndian.Uint16(rest))
	case blob:
		if prefix = 4; len(rest) < prefix {
			return 0, nil, 0, errShort
		}
		size = int(min(binary.LittleEndian.Uint32(rest), 1<<31-1))
	case structure, structureEnd, list, listEnd, arrayEnd:
	default:
		return 0, nil, 0, fmt.Errorf("compiled profile: unknown element %d at byte %d", code, at)
	}
	if len(rest)-prefix < size {
		return 0, nil, 0, errShort
	}
	value = rest[prefix : prefix+size]
	if code == name || code == text {
		if size == 0 || value[size-1] != 0 {
			return 0, nil, 0, fmt.Errorf("compiled profile: string without its end at byte %d", at)
		}
		value = value[:size-1]
	}
	return code, value, at + 1 + prefix + size, nil
}
