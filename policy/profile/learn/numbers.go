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
//   - the name of a file that came and went, and those of files that differ from it in numbers alone;
//   - a name that a program gave to a file and that has a date in it, or is a number with zeros ahead, as what counts up is;
//   - directories whose names differ in numbers alone and that have files of the same name;
//   - fewestNumbers files of a directory whose names differ in numbers alone, or so many directories of which no file tells.
//
// A number is left open by "[0-9]*", which is about whatever begins with a digit, and one with zeros ahead by a class for each
// digit. Names of the system's own directories, of what homes hide, of programs and of libraries stay as they are.

// fewestNumbers is from how many names on that differ in numbers alone these are left open.
const fewestNumbers = 3

// numbers finds numbers in a name. "1.2" has two.
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
	leaf         bool     // the pattern leaves the last part open since several names differ in numbers there
}

// membersOf takes the paths of rules apart. Those that are not of files, and whose pattern is about other parts than the path, as
// that of /proc is, have none.
func membersOf(rules []*rule) (all []*member) {
	for _, one := range rules {
		n := &member{rule: one}
		if one.kind == files {
			n.raw, n.pattern = strings.Split(one.path, "/"), strings.Split(one.what, "/")
			n.program, n.fixed = one.exec, (one.perms|one.owned)&meaning.MayMmapExec != 0 || isSystems(one.path) || inHome(one.path)
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
			if level == 2 && n.raw[1] == "home" {
				continue // another name is another user
			}
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
		switch {
		case n.fixed:
		case g.isFile(n):
			leaves = append(leaves, n)
		default:
			dirs = append(dirs, n)
		}
	}
	for _, names := range g.alike(dirs) {
		g.open(dirs, names)
		dirs = slices.DeleteFunc(dirs, func(n *member) bool { return slices.Contains(names, n.raw[g.level]) })
	}
	others := slices.DeleteFunc(dirs, func(n *member) bool { return n.last() != g.level })
	for _, some := range [][]*member{leaves, others} {
		if names := g.values(some); len(names) >= fewestNumbers {
			g.open(some, names)
			for _, n := range some {
				n.leaf = slices.Contains(names, n.raw[g.level])
			}
		}
	}
	g.counters(leaves)
}

// isFile reports whether the name is that of a member itself, which is no directory.
func (g *numbered) isFile(n *member) bool { return len(n.raw)-1 == g.level }

// temporary leaves open the names of what came and went, and the numbers of those that differ from one in numbers alone: one may
// have stayed. What is in a directory that did so has the same name for it. A file says nothing of directories.
func (g *numbered) temporary() {
	gone := map[bool]map[string]bool{true: {}, false: {}} // for files and for directories
	for _, n := range g.members {
		if n.last() == g.level && temporaryFile(n.rule) {
			gone[g.isFile(n)][n.raw[g.level]] = true
		}
	}
	for _, n := range g.members {
		name, gone := n.raw[g.level], gone[g.isFile(n)]
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

// alike returns the names of directories that have a file of the same name as another one has, together with those of the others.
// That two were listed says nothing: whoever walks a tree lists all.
func (g *numbered) alike(dirs []*member) (groups [][]string) {
	names := g.values(dirs)
	first := make(map[string]string) // the name of a directory that has a file, by the file's
	like := make(map[string]string)  // a directory's name, by that of one like it
	leader := func(name string) string {
		for like[name] != "" {
			if further := like[like[name]]; further != "" {
				like[name] = further // the way is shorter next time
			}
			name = like[name]
		}
		return name
	}
	for _, n := range dirs {
		name, file := n.raw[g.level], strings.Join(n.raw[g.level+1:], "/")
		if _, found := slices.BinarySearch(names, name); !found || file == "" {
			continue
		}
		if first[file] == "" {
			first[file] = name
		}
		if a, b := leader(first[file]), leader(name); a != b {
			like[b] = a
		}
	}
	led := make(map[string][]string)
	for _, name := range names {
		led[leader(name)] = append(led[leader(name)], name)
	}
	for _, name := range names {
		if group := led[name]; len(group) > 1 {
			groups = append(groups, group)
		}
	}
	return groups
}

// open leaves open the numbers in which names differ, which are sorted.
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
		if _, found := slices.BinarySearch(names, n.raw[g.level]); found {
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
		case perms&meaning.MayCreate != 0 && counted().MatchString(name):
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
