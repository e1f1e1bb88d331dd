package lint

import (
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// sysAdmin is CAP_SYS_ADMIN, without which the kernel mounts nothing, whichever call asks for it.
const sysAdmin = 21

// OldMounts returns a warning for each profile that limits mounts. It is for a kernel that enforces such limits only in
// mount(2), not in the newer mount calls: one without profile.NewMountFeature. OldMounts does not warn of a profile
// without the capability sys_admin, since nothing can mount under it. The arguments are as in NotEnforced.
func OldMounts(text string, included []byte, files []profile.Text, compiled []*meaning.Profile) []Warning {
	own := syntax.Read(text)
	l := &linter{Text: own, check: "not-enforced"}
	if included != nil {
		l.Text = own.WithIncludes(string(included))
	}
	for _, b := range l.Blocks {
		p := profileOf(compiled, b.Name)
		if p == nil || !p.Mediates(meaning.Mount) || p.Capability(sysAdmin).Allow == 0 {
			continue
		}
		r, ok := limitsMounts(b)
		if !ok {
			continue
		}
		l.in = b
		l.warn(r.Line, "\"%s\" does not hold for the newer mount calls, which this kernel does not mediate (Linux "+
			"6.12 does): deny capability sys_admin as well, which every mount needs", oneline.Cut(r.Text, maxRule))
		if w := &l.found[len(l.found)-1]; !r.Own {
			w.File, w.Line = finder(files)(r.Text)
		}
	}
	return l.found
}

// limitsMounts returns the first rule of a profile that says which mounts it allows or denies; none where it allows all.
func limitsMounts(b *syntax.Block) (limit syntax.Rule, ok bool) {
	all := false
	for _, r := range b.Rules {
		if first := r.First(); first != "mount" && first != "all" {
			continue
		}
		switch {
		case r.Deny && (!ok || !limit.Deny):
			limit, ok = r, true
		case !r.Deny && len(r.Words) == 1:
			all = true
		case !ok:
			limit, ok = r, true
		}
	}
	return limit, ok && (limit.Deny || !all)
}
