package store

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Locator is a Compiler that names the source of a profile's text for errors, as it does in its own. A profile's Source
// names it otherwise.
type Locator interface {
	Locate(p *policy.Profile) string
}

// checkStop refuses a profile under which no process that nothing confines, as a runtime is on most nodes, may send SIGKILL:
// its containers could be stopped by nobody. A part of a stack takes the permission from the whole stack, so a profile that is
// only meant for a floor needs it, too. What decides is what was compiled.
func checkStop(p *policy.Profile, b profile.Blob, c Compiler) error {
	fault := profile.TextError{Source: p.Source}
	if l, ok := c.(Locator); ok {
		fault.Source = l.Locate(p)
	}
	compiled, err := meaning.Read(b.Data)
	if err != nil {
		fault.Msg, fault.Err = fmt.Sprintf("what profile %s compiles to cannot be read: %v", p.Name, err), err
		return &fault
	}
	for _, m := range compiled {
		if m.Name == p.Name && !m.Allowed(m.Signal(meaning.MayRead, meaning.SIGKILL, "unconfined"), meaning.MayRead) {
			fault.Line = lineOf(string(p.Text), p.Name)
			fault.Msg = fmt.Sprintf("profile %s lets nobody kill what runs under it, alone or in a stack, so that its containers "+
				"could not be stopped: add signal (receive) peer={unconfined,runc,crun}, and deny no such signal", p.Name)
			return &fault
		}
	}
	return nil
}

// lineOf returns the line of a text on which a profile begins, and 0 where it is written in a way that is not found.
func lineOf(text, name string) int {
	n := 0
	for line := range strings.Lines(text) {
		n++
		code, _, _ := strings.Cut(line, "#")
		words := strings.FieldsFunc(code, func(r rune) bool { return strings.ContainsRune(" \t\r\n{\"", r) })
		for i := 1; i < len(words); i++ {
			if words[i-1] == "profile" && words[i] == name {
				return n
			}
		}
	}
	return 0
}
