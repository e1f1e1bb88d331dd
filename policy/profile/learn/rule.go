package learn

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/ruletext"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
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
	return relabelled(a, func(label string) string {
		parts := strings.Split(label, "//&")
		for i, part := range parts {
			if name, _, _ := strings.Cut(part, "//"); r.Of(name) {
				parts[i] = own
			}
		}
		return strings.Join(parts, "//&")
	})
}

// named returns an access with a profile's name in place of own.
func named(a meaning.Access, name string) meaning.Access {
	return relabelled(a, func(label string) string { return strings.ReplaceAll(label, own, name) })
}

// relabelled returns an access with what a function makes of the label of whom it is about.
func relabelled(a meaning.Access, label func(string) string) meaning.Access {
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

// style is how the rules of a text are written.
var style = ruletext.Style{Own: own, Variables: syntax.Read(variables)}

// variables are in each text, by AppArmor's own files or else by these lines.
const variables = "@{PROC}=/proc/\n@{pid}=[0-9]*\n@{tid}=[0-9]*\n"

// ruleFor returns the rule for an access. why says in a clause why there is none.
func ruleFor(a meaning.Access) (one rule, why string) {
	kind := others
	switch is := a.(type) {
	case meaning.FileAccess:
		return fileRule(is.Path, is.Want, is.Owner, false), ""
	case meaning.ExecAccess:
		return fileRule(is.Path, 0, is.Owner, true), ""
	case meaning.LinkAccess:
		is.Owner = is.Owner && ownedAt(is.Path)
		kind, a = links, is
	case meaning.CapabilityAccess:
		kind, why = capabilities, "the use of a capability for which there is no name"
	case meaning.SocketAccess, meaning.UnixAccess:
		kind = sockets
	case meaning.SignalAccess:
		kind = signals
	case meaning.PtraceAccess:
		kind = traces
	case meaning.MountAccess, meaning.UmountAccess, meaning.PivotRootAccess:
		kind, why = mounts, "a mount with flags for which rules have no word"
	case meaning.RlimitAccess:
		return rule{}, "a limit of resources that was set: a rule about limits would set it for every program"
	case meaning.ChangeProfileAccess, meaning.ChangeHatAccess:
		return rule{}, "a change of the profile, which would lead out of it: write a rule by hand if the workload is to change its profile"
	}
	rules := style.Rules(a, false)
	if len(rules) == 0 {
		return rule{}, cmp.Or(why, fmt.Sprintf("an access of a kind for which no rules are made here (%T)", a))
	}
	text := rules[0][0]
	return rule{key: key{kind, text.Key()}, Rule: text, loose: len(text.Notes) > 0}, ""
}

func fileRule(path string, want uint32, owner, exec bool) rule {
	pattern, notes := ruletext.Literal(path), []string(nil)
	if !exec { // who may write another such name would choose what runs
		pattern, notes = ruletext.Widen(path, false, style.Variables)
	}
	one := rule{key: key{files, pattern}, path: path, loose: len(notes) > 0, exec: exec}
	if owner {
		one.owned = want
	} else {
		one.perms = want
	}
	return one
}

// texts returns the text of a rule, which for a file may take two: for anybody and for owners.
func (r *rule) texts() (texts []string) {
	if r.kind != files {
		return []string{r.Text(style)}
	}
	anybody, owners := r.perms, r.owned&^r.perms
	if !ownedAt(r.what) {
		anybody, owners = r.perms|r.owned, 0
	}
	pattern, _ := linked(r.what)
	of := ruletext.Rule{Pattern: pattern, Letters: ruletext.Letters(anybody)}
	if r.exec {
		of.Letters += "x"
	}
	if of.Letters != "" {
		texts = append(texts, of.Text(style))
	}
	of = ruletext.Rule{Pattern: pattern, Letters: ruletext.Letters(owners), Owner: true}
	if of.Letters != "" {
		texts = append(texts, of.Text(style))
	}
	return texts
}

// linked returns a pattern that also matches where a path leads if a directory of it is a link, as these are in most images.
// In the image that was recorded it is none, and the next one of that name may have it. to is what it leads to, and empty for
// a path that has no such directory.
func linked(pattern string) (both, to string) {
	for _, dir := range []string{"/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"} {
		if strings.HasPrefix(pattern, dir) {
			return "/{usr/,}" + pattern[1:], "/usr" + dir
		}
	}
	if rest, is := strings.CutPrefix(pattern, "/var/run/"); is {
		return "/{var/,}run/" + rest, "/run/"
	}
	if rest, is := strings.CutPrefix(pattern, "/var/lock/"); is {
		return "/{var,run}/lock/" + rest, "/run/lock/"
	}
	return pattern, ""
}

// ownedAt reports whether rules about a path say owner where only owners were seen: a process's own files in /proc, and
// where everybody may make files. Elsewhere root owns what root reads, and a rule with owner would say nothing.
func ownedAt(glob string) bool {
	for _, dir := range []string{"@{PROC}/@{pid}/", "/tmp/", "/var/tmp/", "/dev/shm/", "/home/", "/run/user/"} {
		if strings.HasPrefix(glob, dir) {
			return true
		}
	}
	return false
}
