package suggest

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// A rule is a rule that is to be added.
type rule struct {
	// Of one that is not about a file's path: its words, without the comma. Behind the first one stand the permissions, if
	// such rules have some.
	words []string
	want  uint32
	of    []meaning.Permission // nil if it has none

	// Of one about a file.
	owner   bool
	pattern string
	letters string // of "mrwaklx"

	notes []string // what in it stands for what
}

// file reports whether the rule is about a file, and can be put together with others about the same.
func (r rule) file() bool { return r.words == nil }

// style is how a profile writes its rules.
type style struct {
	quoted  bool // paths stand in quotes
	leading bool // permissions stand ahead of the path
	word    bool // rules about files begin with "file"
	own     bool // the profile's own name is written as @{profile_name}
	name    string

	addressed bool // the kernel decides about unix sockets by their addresses
	permitted bool // or at least by their permissions
}

// styleOf returns the style of most rules of a block or, where it has no rules about files, of the whole text.
func styleOf(t *syntax.Text, b *syntax.Block) style {
	s, seen := styleOfRules(t, b.Rules)
	if !seen {
		s, _ = styleOfRules(t, t.Rules())
	}
	s.name = b.Name
	for _, r := range b.Rules {
		s.own = s.own || strings.Contains(t.Source(r), "@{profile_name}")
	}
	return s
}

func styleOfRules(t *syntax.Text, rules []syntax.Rule) (s style, seen bool) {
	all, quoted, leading, word := 0, 0, 0, 0
	for _, r := range rules {
		words := r.Words
		if r.First() == "file" && len(words) > 1 {
			words = words[1:]
		}
		if len(words) < 2 {
			continue
		}
		path := slices.IndexFunc(words[:2], func(w string) bool { return strings.HasPrefix(w, "/") || strings.HasPrefix(w, "@{") })
		if path < 0 || path == 1 && strings.Trim(words[0], "rwaklmixpucPUC") != "" {
			continue
		}
		all++
		for is, n := range map[*int]bool{&quoted: strings.Contains(t.Source(r), `"`), &leading: path == 1, &word: r.First() == "file"} {
			if n {
				*is++
			}
		}
	}
	return style{quoted: 2*quoted > all, leading: 2*leading > all, word: 2*word > all}, all > 0
}

// text returns a rule as a profile writes it.
func (r rule) text(s style) string {
	if r.of != nil {
		return strings.Join(slices.Insert(slices.Clone(r.words), 1, among(r.want, r.of)), " ") + ","
	}
	if !r.file() {
		return strings.Join(r.words, " ") + ","
	}
	var words []string
	if r.owner {
		words = append(words, "owner")
	}
	if s.word {
		words = append(words, "file")
	}
	letters := r.letters
	if strings.Contains(letters, "w") { // which has it in it, and the parser refuses both
		letters = strings.Replace(letters, "a", "", 1)
	}
	letters = strings.Replace(letters, "x", "ix", 1)
	path := quoting(r.pattern, s.quoted)
	if s.leading {
		words = append(words, letters, path)
	} else {
		words = append(words, path, letters)
	}
	return strings.Join(words, " ") + ","
}

// letters is the order in which permissions are written.
const letters = "mrwaklx"

// lettersFor are the permissions of a file by which a rule allows what was asked. "w" is about all that changes a file, of
// which "a" is about a part.
func lettersFor(want uint32) (some string) {
	for _, l := range []struct {
		letter string
		bits   uint32
	}{
		{"m", meaning.MayMmapExec}, {"r", meaning.MayRead | meaning.MayGetAttr},
		{"w", meaning.MayWrite | meaning.MayCreate | meaning.MayDelete | meaning.MaySetAttr | meaning.MayChmod | meaning.MayChown | meaning.MayRename},
		{"a", meaning.MayAppend}, {"k", meaning.MayLock}, {"x", meaning.MayExec},
	} {
		if want&l.bits != 0 {
			some += l.letter
		}
	}
	return some
}

// joinLetters returns the letters of both, in order.
func joinLetters(a, b string) (all string) {
	for _, l := range letters {
		if strings.ContainsRune(a+b, l) {
			all += string(l)
		}
	}
	return all
}

// candidates returns rules that may allow an access that a profile denies, the best first. Each is a set of rules that are
// needed together. Which of them does allow it is proven by who calls. exact leaves patterns out.
func (s style) candidates(t *syntax.Text, a meaning.Access, exact bool) [][]rule {
	switch a := a.(type) {
	case meaning.FileAccess:
		return files(t, a.Path, lettersFor(a.Want), a.Owner, exact)
	case meaning.ExecAccess:
		return files(t, a.Path, "x", a.Owner, exact)
	case meaning.LinkAccess:
		if a.Owner {
			return one("owner", "link", s.path(a.Path), "->", s.path(a.Target))
		}
		return one("link", s.path(a.Path), "->", s.path(a.Target))
	case meaning.SocketAccess:
		return one("network", kernelname.Families.Word(a.Family), kernelname.SocketTypes.Word(a.Type))
	case meaning.UnixAccess:
		return s.unix(t, a, exact)
	case meaning.MountAccess:
		return s.mount(a)
	case meaning.UmountAccess:
		return one("umount", s.path(a.Target))
	case meaning.PivotRootAccess:
		return one("pivot_root", "oldroot="+s.path(a.Old), s.path(a.New))
	case meaning.ChangeProfileAccess:
		return s.change(a)
	}
	return s.others(a)
}

// others are the rules for accesses that are about no path.
func (s style) others(a meaning.Access) [][]rule {
	switch a := a.(type) {
	case meaning.CapabilityAccess:
		if int(a) < len(kernelname.Capabilities) {
			return one("capability", kernelname.Capabilities[a])
		}
	case meaning.SignalAccess:
		if a.Signal == 0 {
			return some(a.Want, meaning.SignalPermissions, "signal", s.peer(a.Peer))
		}
		return some(a.Want, meaning.SignalPermissions, "signal", "set=("+a.Signal.String()+")", s.peer(a.Peer))
	case meaning.PtraceAccess:
		return some(a.Want, meaning.PtracePermissions, "ptrace", s.peer(a.Peer))
	case meaning.UsernsAccess:
		return one("userns")
	case meaning.IOUringAccess:
		if a.Override {
			return one("io_uring", "(override_creds)", "label="+quoting(literal(a.Label), false))
		}
		return one("io_uring", "(sqpoll)")
	case meaning.MqueueAccess:
		return some(a.Want, meaning.MqueuePermissions, "mqueue", "type=posix", s.path(a.Name))
	case meaning.DBusAccess:
		return some(a.Want, meaning.DBusPermissions, s.dbus(a)...)
	}
	return nil
}

// one is a single rule.
func one(words ...string) [][]rule { return [][]rule{{{words: words}}} }

// some is a single rule with permissions.
func some(want uint32, of []meaning.Permission, words ...string) [][]rule {
	return [][]rule{{{words: words, want: want, of: of}}}
}

// change are the rules for a change to another label: with the exec of one program, or else at any time.
func (s style) change(a meaning.ChangeProfileAccess) [][]rule {
	label := quoting(literal(a.Label), s.quoted)
	if a.Stack {
		label = quoting("&"+literal(a.Label), true)
	}
	all := one("change_profile", "->", label)
	if a.Program != "" {
		all = append(one("change_profile", s.path(a.Program), "->", label), all...)
	}
	return all
}

// files are the rules for a path: about all that it stands for, or about it alone.
func files(t *syntax.Text, path, some string, owner, exact bool) (all [][]rule) {
	if w := wide(t, path, owner); !exact && w.pattern != literal(path) {
		all = append(all, []rule{{owner: owner, pattern: w.pattern, letters: some, notes: w.notes}})
	}
	return append(all, []rule{{owner: owner, pattern: literal(path), letters: some}})
}

func (s style) path(path string) string { return quoting(literal(path), s.quoted) }

// peer is the condition on a peer. Only some profiles write their own name as the variable.
func (s style) peer(label string) string {
	if s.own && label == s.name {
		return "peer=@{profile_name}"
	}
	return "peer=" + quoting(literal(label), s.quoted)
}

// among returns the words of permissions, in brackets.
func among(want uint32, of []meaning.Permission) string {
	var some []string
	for _, p := range of {
		if want&p.Bits != 0 {
			some = append(some, p.Word)
		}
	}
	return "(" + strings.Join(some, ", ") + ")"
}

// unix are the rules for a socket of AF_UNIX. Kernels before Linux 6.17 know no addresses, and for some of them the parser
// leaves out the permissions, too: a rule says no more than it means. No rule takes a path as an address: where a socket has
// one, the rules about files decide.
func (s style) unix(t *syntax.Text, a meaning.UnixAccess, exact bool) (all [][]rule) {
	add := func(words ...string) {
		words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
		all = append(all, some(a.Want, meaning.SocketPermissions, append([]string{"unix", "type=" + kernelname.SocketTypes.Word(a.Type)}, words...)...)...)
	}
	if s.addressed {
		own, peer := s.address(a.Address), []string{"label=" + quoting(literal(a.Peer), false)}
		if addr := s.address(a.PeerAddress); addr != "" {
			peer = append(peer, addr)
		}
		const peered = meaning.MayConnect | meaning.MaySend | meaning.MayReceive
		if a.Want&peered != 0 {
			add(own, "peer=("+strings.Join(peer, ", ")+")")
			add("peer=(" + strings.Join(peer, ", ") + ")")
		}
		if a.Want != meaning.MayCreate {
			add(own)
		}
		if path := a.PeerAddress; a.Want&peered != 0 && strings.HasPrefix(path, "/") {
			all = append(all, files(t, path, "rw", a.Owner, exact)...)
		}
	}
	if s.permitted {
		add()
	}
	return append(all, one("network", "unix", kernelname.SocketTypes.Word(a.Type))...)
}

// address is the condition on an address that is no path.
func (s style) address(address string) string {
	switch {
	case strings.HasPrefix(address, "/"):
		return ""
	case address == "":
		return "addr=none"
	}
	return "addr=" + quoting(literal(address), false)
}

// mount are the rules for a mount. What its kind does not have is not written.
func (s style) mount(a meaning.MountAccess) [][]rule {
	a = a.Asked()
	flags, named := mountFlags(a.Flags)
	if !named {
		return nil
	}
	first, source := "mount", ""
	if a.Flags&kernelname.Remount != 0 {
		first = "remount"
	}
	words := []string{first}
	if a.Type != "" {
		words = append(words, "fstype="+quoting(literal(a.Type), false))
	}
	words = append(words, "options=("+strings.Join(flags, ", ")+")")
	if a.Source != "" {
		source = s.path(a.Source)
		words = append(words, source)
	}
	if first == "remount" {
		return [][]rule{{{words: append(words, s.path(a.Target))}}, {{words: append(words, "->", s.path(a.Target))}}}
	}
	return [][]rule{{{words: append(words, "->", s.path(a.Target))}}}
}

// mountFlags returns the words for flags, and whether each of them has one.
func mountFlags(flags uint32) (all []string, named bool) {
	if flags&1 == 0 {
		all = append(all, "rw")
	}
	for _, f := range kernelname.MountFlags {
		if f.Flag != 0 && f.Flag != kernelname.Remount && flags&f.Flag == f.Flag {
			all = append(all, f.Word)
			flags &^= f.Flag
		}
	}
	return all, flags&^kernelname.Remount == 0
}

// dbus is a rule for an access to a message bus, with the conditions that the kind of access has.
func (s style) dbus(a meaning.DBusAccess) []string {
	words := []string{"dbus", "bus=" + quoting(literal(a.Bus), false)}
	add := func(key, value string) {
		if value != "" {
			words = append(words, key+"="+quoting(literal(value), false))
		}
	}
	switch a.Want {
	case meaning.DBusEavesdrop:
	case meaning.DBusBind:
		add("name", a.Name)
	default:
		add("path", a.Path)
		add("interface", a.Interface)
		add("member", a.Member)
		peer := []string{"label=" + quoting(literal(a.Label), false)}
		if a.Name != "" {
			peer = append(peer, "name="+quoting(literal(a.Name), false))
		}
		words = append(words, "peer=("+strings.Join(peer, ", ")+")")
	}
	return words
}

// about reports whether two rules are about the same, so that one with the permissions of both does.
func (r rule) about(other rule) bool {
	if r.file() && other.file() {
		return r.owner == other.owner && r.pattern == other.pattern
	}
	return !r.file() && slices.Equal(r.words, other.words) && (r.of == nil) == (other.of == nil)
}
