package learn

import (
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// manyFiles is from how many files of a directory on, all used alike, one rule stands for all files of the directory: the
// pages of a site, the tables of a database. There will be others next time.
const manyFiles = 10

// together returns the rules with what belongs together in one: files whose names are others next time, and the many files of a
// directory.
func together(rules []*rule) []*rule {
	at := make(map[key]*rule)
	var order []*rule
	put := func(one *rule, glob string) {
		k := key{one.kind, glob}
		if had := at[k]; had != nil {
			had.join(one)
			return
		}
		fresh := *one
		fresh.key = k
		fresh.loose = fresh.loose || glob != one.what
		fresh.samples, fresh.programs = slices.Clone(one.samples), slices.Clone(one.programs)
		at[k] = &fresh
		order = append(order, &fresh)
	}
	members := membersOf(rules)
	leaveOpen(members)
	for _, n := range members {
		put(n.rule, n.glob())
	}
	rules, order = covered(order), nil
	clear(at)
	alike := make(map[alikeKey]int)
	for _, one := range rules {
		if k, ok := one.alike(); ok {
			alike[k]++
		}
	}
	for _, one := range rules {
		glob := one.what
		if k, ok := one.alike(); ok && alike[k] >= manyFiles {
			glob = k.dir + "*"
		}
		put(one, glob)
	}
	slices.SortFunc(order, byText)
	return order
}

// covered returns the rules of which no other one says the same and more: "1/[0-9]*" is about "1/[0-9]*_map" and "1/7.x", too.
func covered(rules []*rule) []*rule {
	type open struct {
		*rule
		matches *regexp.Regexp
	}
	wide := make(map[string][]open) // by their directories
	dirOf := func(one *rule) string { return one.what[:strings.LastIndexByte(one.what, '/')+1] }
	for _, one := range rules {
		if one.kind == files && strings.HasSuffix(one.what, "*") && !strings.HasSuffix(one.what, `\*`) {
			if m := syntax.Matcher(one.what); m != nil {
				wide[dirOf(one)] = append(wide[dirOf(one)], open{one, m})
			}
		}
	}
	return slices.DeleteFunc(rules, func(one *rule) bool {
		if one.kind != files || one.exec {
			return false
		}
		for _, w := range wide[dirOf(one)] {
			within := strings.HasPrefix(one.what, w.what) || one.what == ruletext.Literal(one.path) && w.matches.MatchString(one.path)
			if w.rule != one && within && w.says(one) {
				w.join(one)
				return true
			}
		}
		return false
	})
}

// says reports whether a rule lets whoever did what another one is about do it.
func (r *rule) says(other *rule) bool {
	anybody := r.perms
	if !ownedAt(r.what) {
		anybody |= r.owned
	}
	within := func(perms, of uint32) bool { return strings.Trim(ruletext.Letters(perms), ruletext.Letters(of)) == "" }
	return within(other.perms, anybody) && within(other.owned, anybody|r.owned)
}

// temporaryFile reports whether a file came and went while it was recorded.
func temporaryFile(r *rule) bool {
	perms := r.perms | r.owned
	return perms&meaning.MayCreate != 0 && perms&meaning.MayDelete != 0
}

// An alikeKey is equal for files of a directory that are used alike.
type alikeKey struct {
	dir   string // its pattern, with a slash
	usage string
}

// alike returns the key of a file, and whether it may come under a rule for a directory. Files that tell who somebody is and
// what a system is made of, such as those of /etc and /proc, and programs, are always named. So is what a home directory has
// itself, and what its hidden directories have: there are keys, and settings that have programs run.
func (r *rule) alike() (k alikeKey, ok bool) {
	if r.kind != files || r.exec || strings.HasSuffix(r.path, "/") {
		return k, false
	}
	if (r.perms|r.owned)&meaning.MayMmapExec != 0 {
		return k, false
	}
	end := strings.LastIndexByte(r.what, '/') + 1
	k = alikeKey{r.what[:end], ruletext.Letters(r.perms | r.owned)}
	for _, dir := range []string{"/sys/", "/dev/", "/run/", ruletext.RootsHome + "/", "/boot/", "@{PROC}/"} {
		if strings.HasPrefix(r.what, dir) {
			return k, false
		}
	}
	if inHome(k.dir) {
		return k, false
	}
	writes := strings.ContainsAny(k.usage, "wa")
	switch k.dir {
	case "/", "/etc/", "/home/", "/tmp/", "/var/tmp/":
		return k, false
	}
	if writes && (strings.HasPrefix(k.dir, "/etc/") || strings.HasPrefix(k.dir, "/usr/") || strings.HasPrefix(k.dir, "/opt/") ||
		strings.HasPrefix(k.dir, "/bin/") || strings.HasPrefix(k.dir, "/sbin/") || strings.HasPrefix(k.dir, "/lib")) {
		return k, false
	}
	return k, true
}

// ofHome finds the home directory of a path, and the directories below it.
var ofHome = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(@\{HOME\}|/home/[^/]+)/(.*/)?`) })

// inHome reports whether a path is in a home directory itself, or anywhere below one in a hidden directory.
func inHome(path string) bool {
	dirs := ofHome().FindStringSubmatch(path)
	return dirs != nil && (dirs[2] == "" || strings.Contains("/"+dirs[2], "/."))
}

// join takes in what another rule was made of.
func (r *rule) join(other *rule) {
	r.perms |= other.perms
	r.owned |= other.owned
	r.exec = r.exec || other.exec
	r.loose = true
	r.samples = append(r.samples, other.samples...)
	for _, program := range other.programs {
		if len(r.programs) < mostPrograms && !slices.Contains(r.programs, program) {
			r.programs = append(r.programs, program)
		}
	}
}
