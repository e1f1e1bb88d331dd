package lint

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/rootfs"
)

// unseen is what a rule is about and does not do, since the kernel knows the files by other paths.
type unseen struct {
	check      string
	rule       *rule
	path, real string // of the first such file
	perms      uint32 // of all of them
	files      int
	hard       bool // the paths are hard links of each other, so that the kernel knows both

	// write is what to write the rule for, if it is about files that are not in the image: the paths are the directories'.
	write string
}

// inImage finds rules about paths that lead over links in the image. It looks at each of these paths.
func (l *linter) inImage() (all []*unseen) {
	add := func(u unseen) {
		at := slices.IndexFunc(all, func(o *unseen) bool { return o.check == u.check && o.rule == u.rule })
		if at < 0 {
			all = append(all, &u)
			return
		}
		all[at].perms |= u.perms
		all[at].files++
	}
	aliases, whole := l.Image.Aliases()
	l.partial = l.partial || !whole
	for _, a := range aliases {
		if a.Dir {
			continue
		}
		check := "link"
		switch {
		case a.Real == "/usr"+a.Path:
			check = "usr-merge"
		case path.Base(a.Real) == "busybox":
			check = "busybox"
		}
		for _, u := range l.undone(a.Path, a.Real) {
			u.check = check
			add(u)
		}
	}
	all = append(all, l.inDirs(aliases, all)...)
	for _, names := range l.Image.HardLinks() {
		box := slices.IndexFunc(names, func(name string) bool { return path.Base(name) == "busybox" })
		if box < 0 || !l.allows(names[box], meaning.MayExec) {
			continue
		}
		for _, name := range names {
			if r := l.denying(name, meaning.MayExec); r != nil && r.Own && r.names(path.Dir(name)+"/", path.Base(name)) {
				add(unseen{check: "busybox", rule: r, path: name, real: names[box], perms: meaning.MayExec, files: 1, hard: true})
			}
		}
	}
	return all
}

// maxBelow is how many times a rule is compared with a link to a directory. It bounds what an image that consists of such
// links costs; Debian has some dozens of them.
const maxBelow = 10_000

// inDirs finds rules about paths below a link to a directory, where there may be no such file before the container runs.
// known is what was found by files, which says it of the same rule.
func (l *linter) inDirs(aliases []rootfs.Alias, known []*unseen) (all []*unseen) {
	looked := 0
	for i := range l.rules {
		r := &l.rules[i]
		if !r.Own || r.single == nil {
			continue
		}
		fixed := l.beginnings(*r)
		for _, a := range aliases {
			if !a.Dir {
				continue
			}
			check := "link"
			if a.Real == "/usr"+a.Path {
				check = "usr-merge"
			}
			same := func(o *unseen) bool { // or a file in there, which may be a link itself
				return o.rule == r && (o.check == check || strings.HasPrefix(o.path, a.Path+"/"))
			}
			if slices.ContainsFunc(known, same) || slices.ContainsFunc(all, same) {
				continue
			}
			from, to := a.Path+"/", strings.TrimSuffix(a.Real, "/")+"/"
			if !slices.ContainsFunc(fixed, func(p string) bool { return strings.HasPrefix(p, from) || strings.HasPrefix(from, p) }) {
				continue
			}
			if looked++; looked > maxBelow {
				l.partial = true
				return all
			}
			rest, perms := l.otherwise(*r, from, to)
			if perms == 0 || !r.writtenFor(from, rest) {
				continue
			}
			all = append(all, &unseen{check: check, rule: r, path: a.Path, real: a.Real, perms: perms, files: 1,
				write: to + strings.TrimPrefix(l.pattern(*r, from, rest), from)})
		}
	}
	return all
}

// beginnings returns what of a rule's patterns stands before their first part that may be several texts.
func (l *linter) beginnings(r rule) (all []string) {
	for _, p := range l.Expand(pathOf(r.Rule), l.in.Name) {
		if at := strings.IndexAny(p, `*?[{\`); at >= 0 {
			p = p[:at]
		}
		all = append(all, p)
	}
	return all
}

// undone returns the text's own rules that are about a path, and the permissions for which the profile decides otherwise on
// the path by which the kernel knows the file.
func (l *linter) undone(name, real string) (found []unseen) {
	here := allowed(l.compiled, name) & pathBits
	there, allowing := allowed(l.compiled, real)&pathBits, allowed(l.allowing, real)&pathBits
	if here == there && here&^allowing == 0 {
		return nil
	}
	for i := range l.rules {
		r := &l.rules[i]
		if !r.Own {
			continue
		}
		perms := r.about(name)
		if r.Deny {
			perms &= there
		} else {
			perms &^= allowing
		}
		if perms != 0 {
			found = append(found, unseen{rule: r, path: name, real: real, perms: perms, files: 1})
		}
	}
	return found
}

// sayUnseen warns of what a check finds in the image.
func (l *linter) sayUnseen() {
	for _, u := range l.unseen {
		if u.check != l.check {
			continue
		}
		verb, more, is := "allow", "", "a link to %s, and the kernel sees that one"
		if u.rule.Deny {
			verb = "deny"
		}
		switch {
		case u.files == 2:
			more = ", nor for one other path"
		case u.files > 2:
			more = fmt.Sprintf(", nor for %d other paths", u.files-1)
		}
		if u.hard {
			is = "a hard link of %s, which does the same and may be executed"
		}
		if u.write == "" {
			u.write = u.real
		}
		l.warn(u.rule.Line, "in the image %s is "+is+": there the rule for %s does not %s %s%s; write it for %s", show(u.path),
			show(u.real), show(pathOf(u.rule.Rule)), verb, letters(u.perms), more, show(u.write))
	}
}
