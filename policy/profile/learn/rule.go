package learn

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A kind is a kind of rules. They stand in the text in this order.
type kind uint8

const (
	files kind = iota
	links
	capabilities
	sockets
	signals
	traces
	mounts
	others
)

// titles begin the parts of a text.
var titles = map[kind]string{
	files: "Files. ix: the program goes on under this profile.", links: "Hard links.", capabilities: "Capabilities.", sockets: "Sockets.",
	signals: "Signals to and from others.", traces: "Processes of others.", mounts: "Mounts.", others: "Others.",
}

// own stands in an access for the label of the recording profile, which has another name than the profile that is made. It
// is no label.
const own = "@{profile_name}"

// ours returns an access with own in place of the recording's labels.
func (r *Recording) ours(a meaning.Access) meaning.Access {
	label := func(l string) string {
		parts := strings.Split(l, "//&")
		for i, part := range parts {
			if name, _, _ := strings.Cut(part, "//"); r.Of(name) {
				parts[i] = own
			}
		}
		return strings.Join(parts, "//&")
	}
	switch a := a.(type) {
	case meaning.SignalAccess:
		a.Peer = label(a.Peer)
		return a
	case meaning.PtraceAccess:
		a.Peer = label(a.Peer)
		return a
	case meaning.UnixAccess:
		a.Peer = label(a.Peer)
		return a
	case meaning.DBusAccess:
		a.Label = label(a.Label)
		return a
	case meaning.IOUringAccess:
		a.Label = label(a.Label)
		return a
	}
	return a
}

// named returns an access with a profile's name in place of own.
func named(a meaning.Access, name string) meaning.Access {
	switch a := a.(type) {
	case meaning.SignalAccess:
		a.Peer = strings.ReplaceAll(a.Peer, own, name)
		return a
	case meaning.PtraceAccess:
		a.Peer = strings.ReplaceAll(a.Peer, own, name)
		return a
	case meaning.UnixAccess:
		a.Peer = strings.ReplaceAll(a.Peer, own, name)
		return a
	case meaning.DBusAccess:
		a.Label = strings.ReplaceAll(a.Label, own, name)
		return a
	case meaning.IOUringAccess:
		a.Label = strings.ReplaceAll(a.Label, own, name)
		return a
	}
	return a
}

// labelWord returns a label as a rule has it.
func labelWord(label string) string {
	parts := strings.Split(label, own)
	for i := range parts {
		parts[i] = literal(parts[i])
	}
	return `"` + strings.Join(parts, own) + `"`
}

// ruleFor returns the rule for an access. why says in a clause why there is none.
func ruleFor(a meaning.Access) (one rule, why string) {
	is := func(k kind, format string, args ...any) (rule, string) {
		return rule{key: key{k, fmt.Sprintf(format, args...)}}, ""
	}
	switch a := a.(type) {
	case meaning.FileAccess:
		return fileRule(a.Path, a.Want, a.Owner, false), ""
	case meaning.ExecAccess:
		return fileRule(a.Path, 0, a.Owner, true), ""
	case meaning.LinkAccess:
		at, _ := pattern(a.Path)
		to, _ := pattern(a.Target)
		return is(links, "link %s -> %s", word(at), word(to))
	case meaning.CapabilityAccess:
		if int(a) >= len(kernelname.Capabilities) {
			return rule{}, "the use of a capability for which there is no name"
		}
		return is(capabilities, "capability %s", kernelname.Capabilities[a])
	case meaning.SocketAccess:
		return is(sockets, "network %s %s", kernelname.Families.Word(a.Family), kernelname.SocketTypes.Word(a.Type))
	case meaning.UnixAccess:
		return is(sockets, "network unix %s", kernelname.SocketTypes.Word(a.Type))
	case meaning.SignalAccess:
		one, _ = is(signals, "peer=%s", labelWord(a.Peer))
		one.perms = a.Want
		one.signals = []string{a.Signal.String()}
		return one, ""
	case meaning.PtraceAccess:
		one, _ = is(traces, "peer=%s", labelWord(a.Peer))
		one.perms = a.Want
		return one, ""
	case meaning.MountAccess:
		text, ok := mountRule(a)
		if !ok {
			return rule{}, "a mount with flags for which rules have no word"
		}
		return is(mounts, "%s", text)
	case meaning.UmountAccess:
		return is(mounts, "umount %s", pathWord(a.Target))
	case meaning.PivotRootAccess:
		return is(mounts, "pivot_root oldroot=%s %s", pathWord(a.Old), pathWord(a.New))
	case meaning.RlimitAccess:
		return rule{}, "a limit of resources that was set: a rule about limits would set it for every program"
	case meaning.UsernsAccess:
		return is(others, "userns create")
	case meaning.IOUringAccess:
		if a.Override {
			return is(others, "io_uring override_creds label=%s", labelWord(a.Label))
		}
		return is(others, "io_uring sqpoll")
	case meaning.ChangeProfileAccess, meaning.ChangeHatAccess:
		return rule{}, "a change of the profile, which would lead out of it: write a rule by hand if the workload is to change its profile"
	}
	return rule{}, fmt.Sprintf("an access of a kind for which no rules are made here (%T)", a)
}

func pathWord(path string) string {
	glob, _ := pattern(path)
	return word(glob)
}

func fileRule(path string, want uint32, owner, exec bool) rule {
	glob, loose := pattern(path)
	one := rule{key: key{files, glob}, path: path, loose: loose, exec: exec}
	if owner {
		one.owned = want
	} else {
		one.perms = want
	}
	return one
}

// mountRule writes the rule for a mount. ok is false if there are no words for its flags.
func mountRule(a meaning.MountAccess) (text string, ok bool) {
	var flags []string
	left := a.Flags
	for _, f := range kernelname.MountFlags { // rbind stands ahead of bind
		if f.Flag != 0 && left&f.Flag == f.Flag {
			flags, left = append(flags, f.Word), left&^f.Flag
		}
	}
	if len(flags) == 0 {
		flags = []string{"rw"}
	}
	words := []string{"mount"}
	const shares = 1<<20 | 1<<19 | 1<<18 | 1<<17
	fresh := a.Flags&(kernelname.Bind|kernelname.Move|kernelname.Remount|shares) == 0
	if fresh && a.Type != "" {
		words = append(words, `fstype="`+literal(a.Type)+`"`)
	}
	words = append(words, "options=("+strings.Join(flags, ",")+")")
	if a.Source != "" && (fresh || a.Flags&(kernelname.Bind|kernelname.Move) != 0) {
		words = append(words, pathWord(a.Source))
	}
	return strings.Join(append(words, "->", pathWord(a.Target)), " "), left == 0
}

// letters returns the permissions of a rule about a file as it has them.
func letters(perms uint32, exec bool) string {
	var b strings.Builder
	const write = meaning.MayWrite | meaning.MayCreate | meaning.MayDelete | meaning.MayRename | meaning.MaySetAttr | meaning.MayChmod | meaning.MayChown
	for _, of := range []struct {
		letter byte
		perms  uint32
	}{{'m', meaning.MayMmapExec}, {'r', meaning.MayRead | meaning.MayGetAttr}, {'w', write}, {'k', meaning.MayLock}, {'l', meaning.MayLink}} {
		if perms&of.perms != 0 {
			b.WriteByte(of.letter)
		}
	}
	text := b.String()
	if perms&meaning.MayAppend != 0 && perms&write == 0 { // which w includes, and a rule cannot have both
		text += "a"
	}
	if exec {
		text += "ix"
	}
	return text
}

// lines writes a rule, which for a file may take two: for anybody and for owners.
func (r *rule) lines() []string {
	switch r.kind {
	case files:
		anybody, owners := r.perms, r.owned&^r.perms
		if !ownedAt(r.what) {
			anybody, owners = r.perms|r.owned, 0
		}
		var lines []string
		if text := letters(anybody, r.exec); text != "" {
			lines = append(lines, word(r.what)+" "+text)
		}
		if text := letters(owners, false); text != "" {
			lines = append(lines, "owner "+word(r.what)+" "+text)
		}
		return lines
	case signals:
		set := "set=(" + strings.Join(slices.Sorted(slices.Values(r.signals)), ",") + ") "
		if slices.Contains(r.signals, "unknown") { // which no rule can name
			set = ""
		}
		return []string{"signal (" + accesses(r.perms, "send", "receive", "", "") + ") " + set + r.what}
	case traces:
		return []string{"ptrace (" + accesses(r.perms, "trace", "read", "tracedby", "readby") + ") " + r.what}
	}
	return []string{r.what}
}

// accesses returns the words for the permissions of a rule about a peer.
func accesses(perms uint32, write, read, appended, create string) string {
	var words []string
	for _, of := range []struct {
		perm uint32
		word string
	}{{meaning.MayWrite, write}, {meaning.MayRead, read}, {meaning.MayAppend, appended}, {meaning.MayCreate, create}} {
		if perms&of.perm != 0 && of.word != "" {
			words = append(words, of.word)
		}
	}
	return strings.Join(words, ",")
}
