package lint

import (
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// peers looks for the rules by which processes reach each other: signal and ptrace are mediated, and a profile without them
// denies both. No container runs under the profile of an engine's daemon.
func (l *linter) peers() {
	name := l.in.Name
	if root, _, _ := strings.Cut(name, "//"); slices.Contains(templates.Daemons(), root) {
		return
	}
	for _, c := range []struct{ class, access, fix string }{
		{"signal", "send receive", "signal (send,receive)"},
		{"ptrace", "trace tracedby read readby", "ptrace (trace,tracedby,read,readby)"},
	} {
		var want []string // peers that are not allowed
		missing := ""     // of the first of them, where some signals are allowed
		for _, peer := range []struct{ label, pattern string }{
			{name, "@{profile_name}"}, {name + "//&x", "@{profile_name}//&**"}, {"x//&" + name, "**//&@{profile_name}"},
			{"x//&" + name + "//&x", "**//&@{profile_name}//&**"},
		} {
			for access := range strings.FieldsSeq(c.access) {
				reached, first := l.reaches(access, peer.label)
				if !reached {
					if len(want) == 0 {
						missing = first
					}
					want = append(want, peer.pattern)
					break
				}
			}
		}
		if len(want) == 0 || c.class == "ptrace" && l.deniesTracing() {
			continue
		}
		what := "signal"
		if c.class == "ptrace" {
			what = "trace"
		} else if missing != "" {
			what = "send the signal " + missing + " to"
		}
		when := "where the profile is part of a stack (with a floor, under crun's own profile, with " +
			"kernel.apparmor_restrict_unprivileged_unconfined)"
		if want[0] == "@{profile_name}" {
			when = "at all"
		}
		peer := want[0]
		if len(want) > 1 {
			peer = "{" + strings.Join(want, ",") + "}"
		}
		l.warn(l.in.Line, "the container's processes cannot %s each other %s: add %s peer=%s,", what, when, c.fix, peer)
	}
	var want []string
	for i, peer := range append([]string{"unconfined", "runc", "crun"}, l.Senders...) {
		for _, signal := range []meaning.Signal{meaning.SIGTERM, meaning.SIGKILL} {
			if !l.compiled.Allowed(l.compiled.Signal(meaning.MayRead, signal, peer), meaning.MayRead) {
				if i >= 3 {
					peer = `"` + peer + `"`
				}
				want = append(want, "signal (receive) peer="+peer+",")
				break
			}
		}
	}
	if len(want) > 0 {
		l.warn(l.in.Line, "the container cannot be stopped by a runtime under one of the labels that it may have "+
			"(runc and crun have profiles since AppArmor 4.0, and on some nodes engines have): add %s", strings.Join(want, " "))
	}
}

// deniesTracing reports whether a rule denies to trace whoever it be, or to be traced. No rule that allows it could be
// added with an effect then, and containers do without it.
func (l *linter) deniesTracing() bool {
	return slices.ContainsFunc(l.rules, func(r rule) bool {
		return r.Deny && r.single != nil && slices.ContainsFunc([]uint32{meaning.MayWrite, meaning.MayRead, meaning.MayAppend,
			meaning.MayCreate}, func(want uint32) bool {
			return r.single.Decides(meaning.PtraceAccess{Want: want, Peer: anybody}) && r.single.Decides(meaning.PtraceAccess{Want: want, Peer: l.in.Name})
		})
	})
}

// anybody is a label that only patterns for all labels match.
const anybody = "oci-apparmor/any"

// accesses are the words of rules for what processes do to each other.
var accesses = func() map[string]uint32 {
	all := make(map[string]uint32)
	for _, p := range slices.Concat(meaning.SignalPermissions, meaning.PtracePermissions) {
		all[p.Word] = p.Bits
	}
	return all
}()

// reaches reports whether an access to a peer of this label is allowed, a signal's where all are. missing is the first
// that is not where others are.
func (l *linter) reaches(access, label string) (reached bool, missing string) {
	request := accesses[access]
	if access != "send" && access != "receive" {
		return l.compiled.Allowed(l.compiled.Ptrace(request, label), request), ""
	}
	some := false
	for signal := meaning.Signal(1); signal <= meaning.LastSignal; signal++ {
		if l.compiled.Allowed(l.compiled.Signal(request, signal, label), request) {
			some = true
		} else if missing == "" {
			missing = signal.String()
		}
	}
	if reached = missing == ""; !some {
		missing = ""
	}
	return reached, missing
}
