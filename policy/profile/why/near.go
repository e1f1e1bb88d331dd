package why

import (
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Nearness says in what an access that a rule allows differs from the one that was asked about. A lesser one is nearer.
type Nearness uint8

const (
	NearOwner      Nearness = iota // the rule is for the owner of the file
	NearPermission                 // it is about another permission, or another kind of the same
	NearForm                       // about another way to name the same: with a slash at the end, in /usr or not
	NearPeer                       // about another process
	NearPath                       // about another path in the same directory, or below it, or another name
	NearFurther                    // about another path in a directory around that one
)

// A Near is a rule that nearly allows an access.
type Near struct {
	*Rule
	Differs Nearness
	Access  meaning.Access // one that the rule allows
}

// maxNear is how many rules are named as near.
const maxNear = 5

// near returns the rules that allow something like an access, the nearest first.
func (b *block) near(p *meaning.Profile, a meaning.Access) (found []Near) {
	said := make(map[*one]bool)
	for _, try := range variants(p, a) {
		for _, o := range b.rules {
			if o.limits || o.onTop == nil || o.kind == childKind || said[o] {
				continue
			}
			other, ok := try.allowedBy(o)
			if !ok || b.nothing.Decide(other).Allowed {
				continue
			}
			said[o] = true
			if found = append(found, Near{&o.Rule, try.differs, other}); len(found) == maxNear {
				return found
			}
		}
	}
	return found
}

// allowedBy returns the access that a rule allows; ok is false if it allows none.
func (v *variant) allowedBy(o *one) (a meaning.Access, ok bool) {
	if a = v.access; v.find != nil {
		key, ok := v.find.in(o.onTop)
		if !ok {
			return nil, false
		}
		a = v.with(key)
	}
	if link, ok := a.(meaning.FileAccess); ok && link.Want == meaning.MayLink {
		return linkOf(o.onTop, meaning.LinkAccess{Path: link.Path, Target: v.target, Owner: link.Owner})
	}
	return a, o.onTop.Decide(a).Allowed
}

// linkOf returns a link that a profile allows, with another target if it has none for this one. ok is false if it has none at
// all.
func linkOf(p *meaning.Profile, a meaning.LinkAccess) (link meaning.Access, ok bool) {
	if a.Target != "" && p.Decide(a).Allowed {
		return a, true
	}
	targets, err := automaton.NewGlob("/**")
	if err != nil {
		return nil, false
	}
	link, ok, err = meaning.Stack{p}.Example(meaning.Question{Like: []meaning.Access{a},
		Texts: []automaton.Language{automaton.Words(a.Path), targets}}, true)
	return link, ok && err == nil
}

// variant is an access like another one: it, or the first that a rule allows of those that find describes.
type variant struct {
	differs Nearness
	access  meaning.Access
	find    *search
	with    func(key string) meaning.Access
	target  string // of a link, which all of them ask for by the permission alone; empty for any
}

// search are keys of a class.
type search struct {
	class   meaning.Class
	want    uint32
	owner   bool
	prefix  string // of the keys; of other classes than files, with does not get it
	pattern string // for what is behind it
}

// in returns the shortest of the keys for which a rule allows all that is wanted.
func (s *search) in(p *meaning.Profile) (key string, ok bool) {
	if s.class == meaning.File {
		key, ok, err := meaning.WherePaths(s.pattern, s.owner, func(perms []uint32) bool { return perms[0]&s.want == s.want },
			meaning.View{Profile: p, Prefix: s.prefix})
		return s.prefix + key, ok && err == nil
	}
	key, ok, err := meaning.Stack{p}.Find(s.class, s.want, s.owner, escaped(s.prefix)+s.pattern)
	return strings.TrimPrefix(key, s.prefix), ok && err == nil
}

// escaped returns a pattern that matches a text and nothing else.
func escaped(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if strings.IndexByte(`*?[]{}\^,`, text[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

// variants returns accesses like a, the nearest first.
func variants(p *meaning.Profile, a meaning.Access) []variant {
	switch a := a.(type) {
	case meaning.FileAccess:
		return fileVariants(a, func(path string) meaning.Access { a.Path = path; return a })
	case meaning.ExecAccess:
		as := meaning.FileAccess{Path: a.Path, Want: meaning.MayExec, Owner: a.Owner}
		return fileVariants(as, func(path string) meaning.Access { a.Path = path; return a })
	case meaning.LinkAccess:
		as := meaning.FileAccess{Path: a.Path, Want: meaning.MayLink, Owner: a.Owner}
		return linkVariants(a, append([]variant{{differs: NearPermission, access: as}},
			fileVariants(as, func(path string) meaning.Access {
				return meaning.FileAccess{Path: path, Want: meaning.MayLink, Owner: a.Owner}
			})...))
	case meaning.ChangeProfileAccess:
		return changeVariants(a)
	case meaning.SocketAccess, meaning.UnixAccess:
		return socketVariants(p, a)
	case meaning.SignalAccess, meaning.PtraceAccess:
		return peerVariants(p, a)
	case meaning.MountAccess, meaning.UmountAccess, meaning.PivotRootAccess:
		return mountVariants(a)
	case meaning.IOUringAccess:
		a.Override = !a.Override
		return []variant{{differs: NearPermission, access: a}}
	case meaning.MqueueAccess:
		return mqueueVariants(a)
	case meaning.DBusAccess:
		return dbusVariants(a)
	}
	return nil
}

// linkVariants gives variants the target of a link.
func linkVariants(a meaning.LinkAccess, all []variant) []variant {
	for i := range all {
		all[i].target = a.Target
	}
	return all
}

// ofFile are the permissions of files, one by one.
var ofFile = []uint32{meaning.MayRead, meaning.MayWrite, meaning.MayAppend, meaning.MayExec, meaning.MayMmapExec, meaning.MayLock,
	meaning.MayLink}

// fileVariants are those of an access to a file. with returns the access to another path.
func fileVariants(a meaning.FileAccess, with func(path string) meaning.Access) (all []variant) {
	if !a.Owner {
		owned := with(a.Path)
		switch o := owned.(type) {
		case meaning.FileAccess:
			o.Owner = true
			owned = o
		case meaning.ExecAccess:
			o.Owner = true
			owned = o
		}
		all = append(all, variant{differs: NearOwner, access: owned})
	}
	for _, perm := range ofFile {
		if perm != a.Want {
			other := a
			other.Want = perm
			all = append(all, variant{differs: NearPermission, access: other})
		}
	}
	for _, path := range otherForms(a.Path) {
		all = append(all, variant{differs: NearForm, access: with(path)})
	}
	if !strings.HasPrefix(a.Path, "/") {
		return all
	}
	dir := strings.TrimSuffix(a.Path, "/")
	find := func(differs Nearness, pattern string) {
		all = append(all, variant{differs: differs, with: with,
			find: &search{class: meaning.File, want: a.Want, owner: a.Owner, prefix: dir + "/", pattern: pattern}})
	}
	find(NearPath, "?**")
	for differs := NearPath; ; differs = NearFurther {
		at := strings.LastIndexByte(dir, '/')
		if at < 0 || at == 0 && differs == NearFurther { // what is in the root directory is near to nothing else
			return all
		}
		dir = dir[:at]
		find(differs, "?*")
		if dir == "" {
			return all
		}
		find(differs, "?**")
	}
}

// otherForms returns other ways to write a path that people mean the same by.
func otherForms(path string) []string {
	toggled := path + "/"
	if strings.HasSuffix(path, "/") && path != "/" {
		toggled = strings.TrimSuffix(path, "/")
	}
	forms := []string{toggled}
	for _, f := range [][2]string{{"/usr/", "/"}, {"/var/run/", "/run/"}, {"/var/lock/", "/run/lock/"}} {
		if rest, ok := strings.CutPrefix(path, f[0]); ok {
			forms = append(forms, f[1]+rest)
		} else if rest, ok := strings.CutPrefix(path, f[1]); ok {
			forms = append(forms, f[0]+rest)
		}
	}
	return forms
}

func changeVariants(a meaning.ChangeProfileAccess) []variant {
	other := a
	other.OnExec = !a.OnExec
	want, labels := uint32(meaning.MayChangeProfile), "{,**}"
	if a.OnExec { // for which a text that begins with a slash may be the program of a rule
		want, labels = meaning.MayOnExec, "[^/]**"
	}
	return []variant{{differs: NearPermission, access: other}, {differs: NearPeer,
		find: &search{class: meaning.File, want: want, pattern: labels},
		with: func(label string) meaning.Access { a.Label = label; return a }}}
}

// Kinds of sockets, by their numbers in Linux.
var (
	families = []uint16{1, 2, 10, 16, 17} // unix, inet, inet6, netlink, packet
	types    = []uint16{1, 2, 3, 5}       // stream, dgram, raw, seqpacket
)

func socketVariants(p *meaning.Profile, a meaning.Access) (all []variant) {
	add := func(differs Nearness, access meaning.Access) {
		if access != a {
			all = append(all, variant{differs: differs, access: access})
		}
	}
	switch a := a.(type) {
	case meaning.SocketAccess:
		for bit := range 32 {
			other := a
			other.Want = 1 << bit
			add(NearPermission, other)
		}
		for _, kind := range types {
			other := a
			other.Type = kind
			add(NearPermission, other)
		}
		for _, family := range families {
			for _, kind := range append([]uint16{a.Type}, types...) {
				other := a
				other.Family, other.Type = family, kind
				add(NearPath, other)
			}
		}
	case meaning.UnixAccess:
		for _, peer := range []string{p.Name, "unconfined"} {
			other := a
			other.Peer = peer
			add(NearPeer, other)
		}
		for _, kind := range types {
			other := a
			other.Type = kind
			add(NearPermission, other)
		}
		other := a
		other.Address, other.PeerAddress = "", ""
		add(NearPath, other)
	}
	return all
}

func peerVariants(p *meaning.Profile, a meaning.Access) (all []variant) {
	add := func(differs Nearness, access meaning.Access) {
		if access != a {
			all = append(all, variant{differs: differs, access: access})
		}
	}
	find := func(class meaning.Class, want uint32, prefix string, with func(string) meaning.Access) {
		all = append(all, variant{differs: NearPeer, with: with, find: &search{class: class, want: want, prefix: prefix, pattern: "**"}})
	}
	peers := []string{p.Name, "unconfined"}
	switch a := a.(type) {
	case meaning.SignalAccess:
		for _, want := range []uint32{meaning.MayRead, meaning.MayWrite} {
			other := a
			other.Want = want
			add(NearPermission, other)
		}
		for signal := meaning.Signal(1); signal <= meaning.LastSignal; signal++ {
			other := a
			other.Signal = signal
			add(NearPermission, other)
		}
		for _, peer := range peers {
			other := a
			other.Peer = peer
			add(NearPeer, other)
		}
		find(meaning.Signals, a.Want, string([]byte{byte(a.Signal)}), func(peer string) meaning.Access { a.Peer = peer; return a })
	case meaning.PtraceAccess:
		for _, want := range []uint32{meaning.MayRead, meaning.MayWrite, meaning.MayAppend, meaning.MayCreate} {
			other := a
			other.Want = want
			add(NearPermission, other)
		}
		for _, peer := range peers {
			other := a
			other.Peer = peer
			add(NearPeer, other)
		}
		find(meaning.Label, a.Want, string([]byte{byte(meaning.PTrace)}), func(peer string) meaning.Access { a.Peer = peer; return a })
	}
	return all
}

// mountFlags are flags of mounts that rules are often about: none, ro, bind, rbind, ro and remount, move, private,
// rprivate, slave, rslave, and nosuid, nodev, noexec.
var mountFlags = []uint32{0, 1, 1 << 12, 1<<12 | 1<<14, 1 | 1<<5, 1 << 13, 1 << 18, 1<<18 | 1<<14, 1 << 19, 1<<19 | 1<<14, 2 | 4 | 8}

func mountVariants(a meaning.Access) (all []variant) {
	add := func(differs Nearness, access meaning.Access) {
		if access != a {
			all = append(all, variant{differs: differs, access: access})
		}
	}
	switch a := a.(type) {
	case meaning.MountAccess:
		for _, flags := range mountFlags {
			other := a
			other.Flags = flags
			add(NearPermission, other)
		}
		for _, fs := range []string{"proc", "sysfs", "tmpfs", "overlay", "ext4", "fuse", ""} {
			other := a
			other.Type = fs
			add(NearPermission, other)
		}
		for _, target := range append(otherForms(a.Target), "/", "/mnt/", "/tmp/", "/proc/", "/sys/", "/dev/") {
			other := a
			other.Target = target
			add(NearPath, other)
		}
		other := a
		other.Source = ""
		add(NearPath, other)
	case meaning.UmountAccess:
		for _, target := range append(otherForms(a.Target), "/", "/mnt/", "/tmp/", "/proc/", "/sys/", "/dev/") {
			add(NearPath, meaning.UmountAccess{Target: target})
		}
	case meaning.PivotRootAccess:
		for _, path := range otherForms(a.New) {
			add(NearForm, meaning.PivotRootAccess{New: path, Old: a.Old})
		}
		for _, path := range otherForms(a.Old) {
			add(NearForm, meaning.PivotRootAccess{New: a.New, Old: path})
		}
	}
	return all
}

func mqueueVariants(a meaning.MqueueAccess) (all []variant) {
	for bit := range 10 {
		other := a
		if other.Want = 1 << bit; other != a {
			all = append(all, variant{differs: NearPermission, access: other})
		}
	}
	return append(all, variant{differs: NearPath, find: &search{class: meaning.PosixMQueue, want: a.Want, pattern: "/**"},
		with: func(name string) meaning.Access { a.Name = name; return a }})
}

func dbusVariants(a meaning.DBusAccess) (all []variant) {
	for _, want := range []uint32{meaning.DBusSend, meaning.DBusReceive, meaning.DBusBind, meaning.DBusEavesdrop} {
		other := a
		if other.Want = want; other != a {
			all = append(all, variant{differs: NearPermission, access: other})
		}
	}
	for _, change := range []func(*meaning.DBusAccess){
		func(o *meaning.DBusAccess) { o.Label = "unconfined" },
		func(o *meaning.DBusAccess) { o.Name = "org.freedesktop.DBus" },
		func(o *meaning.DBusAccess) { o.Bus = "session" },
		func(o *meaning.DBusAccess) { o.Bus = "system" },
	} {
		other := a
		if change(&other); other != a {
			all = append(all, variant{differs: NearPeer, access: other})
		}
	}
	return all
}
