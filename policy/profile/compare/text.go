package compare

import (
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
)

// Title returns what is said of all accesses of a change, as the beginning of a list of them.
func (c Change) Title() string {
	return map[Change]string{
		Allowed:   "becomes allowed",
		Denied:    "becomes denied",
		Killed:    "is killed for, and was not",
		Spared:    "is not killed for any more",
		Elsewhere: "goes on elsewhere when executed",
		Logged:    "becomes logged",
		Quiet:     "is not logged any more",
		Hidden:    "is denied by another error, \"no such file\"",
		Shown:     "is denied by another error, not by \"no such file\"",
		Learned:   "passes in complain mode alone, and a rule allowed it",
		Granted:   "is allowed by a rule, and passed in complain mode alone",
		Otherwise: "is different",
	}[c]
}

// String returns what a line is about, in one printable line: accesses, and for some changes what they were and are.
func (l Line) String() string {
	text := l.What
	if l.Some {
		text = "some of " + text
	}
	if len(l.Except) > 0 {
		text += ", but not " + strings.Join(l.Except, ", ")
	}
	switch {
	case l.To == "": // too many execs differ to say it of each
	case l.Change == Elsewhere, l.Change == Otherwise:
		text += ": " + l.From + " before, now " + l.To
	case l.From == "":
		text += ": " + l.To
	}
	return oneline.Whole(text)
}

// Example returns the line's witness as package access writes it, and an empty string if there is none.
func (l Line) Example() string {
	switch {
	case l.Witness != nil:
		return access.Format(l.Witness)
	case l.Path != "":
		return "attach to " + oneline.Name(l.Path)
	}
	return ""
}

// Plain reports whether a line needs no example, since it names all that it is about.
func (l Line) Plain() bool {
	return l.of == nil || l.Example() == l.What || !l.Some && len(l.Except) == 0 && !strings.ContainsAny(l.What, "*?[{") && l.Topic == "file"
}

// String returns the example in one printable line.
func (b Beyond) String() string {
	text := access.Format(b.Access)
	if b.Profile != "" {
		text += ", under profile " + oneline.Name(b.Profile)
	}
	if b.Unnamed {
		text += ", for a file that has this path by the flags of the profile alone, such as attach_disconnected or mediate_deleted"
	}
	if b.Exec != [2]string{} {
		text += ": it goes on " + oneline.Whole(b.Exec[0]) + ", and not " + oneline.Whole(b.Exec[1])
	}
	return text
}
