package lint

import (
	"fmt"
	"path"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// unseen is what a rule is about and does not do, since the kernel knows the files by other paths.
type unseen struct {
	check      string
	rule       *rule
	path, real string // of the first such file
	perms      uint32 // of all of them
	files      int
	hard       bool // the paths are hard links of each other, so that the kernel knows both
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
		l.warn(u.rule.Line, "in the image %s is "+is+": there the rule for %s does not %s %s%s; write it for %[2]s", show(u.path),
			show(u.real), show(pathOf(u.rule.Rule)), verb, letters(u.perms), more)
	}
}
