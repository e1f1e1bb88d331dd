package lint

import (
	"slices"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// A Lost is a rule that the compiled profile does not enforce as it is written.
type Lost struct {
	File    string // path of the included file with the rule; empty for the text itself
	Line    int    // counts from 1, in File or in the text; 0 if the rule is in an included file that was not found
	Profile string
	Rule    string // the rule as written, with single blanks
	Class   string // the word with which such rules begin, a key of profile.RuleKinds

	Deny, Audit bool
	Wider       bool // the rule is enforced without some of its conditions, so that it covers more than it says

	// Branch is the offset at which the branch of a condition begins that has the rule; 0 if no condition has it. The
	// offset is in included if NotEnforced had it, else in the text. The rules of a branch whose condition is false are
	// not in the profile.
	Branch int
}

// mediated are the classes in which the kernel looks up the rules that begin with a word, of which one is enough.
var mediated = map[string][]meaning.Class{
	"userns":     {meaning.Namespaces},
	"io_uring":   {meaning.IOUring},
	"mqueue":     {meaning.PosixMQueue},
	"dbus":       {meaning.DBus},
	"signal":     {meaning.Signals},
	"ptrace":     {meaning.PTrace},
	"mount":      {meaning.Mount},
	"remount":    {meaning.Mount},
	"umount":     {meaning.Mount},
	"unmount":    {meaning.Mount},
	"pivot_root": {meaning.Mount},
	"network":    {meaning.Net, meaning.NetV9},
	"unix":       {meaning.Net, meaning.NetV9},
}

// AuditChange is what NotEnforced asks its argument supports for, besides features: whether audit change_profile logs.
// No kernel logs it, and the parser warns of that (convert_entry in parser/parser_regex.c).
const AuditChange = "audit of change_profile"

// Mediates reports whether a compiled profile decides on what rules are about that begin with word, a key of
// profile.RuleKinds.
func Mediates(p *meaning.Profile, word string) bool {
	return slices.ContainsFunc(mediated[word], p.Mediates)
}

// NotEnforced returns the rules of a text that its compiled profiles do not enforce, or enforce for more than the rule
// says. They are sorted by file and line. included is as in Text, files are the files that the text includes, and compiled
// is what meaning.ReadFor returns. Some things do not show in a compiled profile: whether conditions on addresses were
// compiled, and AuditChange. NotEnforced calls supports for these, with a feature or AuditChange.
func NotEnforced(text string, included []byte, files []profile.Text, compiled []*meaning.Profile,
	supports func(feature string) bool) []Lost {
	own := syntax.Read(text)
	all := own
	if included != nil {
		all = own.WithIncludes(string(included))
	}
	find := finder(files)
	var lost []Lost
	for _, b := range all.Blocks {
		p := profileOf(compiled, b.Name)
		if p == nil || p.Mode == meaning.Unconfined {
			continue
		}
		for _, r := range b.Rules {
			l, ok := notEnforced(p, r, supports)
			if !ok {
				continue
			}
			l.Profile = b.Name
			if l.Line = r.Line; !r.Own {
				l.File, l.Line = find(r.Text)
			}
			lost = append(lost, l)
		}
	}
	slices.SortStableFunc(lost, func(a, b Lost) int {
		if by := strings.Compare(a.File, b.File); by != 0 {
			return by
		}
		return a.Line - b.Line
	})
	return lost
}

// profileOf returns the compiled profile of a block. The parser may make the block's name from variables, so that no
// compiled profile has the written name. profileOf then returns another profile of the text: all of them have the same
// ABI, which is what matters here.
func profileOf(compiled []*meaning.Profile, name string) *meaning.Profile {
	for _, p := range compiled {
		if p.Name == name {
			return p
		}
	}
	if len(compiled) == 0 {
		return nil
	}
	return compiled[0]
}

// finder returns a function that finds a statement in files. It returns the path of the first file with the statement,
// and its line there, or "" and 0 if no file has it. It reads the files at its first call, and only once, since there
// may be hundreds of statements to find.
func finder(files []profile.Text) func(statement string) (path string, line int) {
	type place struct {
		path string
		line int
	}
	places := sync.OnceValue(func() map[string]place {
		all := make(map[string]place)
		for _, f := range files {
			for _, r := range syntax.Read("profile x {\n" + f.Text + "\n}\n").Rules() {
				if _, known := all[r.Text]; !known {
					all[r.Text] = place{f.Path, r.Line - 1}
				}
			}
		}
		return all
	})
	return func(statement string) (string, int) {
		at := places()[statement]
		return at.path, at.line
	}
}

func notEnforced(p *meaning.Profile, r syntax.Rule, supports func(feature string) bool) (Lost, bool) {
	class := r.First()
	l := Lost{Rule: oneline.Cut(r.Text, maxRule), Class: class, Deny: r.Deny, Audit: r.Audit, Branch: r.Branch}
	if class == "change_profile" {
		return l, r.Audit && !r.Deny && !supports(AuditChange)
	}
	if mediated[class] == nil {
		return Lost{}, false
	}
	if !Mediates(p, class) {
		return l, true
	}
	switch class {
	case "unix":
		ok := lostUnix(p, r, supports, &l)
		return l, ok
	case "network":
		// Without the feature the parser leaves addresses out, and the rule is for all sockets of its families and types.
		l.Wider = true
		return l, addressed(r.Words) && !supports(profile.InetFeature)
	}
	return l, false
}

// maxRule is how many bytes of a rule a message shows.
const maxRule = 160

// lostUnix reports whether a rule about unix sockets is not enforced, or is enforced as one for all of them. Where
// addresses are not mediated the parser leaves deny rules out and takes conditions off others
// (unix_rule::downgrade_rule, parser/af_unix.cc). What is left is a network syntax.Rule, and whether a denied socket is
// allowed by another.
func lostUnix(p *meaning.Profile, r syntax.Rule, supports func(feature string) bool, l *Lost) bool {
	if supports(profile.UnixFeature) {
		return false
	}
	if !r.Deny {
		l.Wider = true
		return addressed(r.Words)
	}
	for _, t := range unixTypes(r.Words) {
		const family = 1 // AF_UNIX
		if perms, _ := p.Query(meaning.Net, string([]byte{0, family, 0, t})); perms.Allow&meaning.MayCreate != 0 {
			return true
		}
	}
	return false
}

// unixTypes returns the types of sockets that a rule is about: SOCK_STREAM, SOCK_DGRAM and SOCK_SEQPACKET where it says
// none.
func unixTypes(words []string) []byte {
	types := map[string]byte{"stream": 1, "dgram": 2, "seqpacket": 5}
	for _, w := range words {
		if name, ok := strings.CutPrefix(w, "type="); ok {
			if t, known := types[strings.Trim(name, `()"`)]; known {
				return []byte{t}
			}
		}
	}
	return []byte{1, 2, 5}
}

// addressed reports whether a rule about sockets has a condition on an address, a port or a peer.
func addressed(words []string) bool {
	return slices.ContainsFunc(words, func(w string) bool {
		key, _, isCondition := strings.Cut(strings.TrimLeft(w, "("), "=")
		return isCondition && slices.Contains([]string{"addr", "label", "peer", "path", "ip", "port"}, key)
	})
}
