package store

import (
	"errors"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// A Locator is a Compiler that names the source of a profile's text as its own errors do. The profile's Source field
// may name it in another way.
type Locator interface {
	Locate(p *policy.Profile) string
}

// checkStop refuses a profile if an unconfined process may not send SIGKILL to the processes under it. Most runtimes
// are unconfined, and such a runtime could not stop the profile's containers.
//
// Every child and hat of the profile must allow the signal as well: the profile's rules may put the first process of a
// container under a child. In a stack every part must allow the signal, so a profile that is only used as a floor must
// allow it, too. checkStop judges the compiled profile, not its text.
func checkStop(p *policy.Profile, b profile.Blob, c Compiler) error {
	fault := profile.TextError{Source: p.Source, Err: profile.ErrRefused}
	if l, ok := c.(Locator); ok {
		fault.Source = l.Locate(p)
	}
	compiled, err := meaning.Read(b.Data)
	if err != nil {
		fault.Msg = fmt.Sprintf("what profile %s compiles to cannot be read: %v", p.Name, err)
		fault.Err = errors.Join(profile.ErrRefused, err)
		return &fault
	}
	for _, m := range compiled {
		if m.Allowed(m.Signal(meaning.MayRead, meaning.SIGKILL, "unconfined"), meaning.MayRead) {
			continue
		}
		fault.Line = syntax.Read(string(p.Text)).Line(m.Name)
		where := ""
		if m.Name != p.Name {
			where = " in that child or hat, as the rules around it are not its own"
		}
		fault.Msg = fmt.Sprintf("an unconfined runtime cannot kill what runs under profile %s, alone or in a stack, so that its "+
			"containers could not be stopped: add signal (receive) peer={unconfined,runc,crun}%s, and deny no such signal", m.Name, where)
		return &fault
	}
	return nil
}
