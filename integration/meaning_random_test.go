package integration

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// generator writes random profiles.
type generator struct{ *rand.Rand }

func (g generator) of(list ...string) string { return list[g.IntN(len(list))] }

// glob returns a path with globs in it.
func (g generator) glob() string {
	var b strings.Builder
	for range 1 + g.IntN(4) {
		b.WriteByte('/')
		for range 1 + g.IntN(3) {
			b.WriteString(g.of("a", "b", "srv", "x.y", "0", "-_", "*", "**", "?", "[a-c]", "[^a-c]", "[^/.]", "{a,b}", "{,c}",
				"{x,y{0,1}z}"))
		}
	}
	return b.String() + g.of("", "", "/", "/**", "*")
}

// label returns a pattern for labels.
func (g generator) label() string {
	return g.of("a", "b*", "unconfined", "x//&y", "{a,b}", "a//**", "*//&x", "[^a]*", "m-random*")
}

// rule returns a random rule. The parser that is given takes it.
func (g generator) rule(parser string) string {
	before := g.of("", "", "", "", "audit ", "deny ", "audit deny ")
	if parser >= "4.1" && g.IntN(6) == 0 {
		before = g.of("priority=1 ", "priority=-1 ", "priority=3 ") + before
	}
	owner := g.of("", "", "owner ")
	var set []string
	for _, s := range strings.Fields("hup int kill term usr1 cont stop exists rtmin+0 rtmin+3 rtmin+32") {
		if g.IntN(5) == 0 {
			set = append(set, s)
		}
	}
	signals := ""
	if len(set) > 0 {
		signals = " set=(" + strings.Join(set, ",") + ")"
	}
	unordered := !strings.Contains(before, "priority=") // such a rule may have one
	switch n := g.IntN(20); {
	case n < 8:
		return before + owner + g.glob() + " " + g.of("r", "w", "rw", "a", "rk", "mr", "rwk", "wl", "l") + ","
	case n < 10 && strings.Contains(before, "deny"):
		return before + g.glob() + " " + g.of("rwlkx", "x") + "," // only such a rule names no way to execute
	case n < 11:
		return before + g.of("link ", "owner link ", "link subset ", "owner link subset ") + g.glob() + " -> " + g.glob() + ","
	case n < 14:
		return before + "signal " + g.of("", "(send)", "(receive)", "(send,receive)") + signals +
			g.of("", " peer="+g.label()) + ","
	case n < 15:
		return before + "ptrace " + g.of("", "(read)", "(trace,tracedby)", "(readby)") + g.of("", " peer="+g.label()) + ","
	case n < 16 && unordered:
		return before + "network " + g.of("inet", "inet6", "unix", "netlink", "inet stream", "inet6 dgram", "unix stream",
			"netlink raw") + ","
	case n < 17 && unordered:
		return before + "capability " + g.of("chown", "sys_admin", "net_bind_service", "wake_alarm", "bpf") + ","
	case n < 18:
		return before + g.of(
			"mount "+g.glob()+" -> "+g.glob()+",",
			"mount fstype="+g.of("tmpfs", "{ext4,proc}", "*")+" -> "+g.glob()+",",
			"mount options=("+g.of("ro", "rw,bind", "rw,rbind", "rw,move", "ro,nosuid,nodev")+") "+g.glob()+" -> "+g.glob()+",",
			"mount options in (ro,nosuid,noexec) fstype=tmpfs,",
			"remount options=(ro,bind) "+g.glob()+",",
			"mount options=(rw,rslave) -> "+g.glob()+",",
		)
	case n < 19:
		return before + g.of("umount "+g.glob()+",", "pivot_root "+g.glob()+",", "pivot_root oldroot="+g.glob()+" "+g.glob()+",")
	}
	return "change_profile -> " + g.of("a", "b*", "x//y", "m-random*", "&b", "{a,b}") + ","
}

// execs returns rules about executing programs that do not contradict each other.
func (g generator) execs() (rules []string) {
	for i := range g.IntN(5) {
		rules = append(rules, fmt.Sprintf("/run%d/%s %s,", i, g.of("a", "*", "**", "{a,b}[0-9]"),
			g.of("ix", "px", "Px", "cx -> kid", "ux", "Ux", "pix", "cix -> kid", "pux", "px -> a", "pix -> b", "px -> a//&b",
				"Cx -> kid", "rix", "mrix")))
	}
	return rules
}

// profile returns the text of a random profile of this name, with children.
func (g generator) profile(name, parser string) string {
	rules := g.execs()
	for range 2 + g.IntN(25) {
		rules = append(rules, g.rule(parser))
	}
	g.Shuffle(len(rules), func(i, j int) { rules[i], rules[j] = rules[j], rules[i] })
	flags := g.of("", "", "", " flags=(complain)", " flags=(audit)", " flags=(attach_disconnected,mediate_deleted)",
		" flags=(kill)")
	abi := g.of("abi/3.0", "abi/3.0", "kernel")
	text := fmt.Sprintf("abi <%s>,\nprofile %s%s {\n  %s\n", abi, name, flags, strings.Join(rules, "\n  "))
	inner := slices.DeleteFunc(slices.Clone(rules), func(r string) bool { return strings.Contains(r, "kid") || g.IntN(2) == 0 })
	return text + "  profile kid {\n    " + strings.Join(inner, "\n    ") + "\n  }\n  ^hat { /** r, }\n}\n"
}
