package combine

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// said says how a text would differ from what is wanted: by an access that it would allow, with more, or would not.
func (c *combination) said(what string, more bool) string {
	switch {
	case more && c.all:
		return fmt.Sprintf("rules that say just this were not found: those that were would allow %s, which not all of them allow", what)
	case more:
		return fmt.Sprintf("rules that say just this were not found: those that were would allow %s, which none of them allows", what)
	}
	return "rules that say just this were not found: those that were would not allow " + what
}

// conflicting says of a program that each part has it go on in another way.
func (c *combination) conflicting(e meaning.Excess, of string) string {
	return fmt.Sprintf("a profile has one way for a program to go on, and of %s %s", oneline.Quote(e.Key), c.ways(e.Key, e.Owner, of))
}

// otherwise says of a program that it would go on under a profile in another way than is wanted.
func (c *combination) otherwise(p *meaning.Profile, path string, owner bool, of string) string {
	_, t := p.Exec(meaning.ExecAccess{Path: path, Owner: owner})
	return fmt.Sprintf("rules that say just this were not found: those that were have %s go on %s, and of it %s", oneline.Quote(path), t.Own(p),
		c.ways(path, owner, of))
}

// ways says how a program goes on under each part that executes it.
func (c *combination) ways(path string, owner bool, of string) string {
	var ways []string
	for _, p := range c.parts {
		one, _ := p.block(of)
		if one == nil {
			continue
		}
		_, t := one.Exec(meaning.ExecAccess{Path: path, Owner: owner})
		ways = append(ways, fmt.Sprintf("%s has it go on %s", p.Name, t.Own(one)))
	}
	return strings.Join(ways, ", and ")
}

// excess says what it is that one side allows and the other one does not.
func excess(e meaning.Excess) string {
	fields := strings.Split(e.Key, "\x00")
	switch e.Class {
	case meaning.File:
		if len(fields) > 1 && e.Perms&meaning.LinkFree != 0 {
			return fmt.Sprintf("to link %s to %s where the link has rights that its target does not have", oneline.Quote(fields[0]),
				oneline.Quote(fields[1]))
		}
		if len(fields) > 1 && e.Perms == meaning.EnvironmentKept {
			return fmt.Sprintf("%s to keep its environment when it goes on under %s", oneline.Quote(fields[0]), oneline.Quote(fields[1]))
		}
		what := permissions(e.Perms, map[uint32]string{meaning.MayRead: "read", meaning.MayWrite: "write", meaning.MayAppend: "append to",
			meaning.MayExec: "execute", meaning.MayMmapExec: "map for execution", meaning.MayLock: "lock", meaning.MayLink: "link",
			meaning.MayChangeProfile: "change to profile", meaning.MayOnExec: "change on exec to profile"})
		said := what + " " + oneline.Quote(fields[0])
		if len(fields) > 1 {
			said += " with " + oneline.Quote(fields[1])
		}
		if e.Owner {
			said += " as its owner"
		}
		return said
	case meaning.Capabilities:
		return "capability " + kernelname.Capability(int(e.Key[0]))
	case meaning.Signals:
		return fmt.Sprintf("to %s signal %s, peer %s", permissions(e.Perms, map[uint32]string{meaning.MayRead: "receive", meaning.MayWrite: "send"}),
			signal(e.Key), oneline.Quote(e.Key[min(1, len(e.Key)):]))
	case meaning.Label:
		return "ptrace of " + oneline.Quote(e.Key[min(1, len(e.Key)):])
	case meaning.Mount:
		return "a mount, or the like, at " + oneline.Quote(fields[0])
	case meaning.Net, meaning.NetV9:
		return fmt.Sprintf("a socket of family and type % x", e.Key)
	case meaning.DBus:
		said := "to " + permissions(e.Perms, map[uint32]string{meaning.DBusSend: "send", meaning.DBusReceive: "receive", meaning.DBusBind: "bind",
			meaning.DBusEavesdrop: "eavesdrop"}) + " by D-Bus"
		for i, name := range []string{"bus", "name", "label", "path", "interface", "member"}[:min(6, len(fields))] {
			if fields[i] != "" {
				said += ", " + name + " " + oneline.Quote(fields[i])
			}
		}
		return said
	case meaning.Namespaces:
		return "a user namespace"
	}
	return fmt.Sprintf("access %s of class %d", oneline.Quote(e.Key), e.Class)
}

func signal(key string) string {
	if key == "" {
		return "0"
	}
	return meaning.Signal(key[0]).String()
}

// permissions returns the names of permissions.
func permissions(set uint32, names map[uint32]string) string {
	var all []string
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if name := names[bit]; set&bit != 0 && name != "" {
			all = append(all, name)
		}
	}
	if len(all) == 0 {
		return fmt.Sprintf("permission %#x of", set)
	}
	return strings.Join(all, " and ")
}
