package learn

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
)

// Programs name files by numbers: the tables of a database, the parts of a log, what belongs to a process. The numbers are
// others next time, so that rules leave them open where what was seen shows that they change:
//
//   - the name of a file that came and went;
//   - a name that a program gave to a file and that has a date in it, or zeros ahead as what counts up has;
//   - directories whose names differ in numbers alone and that have files of the same name;
//   - fewestNumbers files of a directory whose names differ in numbers alone.
//
// A number is left open by "[0-9]*". Names of the system's own directories, of programs and of libraries stay as they are.

// fewestNumbers is from how many names on that differ in numbers alone these are left open.
const fewestNumbers = 3

// numbers finds numbers in a name. From digit to digit it is one, as in "1.2" there are two.
var numbers = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[0-9]+`) })

// dated finds a date in a name, and counted names that are numbers with zeros ahead: decimal or hexadecimal, as nobody can tell
// from the first ones.
var (
	dated   = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`20[0-9]{2}[-_.]?[01][0-9][-_.]?[0-3][0-9]`) })
	counted = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^0[0-9A-F]{3,15}$`) })
)

// A member is the rule of a file, and its path in parts.
type member struct {
	*rule
	raw, pattern []string // between slashes; of a directory the last part is empty
	program      bool     // nothing of it is left open
	fixed        bool     // and of this no number
	leaf         bool     // the pattern leaves the last part open since several names differ in numbers
}

// membersOf takes the paths of rules apart. Those that are not of files, and whose pattern is about other parts than the path, as
// that of /proc is, have none.
func membersOf(rules []*rule) (all []*member) {
	for _, one := range rules {
		n := &member{rule: one}
		if one.kind == files {
			n.raw, n.pattern = strings.Split(one.path, "/"), strings.Split(one.what, "/")
			n.program, n.fixed = one.exec, (one.perms|one.owned)&meaning.MayMmapExec != 0 || isSystems(one.path)
		}
		if len(n.raw) != len(n.pattern) {
			n.raw, n.pattern = nil, nil
		}
		all = append(all, n)
	}
	return all
}

// isSystems reports whether a path is in a directory in which a name tells what a file is to the system.
func isSystems(path string) bool {
	for _, dir := range []string{"/bin/", "/boot/", "/dev/", "/etc/", "/lib", "/opt/", "/proc/", ruletext.RootsHome + "/", "/run/", "/sbin/", "/sys/", "/usr/",
		"/var/run/", "/var/spool/"} {
		if strings.HasPrefix(path, dir) {
			return true
		}
	}
	return false
}

// last returns the index of the part that is the name of the file, or directory.
func (n *member) last() int {
	if n.raw[len(n.raw)-1] == "" {
		return len(n.raw) - 2
	}
	return len(n.raw) - 1
}

// glob returns the pattern.
func (n *member) glob() string {
	if n.raw == nil {
		return n.what
	}
	return strings.Join(n.pattern, "/")
}

// leaveOpen leaves open what differs from one time to the next, from the root on, so that what is in a directory is compared
// with what is in others of the same pattern.
func leaveOpen(all []*member) {
	for level := 1; ; level++ {
		groups := make(map[string]*numbered)
		var order []*numbered
		deeper := false
		for _, n := range all {
			if n.program || level >= len(n.raw) || n.raw[level] == "" {
				continue
			}
			deeper = true
			key := strings.Join(n.pattern[:level], "/") + "/" + shape(n.raw[level])
			g := groups[key]
			if g == nil {
				g = &numbered{level: level}
				groups[key] = g
				order = append(order, g)
			}
			g.members = append(g.members, n)
		}
		if !deeper {
			break
		}
		for _, g := range order {
			g.leaveOpen()
		}
	}
	of := make(map[string][]*member)
	for _, n := range all {
		if n.leaf {
			of[n.glob()] = append(of[n.glob()], n)
		}
	}
	for _, some := range of {
		allUse(some)
	}
}

// shape returns what names have in common that differ in numbers alone.
func shape(name string) string { return numbers().ReplaceAllString(name, "\x00") }

// numbered are names in directories of one pattern that differ in numbers alone.
type numbered struct {
	level   int
	members []*member
}

func (g *numbered) leaveOpen() {
	g.temporary()
	var dirs, leaves []*member
	for _, n := range g.members {
		if n.fixed {
			continue
		}
		if n.last() == g.level && n.raw[len(n.raw)-1] != "" {
			leaves = append(leaves, n)
		} else {
			dirs = append(dirs, n)
		}
	}
	if differ := g.values(dirs); len(differ) > 1 && g.alike(dirs) {
		g.open(dirs, differ)
	}
	if differ := g.values(leaves); len(differ) >= fewestNumbers {
		g.open(leaves, differ)
		for _, n := range leaves {
			n.leaf = true
		}
	}
	g.counters(leaves)
}

// temporary leaves open the names of what came and went, and the numbers of those that differ from one in numbers alone: one may
// have stayed. What is in a directory that did so has the same name for it.
func (g *numbered) temporary() {
	gone := make(map[string]bool)
	for _, n := range g.members {
		if n.last() == g.level && temporaryFile(n.rule) {
			gone[n.raw[g.level]] = true
		}
	}
	for _, n := range g.members {
		name := n.raw[g.level]
		if len(gone) == 0 || n.pattern[g.level] != ruletext.Literal(name) {
			continue
		}
		if gone[name] {
			n.pattern[g.level] = ruletext.WidenTemporary(name)
		}
		if n.pattern[g.level] == ruletext.Literal(name) && !n.fixed {
			n.pattern[g.level] = opened(name, nil)
		}
	}
}

// values returns the different names, sorted, if the numbers of these can be left open: a name in which something else is open
// already is none of them.
func (g *numbered) values(some []*member) (names []string) {
	for _, n := range some {
		name := n.raw[g.level]
		if shape(name) != name && (n.pattern[g.level] == ruletext.Literal(name) || digitsOnly(name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func digitsOnly(name string) bool {
	return strings.Trim(name, "0123456789") == "" && len(name) < longNumber
}

// longNumber is from how many digits on a number is an id, which ruletext.Widen leaves open.
const longNumber = 16

// alike reports whether two of the directories have a file of the same name, or were both listed.
func (g *numbered) alike(dirs []*member) bool {
	in := make(map[string]string)
	for _, n := range dirs {
		rest := strings.Join(n.raw[g.level+1:], "/")
		if dir, had := in[rest]; had && dir != n.raw[g.level] {
			return true
		}
		in[rest] = n.raw[g.level]
	}
	return false
}

// open leaves open the numbers in which names differ.
func (g *numbered) open(some []*member, names []string) {
	same := numbers().FindAllString(names[0], -1)
	for _, name := range names[1:] {
		for i, number := range numbers().FindAllString(name, -1) {
			if number != same[i] {
				same[i] = ""
			}
		}
	}
	for _, n := range some {
		if slices.Contains(names, n.raw[g.level]) {
			n.pattern[g.level] = opened(n.raw[g.level], same)
		}
	}
}

// opened returns a pattern of a name that leaves its numbers open, but for those that are the same in all names.
func opened(name string, same []string) string {
	var pattern strings.Builder
	at := 0
	for i, number := range numbers().FindAllStringIndex(name, -1) {
		pattern.WriteString(ruletext.Literal(name[at:number[0]]))
		if at = number[1]; i < len(same) && same[i] != "" {
			pattern.WriteString(same[i])
			continue
		}
		pattern.WriteString("[0-9]*")
	}
	return pattern.String() + ruletext.Literal(name[at:])
}

// counters leaves open the names that a program gave and that have a date in them, or are numbers with zeros ahead.
func (g *numbered) counters(leaves []*member) {
	for _, n := range leaves {
		name := n.raw[g.level]
		perms := n.perms | n.owned
		switch {
		case perms&meaning.MayCreate != 0 && dated().MatchString(name) && (n.leaf || n.pattern[g.level] == ruletext.Literal(name)):
			n.pattern[g.level] = opened(name, nil) // also of several of one day
		case perms&(meaning.MayCreate|meaning.MayWrite) != 0 && counted().MatchString(name):
			n.pattern[g.level] = strings.Repeat("[0-9A-F]", len(name))
		}
	}
}

// allUse takes the members of one pattern, and gives those their names back that use their file as hardly another one does:
// others may be used next time as fewestNumbers of these names were.
func allUse(some []*member) {
	count := make(map[rune]int)
	for _, n := range some {
		for _, letter := range ruletext.Letters(n.perms | n.owned) {
			count[letter]++
		}
	}
	for _, n := range some {
		for _, letter := range ruletext.Letters(n.perms | n.owned) {
			if count[letter] < fewestNumbers {
				n.pattern[n.last()] = ruletext.Literal(n.raw[n.last()])
			}
		}
	}
}
