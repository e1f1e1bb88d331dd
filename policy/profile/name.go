package profile

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// MaxName is the greatest length of a profile's name in bytes. The kernel makes a directory of the name, a dot and a
// counter. From 253 bytes on the kernel fails after it has made another directory, which it leaves in place. Every
// later load of a new profile on the machine then fails with EEXIST. 200 leaves room for the counter and for whoever
// appends to a name.
const MaxName = 200

// CheckName returns an error unless name may be the name of one of our profiles: a letter or digit, then letters,
// digits and the characters . _ + and -, at most MaxName bytes, and no prefix of "unconfined".
//
// These rules are stricter than the kernel's. In a label, ":", "::x", "&x" and each prefix of "unconfined" that is not
// a loaded profile ("u" is enough) mean something other than a profile of that name. Such a prefix means no confinement
// at all (aa_label_strn_parse and aa_lookupn_profile, security/apparmor).
func CheckName(name string) error {
	if name == "" {
		return fmt.Errorf("a profile's name is empty: give it one of letters, digits and . _ + -")
	}
	if len(name) > MaxName {
		return fmt.Errorf("profile name %s is too long: %d bytes are allowed, because much longer ones break policy loading "+
			"for the whole machine", oneline.Quote(name), MaxName)
	}
	if strings.HasPrefix("unconfined", name) {
		return fmt.Errorf("profile name %q is a beginning of \"unconfined\", which the kernel takes for no confinement: "+
			"choose another name", name)
	}
	if name[0] == '/' {
		return fmt.Errorf("profile name %s begins with a slash: such a profile attaches to the programs of that path on "+
			"the whole node; write \"profile NAME { ... }\" with a name that is no path", oneline.Quote(name))
	}
	for i := range len(name) {
		c := name[i]
		alnum := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		switch {
		case alnum:
		case i == 0:
			return fmt.Errorf("profile name %s begins with %s: it must begin with an ASCII letter or digit",
				oneline.Quote(name), character(name))
		case !strings.Contains("._+-", name[i:i+1]):
			return fmt.Errorf("profile name %s holds %s: letters, digits and . _ + - are allowed",
				oneline.Quote(name), character(name[i:]))
		}
	}
	return nil
}

// character returns the first character of s, or a byte that is no character, in a form to print.
func character(s string) string {
	_, n := utf8.DecodeRuneInString(s)
	return strconv.Quote(s[:n])
}

// checkFullName is CheckName for a main profile's name and for that of a child, "main//child", part by part.
func checkFullName(name string) error {
	for part := range strings.SplitSeq(name, "//") {
		if part != name && strings.HasPrefix(part, "/") {
			return fmt.Errorf("child %s has a path for a name: give it another, and reach it by \"PATH cx -> NAME\"",
				oneline.Quote(name))
		}
		if err := CheckName(part); err != nil {
			if part != name {
				return fmt.Errorf("in %s: %w", oneline.Quote(name), err)
			}
			return err
		}
	}
	return nil
}
