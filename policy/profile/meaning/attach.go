package meaning

import (
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/internal/element"
)

// An Attachment says to which programs a profile attaches. If an unconfined process executes a program whose path
// matches, the kernel puts the program under the profile (find_attach, security/apparmor/domain.c).
type Attachment struct {
	Profile string // name of the profile

	match *dfa
	start state
}

// Attachments returns the profiles of a blob that attach to programs. It reads nothing else of the profiles, so it
// accepts more blobs than Read does. It leaves out children, and profiles of a policy namespace.
func Attachments(data []byte) ([]Attachment, error) {
	r := reader{Reader: element.Reader{Data: data}}
	var found []Attachment
	other := false // the profile that comes is of a policy namespace
	for r.Pos < len(data) {
		e, err := r.Next()
		switch {
		case err != nil:
			return nil, err
		case e.Is("version", element.U32):
			other = false
		case e.Is("namespace", element.String):
			other = true
		case e.Is("profile", element.Struct):
			a, attaches, err := r.attached()
			if err != nil {
				return nil, err
			}
			if attaches && !other && !strings.Contains(a.Profile, "//") {
				found = append(found, a)
			}
		default:
			return nil, r.Malformed("element %+.64q where a profile belongs", e.Name)
		}
	}
	return found, nil
}

// attached reads one profile to its end. What decides about programs stands before its flags.
func (r *reader) attached() (a Attachment, attaches bool, err error) {
	name, err := r.Want("", element.String)
	if err != nil {
		return a, false, err
	}
	a.Profile, a.start = string(name.Value), dfaStart
	head := true
	for depth := 1; depth > 0; {
		e, err := r.Next()
		if err != nil {
			return a, false, err
		}
		switch {
		case e.Code == element.Struct:
			head = head && string(e.Name) != "flags" // "perms", of newer parsers, is one before it
			depth++
		case e.Code == element.StructEnd:
			depth--
		case head && e.Is("aadfa", element.Blob):
			if a.match, err = readDFA(e.Value); err != nil {
				return a, false, err
			}
		case head && a.match != nil && e.Is("start", element.U32):
			if a.start = state(e.Uint32()); int64(a.start) >= int64(len(a.match.base)) {
				return a, false, r.Malformed("a match begins in state %d, and there is none", a.start)
			}
		}
	}
	// A name that is one path is compared as it is.
	return a, a.match != nil || strings.HasPrefix(a.Profile, "/"), nil
}

// Matches reports whether the profile's pattern matches a program's path, in which links are resolved. If the patterns
// of several profiles match, the kernel takes the profile whose pattern fits best.
func (a *Attachment) Matches(path string) bool {
	if a.match == nil {
		return path == a.Profile
	}
	// Accepted is a word of permissions, or a place in a table of them, of which the first has none.
	return a.match.accept[a.match.walk(a.start, path)] != 0
}

// Attaching returns the children that attach to programs, by an attachment or by a name that is a path. A rule cx without a
// name goes on under one of these. Hats, and children of another name, are only reached by their names.
func (p *Profile) Attaching() (children []*Profile) {
	for _, child := range p.Children {
		if child.Attaches || strings.HasPrefix(strings.TrimPrefix(child.Name, p.Name+"//"), "/") {
			children = append(children, child)
		}
	}
	return children
}
