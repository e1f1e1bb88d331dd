package store

import (
	"errors"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
)

// Locator is a Compiler that names the source of a profile's text for errors, as it does in its own. A profile's Source
// names it otherwise.
type Locator interface {
	Locate(p *policy.Profile) string
}

// checkStop refuses a profile where no process that nothing confines, as a runtime is on most nodes, may send SIGKILL to what
// runs under it or under one of its children and hats: its containers could be stopped by none such. The first process of a
// container is under a child where the profile leads its program there. A part of a stack takes the permission from the whole
// stack, so a profile that is only meant for a floor needs it, too. What decides is what was compiled.
func checkStop(p *policy.Profile, b profile.Blob, c Compiler) error {
	fault := profile.TextError{Source: p.Source, Err: profile.ErrRefused}
	if l, ok := c.(Locator); ok {
		fault.Source = l.Locate(p)
	}
	compiled, err := meaning.Read(b.Data)
	if err != nil {
		fault.Msg, fault.Err = fmt.Sprintf("what profile %s compiles to cannot be read: %v", p.Name, err), errors.Join(profile.ErrRefused, err)
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
