package lint

import (
	"path"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// ofPaths are the permissions of files that people write rules about, with their letters. Links are left out: what is
// denied of them depends on their target.
var ofPaths = []struct {
	letter byte
	bit    uint32
}{{'r', meaning.MayRead}, {'w', meaning.MayWrite}, {'a', meaning.MayAppend}, {'x', meaning.MayExec}, {'m', meaning.MayMmapExec},
	{'k', meaning.MayLock}}

const pathBits = meaning.MayRead | meaning.MayWrite | meaning.MayAppend | meaning.MayExec | meaning.MayMmapExec | meaning.MayLock

// letters returns the letters of permissions. To write allows to append.
func letters(perms uint32) string {
	if perms&meaning.MayWrite != 0 {
		perms &^= meaning.MayAppend
	}
	var all []byte
	for _, p := range ofPaths {
		if perms&p.bit != 0 {
			all = append(all, p.letter)
		}
	}
	return string(all)
}

// allows reports whether the compiled profile allows permissions on a path, to the owner of the file.
func (l *linter) allows(path string, perms uint32) bool {
	return allowed(l.compiled, path)&perms == perms
}

func allowed(p *meaning.Profile, path string) uint32 {
	perms, _ := p.File(path)
	return perms.Allow &^ perms.Deny
}

// about returns the permissions on a path that a rule is about.
func (r rule) about(path string) uint32 {
	if r.single == nil {
		return 0
	}
	owner, _ := r.single.File(path)
	return owner & pathBits
}

// denying returns the rule that denies a permission on a path.
func (l *linter) denying(path string, perm uint32) *rule {
	for i := range l.rules {
		if r := &l.rules[i]; r.Deny && r.about(path)&perm != 0 {
			return r
		}
	}
	return nil
}

// merged are the directories that are links to those of the same name in /usr, in images of most distributions.
var merged = []string{"/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"}

// links are further symbolic links that nearly every image has, or that every kernel has. The kernel sees their
// targets.
var links = []struct{ from, to, is string }{
	{"/var/run/", "/run/", "/run"},
	{"/var/lock/", "/run/lock/", "/run/lock"},
	{"/proc/self/", "/proc/1/", "/proc/PID"},
	{"/proc/thread-self/", "/proc/1/task/1/", "/proc/PID/task/TID"},
	{"/proc/net/", "/proc/1/net/", "/proc/PID/net"},
	{"/dev/fd/", "/proc/1/fd/", "/proc/PID/fd"},
}

// applets are programs that people like to deny, and that busybox contains as well.
var applets = strings.Fields("sh ash top ping ping6 wget nc vi su login passwd mount umount ps kill chroot telnet ftpget " +
	"tftp sed awk grep find xargs env id whoami dmesg ip ifconfig route insmod modprobe rmmod nslookup crond")

// programs are where programs are.
var programs = []string{"/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/"}

// nobody stands for any other file than those that somebody has named.
const nobody = "oci-apparmor-any"

// names reports whether a rule that denies programs means one by its name, and not all in its directory.
func (r rule) names(dir, name string) bool {
	return r.about(dir+name)&meaning.MayExec != 0 && r.about(dir+nobody)&meaning.MayExec == 0
}

// otherwise returns the shortest path below one directory for which a rule is about permissions that the profile decides on
// otherwise below another one: the path's part behind the directory, and these permissions. It is what the rule does not
// do where the first directory is a link to the other one.
func (l *linter) otherwise(r rule, from, to string) (rest string, perms uint32) {
	if r.single == nil {
		return "", 0
	}
	rest, found := r.single.Beside(l.against(r), from, to, func(rule, allowed uint32) bool {
		if perms = rule & pathBits & allowed; !r.Deny {
			perms = rule & pathBits &^ allowed
		}
		return perms != 0
	})
	if !found {
		return "", 0
	}
	return rest, perms
}

// against returns the profile with which a rule is compared: what is allowed must not be so in spite of a rule that
// denies, and what is not allowed must not be denied on purpose.
func (l *linter) against(r rule) *meaning.Profile {
	if r.Deny {
		return l.compiled
	}
	return l.allowing
}

// usrMerge looks for rules about directories that are links in most images.
func (l *linter) usrMerge() {
	if l.Image != nil { // which shows what is a link
		l.sayUnseen()
		return
	}
	for _, r := range l.rules {
		if !r.Own {
			continue
		}
		for _, dir := range merged {
			if rest, perms := l.otherwise(r, dir, "/usr"+dir); perms != 0 && r.writtenFor(dir, rest) {
				l.warnUnmerged(r, dir, rest, letters(perms))
			}
		}
	}
}

// writtenFor reports whether a rule is about a path because of the directory that it is in, and not about any directory
// beside that, as /** and @{PROC}/[^1-9]*/** are.
func (r rule) writtenFor(dir, rest string) bool {
	beside := path.Dir(strings.TrimSuffix(dir, "/"))
	return r.about(dir+rest)&^r.about(path.Join(beside, nobody)+"/"+rest) != 0
}

func (l *linter) warnUnmerged(r rule, dir, rest, missing string) {
	where := l.pattern(r, dir, rest)
	write, dir := "/{usr/,}"+strings.TrimPrefix(where, "/"), strings.Trim(dir, "/")
	if r.Deny {
		more := ""
		if strings.HasSuffix(where, "bin/sh") {
			more = "; sh itself is a link to dash, bash or busybox, so deny the one that the image has"
		}
		l.warn(r.Line, "/%s is a link to /usr/%[1]s in most images: there %s does not deny %s; write %s%s", dir, show(where),
			missing, show(write), more)
		return
	}
	l.warn(r.Line, "/%s is a link to /usr/%[1]s in most images: there %s does not allow %s; write %s", dir, show(where),
		missing, show(write))
}

// pattern returns a rule's pattern below a directory, or a path that it matches.
func (l *linter) pattern(r rule, dir, rest string) string {
	all := l.Expand(pathOf(r.Rule), l.in.Name)
	if at := slices.IndexFunc(all, func(p string) bool { return strings.HasPrefix(p, dir) }); at >= 0 {
		return all[at]
	}
	return dir + rest
}

// links looks for rules about paths over links, which the kernel never sees.
func (l *linter) links() {
	if l.Image != nil {
		l.sayUnseen()
	}
	shLine := 0
	for _, r := range l.rules {
		if !r.Own {
			continue
		}
		for _, link := range links {
			if l.Image != nil && !strings.HasPrefix(link.to, "/proc/") { // which the kernel does not make
				continue
			}
			if rest, perms := l.otherwise(r, link.from, link.to); perms == 0 || !r.writtenFor(link.from, rest) {
				continue
			}
			verb := "allows"
			if r.Deny {
				verb = "denies"
			}
			l.warn(r.Line, "%s is a link, and the kernel sees what it leads to: the rule for %s %s nothing; write it for %s",
				strings.TrimSuffix(link.from, "/"), show(pathOf(r.Rule)), verb, link.is)
		}
		if shLine == 0 && r.Deny && l.Image == nil && (r.names("/bin/", "sh") || r.names("/usr/bin/", "sh")) {
			if _, perms := l.otherwise(r, "/bin/", "/usr/bin/"); perms == 0 { // which says it, too
				shLine = r.Line
			}
		}
	}
	if shLine > 0 {
		l.shell(shLine)
	}
}

// shell says what sh is, where it is denied and what it is is not.
func (l *linter) shell(line int) {
	var open []string
	for _, name := range []string{"dash", "bash"} {
		if l.allows("/usr/bin/"+name, meaning.MayExec) {
			open = append(open, name)
		}
	}
	if len(open) == 0 {
		return
	}
	names := open[0]
	if len(open) > 1 {
		names = "{" + strings.Join(open, ",") + "}"
	}
	l.warn(line, "sh is a link to %s in many images, and the kernel sees what it leads to: there sh is not denied; deny "+
		"/{usr/,}bin/%s x, too", strings.Join(open, " or "), names)
}

// busybox looks for denied programs that are parts of busybox, which is allowed.
func (l *linter) busybox() {
	if l.Image != nil {
		l.sayUnseen()
		return
	}
	var only []string
	line := 0
	for _, r := range l.rules {
		if !r.Own || !r.Deny || !l.allows("/bin/busybox", meaning.MayExec) {
			continue
		}
		for _, name := range applets {
			if slices.Contains(only, name) || !slices.ContainsFunc(programs, func(dir string) bool { return r.names(dir, name) }) {
				continue
			}
			only = append(only, name)
			if line == 0 {
				line = r.Line
			}
		}
	}
	if len(only) > 0 {
		l.warn(line, "denying %s by name does nothing in images with busybox (Alpine), where the kernel sees /bin/busybox: deny "+
			"/{usr/,}bin/busybox x, too, or build the image without it", strings.Join(only, ", "))
	}
}
