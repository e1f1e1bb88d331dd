package combine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// A rule is a rule that says one thing: a single permission, capability or signal, and patterns. It has no variables.
type rule struct {
	kind               string // the word that such rules begin with, and "file" for those that begin with a path
	audit, deny, owner bool

	// what is the permission of a file ("r", and "x" where exec says how), the capability, the access to a peer, or a
	// socket's family. It is empty for all.
	what string
	exec string // as rules have it, such as "Px"
	set  string // a signal, or a socket's type; empty for all

	// path and target are patterns: of a file, and of what stands behind "->". For a rule about peers target is the
	// peer's, and for one about mounts path is the source's. They are empty for all.
	path, target string
	subset       bool   // of a link
	rest         string // what else is said, with a NUL behind each word
}

const (
	anyPath    = "/{**,}"
	allLetters = "rwamkl"
)

// peers are the kinds of rules about other processes, with what these may be said to allow.
var peers = map[string][]string{"signal": words(meaning.SignalPermissions), "ptrace": words(meaning.PtracePermissions)}

func words(all []meaning.Permission) (words []string) {
	for _, p := range all {
		words = append(words, p.Word)
	}
	return words
}

// rulesOf takes a rule of a block apart.
func rulesOf(t *syntax.Text, block string, r syntax.Rule) ([]rule, error) {
	rows := [][]string{{}}
	for i, w := range r.Words {
		values, err := expanded(t, w, block, labelAt(r.Words, i), 0)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", r.Text, err)
		}
		var more [][]string
		for _, row := range rows {
			for _, v := range values {
				more = append(more, append(slices.Clone(row), v))
			}
		}
		if rows = more; len(rows) > maxRows {
			return nil, fmt.Errorf("%q stands for more than %d rules, by its variables", r.Text, maxRows)
		}
	}
	var all []rule
	for _, words := range rows {
		all = append(all, apart(words)...)
	}
	for i := range all {
		all[i].audit, all[i].deny, all[i].owner = r.Audit, r.Deny, r.Owner
	}
	return all, nil
}

// maxRows is how many rules the variables of one rule may stand for.
const maxRows = 256

// labelAt reports whether a word is a label to which the rule lets change. Slashes may follow each other in it, as in no path.
func labelAt(words []string, i int) bool {
	return i > 0 && words[i-1] == "->" && words[0] == "change_profile"
}

// expanded returns a word, which may be a label, with its variables replaced by each of their values.
func expanded(t *syntax.Text, word, block string, label bool, depth int) ([]string, error) {
	at := strings.Index(word, "@{")
	if at < 0 {
		return []string{word}, nil
	}
	end := strings.IndexByte(word[at:], '}')
	if end < 0 || depth > 30 {
		return nil, fmt.Errorf("its variables cannot be followed")
	}
	name := word[at+2 : at+end]
	values := t.Variables[name]
	if name == "profile_name" {
		values = []string{block}
	}
	if len(values) == 0 {
		return nil, fmt.Errorf("nothing is known of the variable %s", name)
	}
	var all []string
	for _, v := range slices.Compact(slices.Sorted(slices.Values(values))) {
		whole := word[:at] + strings.Trim(v, `"`) + word[at+end+1:]
		if strings.HasPrefix(whole, "/") && !label {
			for strings.Contains(whole, "//") && !strings.Contains(whole, "//&") {
				whole = strings.ReplaceAll(whole, "//", "/")
			}
		}
		more, err := expanded(t, whole, block, label, depth+1)
		if err != nil {
			return nil, err
		}
		if all = append(all, more...); len(all) > maxRows {
			return nil, fmt.Errorf("its variables have more than %d values", maxRows)
		}
	}
	return all, nil
}

// apart takes the words of a rule apart. What it does not know becomes a rule of its words.
func apart(words []string) []rule {
	kind := words[0]
	switch {
	case isPath(kind) || isLetters(kind) || kind == "file":
		if rules, ok := fileRules(words); ok {
			return rules
		}
	case kind == "link":
		if rules, ok := linkRules(words[1:]); ok {
			return rules
		}
	case kind == "capability" && len(words) > 1:
		var all []rule
		for _, w := range words[1:] {
			all = append(all, rule{kind: kind, what: w})
		}
		return all
	case peers[kind] != nil:
		if rules, ok := peerRules(words); ok {
			return rules
		}
	case kind == "network":
		if r, ok := networkRule(words[1:]); ok {
			return []rule{r}
		}
	case slices.Contains([]string{"mount", "remount", "umount", "unmount", "pivot_root", "change_profile"}, kind):
		if r, ok := mountRule(words); ok {
			return []rule{r}
		}
	}
	return []rule{{kind: kind, rest: joined(words[1:])}}
}

func joined(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return strings.Join(words, "\x00") + "\x00"
}

func isPath(w string) bool { return strings.HasPrefix(w, "/") }

// isLetters reports whether a word is permissions of a file.
func isLetters(w string) bool { return w != "" && strings.Trim(w, "rwaklmxipucPUC") == "" }

// fileRules reads "[file] PATH PERMISSIONS [-> TARGET]", also with the permissions first.
func fileRules(words []string) ([]rule, bool) {
	if words[0] == "file" {
		words = words[1:]
	}
	var letters, target string
	path := anyPath
	switch {
	case len(words) == 0:
		letters = allLetters + "ix"
	case len(words) == 1 && isLetters(words[0]):
		letters = words[0]
	case len(words) == 2 || len(words) == 4 && words[2] == "->":
		if isLetters(words[0]) && isPath(words[1]) {
			words[0], words[1] = words[1], words[0]
		}
		if path, letters = words[0], words[1]; !isPath(path) || !isLetters(letters) {
			return nil, false
		}
		if len(words) == 4 {
			target = words[3]
		}
	default:
		return nil, false
	}
	var all []rule
	exec := strings.Trim(letters, allLetters)
	for _, l := range allLetters {
		switch one := string(l); {
		case !strings.Contains(letters, one):
		case one == "l" && target != "" && exec == "":
			all = append(all, rule{kind: "link", path: path, target: target})
		default:
			all = append(all, rule{kind: "file", path: path, what: one})
		}
	}
	for _, l := range allLetters { // which may stand between those of an exec
		exec = strings.ReplaceAll(exec, string(l), "")
	}
	if exec != "" {
		all = append(all, rule{kind: "file", path: path, what: "x", exec: exec, target: target})
	}
	return all, len(all) > 0
}

// linkRules reads "[subset] PATH -> PATH".
func linkRules(words []string) ([]rule, bool) {
	r := rule{kind: "link"}
	if len(words) > 0 && words[0] == "subset" {
		r.subset = true
		words = words[1:]
	}
	if len(words) != 3 || words[1] != "->" {
		return nil, false
	}
	r.path, r.target = words[0], words[2]
	return []rule{r}, true
}

// list returns the words of a list, "(a, b)" or only one.
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune("() ,\t\n", r) })
}

// peerRules reads "signal [ACCESS] [set=SIGNALS] [peer=LABEL]" and the same of ptrace.
func peerRules(words []string) ([]rule, bool) {
	r := rule{kind: words[0]}
	var access, set []string
	for _, w := range words[1:] {
		key, value, condition := strings.Cut(w, "=")
		switch {
		case condition && key == "peer" && r.target == "" && !strings.HasPrefix(value, "("):
			r.target = value
		case condition && key == "set" && r.kind == "signal":
			set = append(set, list(value)...)
		case condition:
			return nil, false
		default:
			access = append(access, list(w)...)
		}
	}
	if len(access) == 0 {
		access = peers[r.kind]
	}
	if len(set) == 0 {
		set = []string{""}
	}
	var all []rule
	for _, a := range access {
		switch a {
		case "r", "w", "rw": // as for files
			return nil, false
		}
		for _, s := range set {
			r.what, r.set = a, s
			all = append(all, r)
		}
	}
	return all, true
}

// socketTypes are what stands for a socket's type, or for a protocol that has one type.
var socketTypes = append(kernelname.SocketTypes.Words(), "tcp", "udp", "icmp")

// networkRule reads "network [FAMILY] [TYPE]".
func networkRule(words []string) (rule, bool) {
	r := rule{kind: "network"}
	for i, w := range words {
		switch {
		case strings.ContainsAny(w, "=()#"):
			return r, false
		case slices.Contains(socketTypes, w) && (w != "packet" || i == 1):
			r.set = w
		case i == 0:
			r.what = w
		default:
			return r, false
		}
	}
	return r, len(words) < 3
}

// mountRule reads what rules about mounts and changes of the profile have: conditions, a path, and a target.
func mountRule(words []string) (rule, bool) {
	r := rule{kind: words[0]}
	conditions := make(map[string]string)
	for i := 1; i < len(words); i++ {
		w := words[i]
		key, value, condition := strings.Cut(w, "=")
		switch {
		case w == "->" && i+1 < len(words) && r.target == "":
			i++
			r.target = words[i]
		case (w == "options" || w == "fstype" || w == "vfstype") && i+2 < len(words) && words[i+1] == "in":
			conditions[w+" in "] = words[i+2]
			i += 2
		case condition && !strings.Contains(key, "/"):
			if _, twice := conditions[key+"="]; twice {
				return r, false
			}
			conditions[key+"="] = value
		case isPath(w) && r.path == "":
			r.path = w
		case r.kind == "change_profile" && (w == "safe" || w == "unsafe"):
			conditions[w] = ""
		default:
			return r, false
		}
	}
	var rest []string
	for _, key := range slices.Sorted(maps.Keys(conditions)) {
		rest = append(rest, key+conditions[key])
	}
	r.rest = joined(rest)
	return r, true
}
