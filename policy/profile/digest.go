package profile

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// A Digest is all that decides, of a profile's text, about the key of what it compiles to (Inputs.Key).
type Digest struct {
	SHA256   [sha256.Size]byte
	Includes []string // the names that syntax.MayInclude returns
}

// DigestOf returns the digest of a text. The error is that of syntax.MayInclude: the text has no key.
func DigestOf(text []byte) (Digest, error) {
	names, err := syntax.MayInclude(text)
	if err != nil {
		return Digest{}, err
	}
	return Digest{sha256.Sum256(text), names}, nil
}

// String returns the digest as ParseDigest reads it: the hash in hexadecimal, and the names, with NUL bytes between them.
// MayInclude returns no name with a NUL.
func (d Digest) String() string {
	return strings.Join(append([]string{hex.EncodeToString(d.SHA256[:])}, d.Includes...), "\x00")
}

// ParseDigest returns the digest that String has written.
func ParseDigest(s string) (d Digest, err error) {
	sum, names, several := strings.Cut(s, "\x00")
	raw, err := hex.DecodeString(sum)
	if err != nil || len(raw) != sha256.Size {
		return Digest{}, errors.New("it does not begin with a sha256")
	}
	d.SHA256 = [sha256.Size]byte(raw)
	if several {
		d.Includes = strings.Split(names, "\x00")
	}
	return d, nil
}
