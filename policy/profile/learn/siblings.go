package learn

import (
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
)

// manyFiles is from how many files of a directory on, all used alike, one rule stands for all files of the directory: the
// pages of a site, the tables of a database. There will be others next time.
const manyFiles = 10

// together returns the rules with what belongs together in one: temporary files, and the many files of a directory.
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
	for _, one := range rules {
		glob := one.what
		if one.kind == files && !one.loose && !one.exec && temporaryFile(one) {
			file, isDir := strings.CutSuffix(one.path, "/")
			dir, name := path.Split(file)
			if glob = ruletext.Literal(dir) + ruletext.WidenTemporary(name); isDir {
				glob += "/"
			}
		}
		put(one, glob)
	}
	rules, order = order, nil
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
// what a system is made of, such as those of /etc and /proc, and programs, are always named.
func (r *rule) alike() (k alikeKey, ok bool) {
	if r.kind != files || r.exec || strings.HasSuffix(r.path, "/") {
		return k, false
	}
	if (r.perms|r.owned)&meaning.MayMmapExec != 0 {
		return k, false
	}
	end := strings.LastIndexByte(r.what, '/') + 1
	k = alikeKey{r.what[:end], ruletext.Letters(r.perms | r.owned)}
	for _, dir := range []string{"/sys/", "/dev/", "/run/", "/root/", "/boot/", "@{PROC}/"} {
		if strings.HasPrefix(r.what, dir) {
			return k, false
		}
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
