package ruletext

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Rules returns rules that may allow an access, the best first. Each is a set of rules that are needed together. Which of
// them does allow it is proven by who calls. exact leaves out those that are about other paths, too. Of an access that no
// rule allows, there are none.
func (s Style) Rules(a meaning.Access, exact bool) (all [][]Rule) {
	if !exact {
		all = (&writing{Style: s, wide: true}).rules(a)
	}
	for _, some := range (&writing{Style: s}).rules(a) {
		if !slices.ContainsFunc(all, func(other []Rule) bool {
			return slices.EqualFunc(some, other, func(a, b Rule) bool { return a.Text(s) == b.Text(s) })
		}) {
			all = append(all, some)
		}
	}
	return all
}

// writing is how an access is written.
type writing struct {
	Style
	wide  bool     // paths stand for all like them
	notes []string // about the paths so far
}

func (w *writing) rules(a meaning.Access) [][]Rule {
	switch a := a.(type) {
	case meaning.FileAccess:
		return w.file(a.Path, Letters(a.Want), a.Owner)
	case meaning.ExecAccess:
		return (&writing{Style: w.Style}).file(a.Path, "x", a.Owner) // never wide: who may write such a name would choose what runs
	case meaning.LinkAccess:
		if a.Owner {
			return w.one("owner", "link", w.path(a.Path), "->", w.path(a.Target))
		}
		return w.one("link", w.path(a.Path), "->", w.path(a.Target))
	case meaning.SocketAccess:
		return w.one("network", kernelname.Families.Word(a.Family), kernelname.SocketTypes.Word(a.Type))
	case meaning.UnixAccess:
		return w.unix(a)
	case meaning.MountAccess:
		return w.mount(a)
	case meaning.UmountAccess:
		return w.one("umount", w.path(a.Target))
	case meaning.PivotRootAccess:
		return w.one("pivot_root", "oldroot="+w.path(a.Old), w.path(a.New))
	case meaning.ChangeProfileAccess:
		return w.change(a)
	}
	return w.others(a)
}

// others are the rules for accesses that are about no path.
func (w *writing) others(a meaning.Access) [][]Rule {
	switch a := a.(type) {
	case meaning.CapabilityAccess:
		if int(a) < len(kernelname.Capabilities) {
			return w.one("capability", kernelname.Capabilities[a])
		}
	case meaning.SignalAccess:
		all := w.some(a.Want, meaning.SignalPermissions, "signal", w.peer(a.Peer))
		if word := a.Signal.String(); word != "unknown" { // which no rule can name
			all[0][0].signals = []string{word}
		}
		return all
	case meaning.PtraceAccess:
		return w.some(a.Want, meaning.PtracePermissions, "ptrace", w.peer(a.Peer))
	case meaning.UsernsAccess:
		return w.one("userns")
	case meaning.IOUringAccess:
		if a.Override {
			return w.one("io_uring", "(override_creds)", "label="+Quoted(w.label(a.Label), false))
		}
		return w.one("io_uring", "(sqpoll)")
	case meaning.MqueueAccess:
		return w.some(a.Want, meaning.MqueuePermissions, "mqueue", "type=posix", w.path(a.Name))
	case meaning.DBusAccess:
		return w.some(a.Want, meaning.DBusPermissions, w.dbus(a)...)
	}
	return nil
}

// one is a single rule.
func (w *writing) one(words ...string) [][]Rule { return w.some(0, nil, words...) }

// some is a single rule with permissions.
func (w *writing) some(want uint32, of []meaning.Permission, words ...string) [][]Rule {
	return [][]Rule{{{words: words, Want: want, of: of, Notes: w.notes}}}
}

// change are the rules for a change to another label: with the exec of one program, or else at any time.
func (w *writing) change(a meaning.ChangeProfileAccess) [][]Rule {
	label := Quoted(Literal(a.Label), w.Quoted)
	if a.Stack {
		label = Quoted("&"+Literal(a.Label), true)
	}
	all := w.one("change_profile", "->", label)
	if a.Program != "" {
		all = append(w.one("change_profile", w.path(a.Program), "->", label), all...)
	}
	return all
}

// file is the rule for a file.
func (w *writing) file(path, letters string, owner bool) [][]Rule {
	r := Rule{Owner: owner, Pattern: Literal(path), Letters: letters}
	if w.wide {
		r.Pattern, r.Notes = Widen(path, owner, w.Variables)
	}
	return [][]Rule{{r}}
}

// path returns a path as a word. A variable in it would say nothing by itself.
func (w *writing) path(path string) string {
	if w.wide {
		if pattern, notes := Widen(path, false, w.Variables); len(notes) > 0 {
			w.notes = append(w.notes, notes...)
			return Quoted(pattern, w.Quoted)
		}
	}
	return Quoted(Literal(path), w.Quoted)
}

// label returns the pattern of a label. Only some profiles write their own name as the variable.
func (w *writing) label(label string) string {
	parts := strings.Split(label, "//&")
	for i, part := range parts {
		if parts[i] = Literal(part); w.Own != "" && part == w.Own {
			parts[i] = "@{profile_name}"
		}
	}
	return strings.Join(parts, "//&")
}

// peer is the condition on a peer.
func (w *writing) peer(label string) string { return "peer=" + Quoted(w.label(label), w.Quoted) }

// unix are the rules for a socket of AF_UNIX. Kernels before Linux 6.17 know no addresses, and for some of them the parser
// leaves out the permissions, too: a rule says no more than it means. No rule takes a path as an address: where a socket has
// one, the rules about files decide.
func (w *writing) unix(a meaning.UnixAccess) (all [][]Rule) {
	add := func(words ...string) {
		words = slices.DeleteFunc(words, func(w string) bool { return w == "" })
		all = append(all, w.some(a.Want, meaning.SocketPermissions, append([]string{"unix", "type=" + kernelname.SocketTypes.Word(a.Type)}, words...)...)...)
	}
	if w.Addressed {
		own, peer := w.address(a.Address), []string{"label=" + Quoted(w.label(a.Peer), false)}
		if addr := w.address(a.PeerAddress); addr != "" {
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
			all = append(all, w.file(path, "rw", a.Owner)...)
		}
	}
	if w.Permitted {
		add()
	}
	return append(all, w.one("network", "unix", kernelname.SocketTypes.Word(a.Type))...)
}

// address is the condition on an address that is no path.
func (w *writing) address(address string) string {
	switch {
	case strings.HasPrefix(address, "/"):
		return ""
	case address == "":
		return "addr=none"
	}
	return "addr=" + Quoted(Literal(address), false)
}

// mount is the rule for a mount. What its kind does not have is not written.
func (w *writing) mount(a meaning.MountAccess) [][]Rule {
	a = a.Asked()
	flags, named := mountFlags(a.Flags)
	if !named {
		return nil
	}
	words := []string{"mount"}
	if a.Flags&kernelname.Remount != 0 {
		words = []string{"remount"}
	}
	if a.Type != "" {
		words = append(words, "fstype="+Quoted(Literal(a.Type), false))
	}
	words = append(words, "options=("+strings.Join(flags, ", ")+")")
	if a.Source != "" {
		words = append(words, w.path(a.Source))
	}
	if words[0] != "remount" {
		words = append(words, "->")
	}
	return w.one(append(words, w.path(a.Target))...)
}

// mountFlags returns the words for flags, and whether each of them has one. The parser takes a rule with rw and bind for one
// about new mounts, too (mnt_rule::gen_policy_re, parser/mount.cc).
func mountFlags(flags uint32) (all []string, named bool) {
	if changes := flags&kernelname.Remount == 0 && flags&(kernelname.Bind|kernelname.Move|kernelname.Propagation) != 0; flags&1 == 0 && !changes {
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
func (w *writing) dbus(a meaning.DBusAccess) []string {
	words := []string{"dbus", "bus=" + Quoted(Literal(a.Bus), false)}
	add := func(key, value string) {
		if value != "" {
			words = append(words, key+"="+Quoted(Literal(value), false))
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
		peer := []string{"label=" + Quoted(w.label(a.Label), false)}
		if a.Name != "" {
			peer = append(peer, "name="+Quoted(Literal(a.Name), false))
		}
		words = append(words, "peer=("+strings.Join(peer, ", ")+")")
	}
	return words
}
