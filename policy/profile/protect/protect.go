// Package protect knows what keeps a container in its bounds, and which rules give that up; and what of it, and beside it, the
// texts that this program makes never allow. One table has both.
//
// A rule is judged by what it compiles to, alone in a profile, so that one with a pattern is, too. What is done about it, and
// whether what a rule gives up is meant, is up to who asks.
package protect

import (
	"fmt"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A Protection is something that keeps a container in its bounds, and that a rule gives up which allows one of some accesses.
type Protection struct {
	written
	patterns []access.Pattern
	kinds    []string // of the rules that the patterns are about
}

// All returns all protections.
var All = sync.OnceValue(func() (all []*Protection) {
	for _, w := range table() {
		if w.says == "" {
			continue
		}
		p := &Protection{written: w}
		for _, line := range w.lines {
			pattern, err := access.Parse(line)
			if err != nil {
				panic(err) // TestProtections asks for each line
			}
			p.patterns, p.kinds = append(p.patterns, pattern), append(p.kinds, kindOf(line))
		}
		all = append(all, p)
	}
	return all
})

// String says in a clause what a container can do without the protection.
func (p *Protection) String() string { return p.says }

// GivenBy reports whether a rule gives the protection up. with is a profile of the rule alone, and none is one without rules,
// as Alone writes them. own is the name of the profile that has the rule.
func (p *Protection) GivenBy(rule string, with, none *meaning.Profile, own string) (bool, error) {
	return p.given(func(kind string) bool { return kind == kindOf(rule) }, with, none, own)
}

// GivenByAny reports whether a rule of a profile may give the protection up. If it does not, no rule does.
func (p *Protection) GivenByAny(whole, none *meaning.Profile) (bool, error) {
	return p.given(func(string) bool { return true }, whole, none, "")
}

func (p *Protection) given(about func(kind string) bool, with, none *meaning.Profile, own string) (bool, error) {
	for i, pattern := range p.patterns {
		if !about(p.kinds[i]) {
			continue
		}
		example, allowed, err := pattern.Allowed(meaning.Stack{with})
		if err != nil {
			return false, err
		}
		if !allowed || p.others && peerOf(example) == own {
			continue
		}
		if _, anyway, err := pattern.Allowed(meaning.Stack{none}); err != nil || !anyway {
			return err == nil, err
		}
	}
	return false, nil
}

// Alone returns a text with one profile for each of some rules, which has no other rule, and the names of these profiles. The
// last one is of a profile without rules. head is what stands ahead of profiles, such as an ABI and variables.
func Alone(head string, rules []string) (text string, names []string) {
	// Without a rule about files, some kernels let every file be locked.
	const neutral = "deny /oci-apparmor/no/file r,"
	var b strings.Builder
	b.WriteString(head + "\n")
	for i := range len(rules) + 1 {
		rule := ""
		if i < len(rules) {
			rule = rules[i]
		}
		names = append(names, fmt.Sprintf("oci-apparmor-asks-%d", i))
		fmt.Fprintf(&b, "profile %s {\n%s\n%s\n}\n", names[i], neutral, rule)
	}
	return b.String(), names
}

// kindOf returns the kind of a line of accesses, or of a rule: those that kernels look up in the same rules have the same.
func kindOf(line string) string {
	word, _, _ := strings.Cut(strings.TrimRight(line, ","), " ")
	switch word {
	case "mount", "remount", "bind", "umount", "pivot_root":
		return "mount"
	case "network", "unix":
		return "network"
	case "capability", "ptrace", "signal", "change_profile", "userns", "io_uring", "mqueue", "dbus":
		return word
	}
	return "file"
}

// peerOf returns the label of the other process of an access.
func peerOf(a meaning.Access) string {
	switch a := a.(type) {
	case meaning.PtraceAccess:
		return a.Peer
	case meaning.SignalAccess:
		return a.Peer
	}
	return ""
}

// WrittenAndRun says in a clause which path a rule lets be written or executed, where the whole profile allows the other. It
// returns an empty string if there is none. with and none are as for GivenBy.
func WrittenAndRun(with, none, whole *meaning.Profile) string {
	const written, run = meaning.MayWrite | meaning.MayAppend, meaning.MayExec | meaning.MayMmapExec
	at, both, err := meaning.WherePaths("/{,**}", true, func(perms []uint32) bool {
		of, all := perms[0]&^perms[1], perms[2]
		return of&written != 0 && all&run != 0 || of&run != 0 && all&written != 0
	}, meaning.View{Profile: with}, meaning.View{Profile: none}, meaning.View{Profile: whole})
	if err != nil || !both {
		return ""
	}
	return fmt.Sprintf("what is at %s can be both written and executed then, so that whoever writes it chooses what runs", oneline.Quote(at))
}
