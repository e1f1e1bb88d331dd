package access

import (
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A Dispute is an access that some kernels allow and others deny.
type Dispute struct {
	Access meaning.Access
	Some   meaning.KernelAnswer
}

// Disputes returns examples of the pattern that the stack allows, or with allowed false denies, and that some kernels decide
// the other way round: at most one for each kind of accesses and each kind of kernels. It says nothing of files and of other
// accesses about which kernels hardly differ, so as to take little time.
func (p Pattern) Disputes(s meaning.Stack, allowed bool) (all []Dispute, err error) {
	for _, q := range p.questions {
		if !disputed(s, q.like[0]) {
			continue
		}
		one := Pattern{line: p.line, questions: []question{q}}
		a, found, err := one.example(s, allowed)
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		for _, k := range s.Kernels(a) {
			is := func(d Dispute) bool { return d.Some.Kernels == k.Kernels && d.Some.Why == k.Why }
			if k.Answer.Allowed != allowed && !slices.ContainsFunc(all, is) {
				all = append(all, Dispute{a, k})
			}
		}
	}
	return all, nil
}

func disputed(s meaning.Stack, like meaning.Access) bool {
	switch like.(type) {
	case meaning.ExecAccess:
		return slices.ContainsFunc(s, func(p *meaning.Profile) bool { return p.Mode == meaning.Complain })
	case meaning.UsernsAccess, meaning.IOUringAccess, meaning.MqueueAccess, meaning.DBusAccess, meaning.SocketAccess, meaning.UnixAccess,
		meaning.MountAccess, meaning.SignalAccess, meaning.PtraceAccess:
		return true
	}
	return false
}
