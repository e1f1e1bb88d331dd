package apply

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"sync"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/lint"
)

// findings are the warnings about a policy's profiles. Several goroutines, each of which compiles a profile, add to
// them.
type findings struct {
	mu sync.Mutex
	of map[string][]string // lines, by profile
}

// add keeps what was said of a profile.
func (f *findings) add(name, source string, warnings []lint.Warning) {
	var lines []string
	for _, w := range warnings {
		lines = append(lines, WarningLine(source, w))
	}
	f.put(name, lines)
}

func (f *findings) get(name string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.of[name]
}

func (f *findings) put(name string, lines []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.of == nil {
		f.of = make(map[string][]string)
	}
	f.of[name] = lines
}

// lines returns the lines about all profiles, sorted by the profiles' names.
func (f *findings) lines() (all []string) {
	for _, name := range slices.Sorted(maps.Keys(f.of)) {
		all = append(all, f.of[name]...)
	}
	return all
}

// WarningLine returns a warning in the form that editors and compilers share, SOURCE:LINE: warning: MESSAGE [CHECK].
// source names the text; for a warning about an included file, that file takes its place.
func WarningLine(source string, w lint.Warning) string {
	at := profile.TextError{Source: cmp.Or(w.File, source), Line: w.Line, Msg: "warning: " + w.Message + " [" + w.Check + "]"}
	return at.Error()
}

// faultsIn returns an error for those warnings that are faults in a policy, or nil.
func faultsIn(source string, warnings []lint.Warning) error {
	var faults []error
	for _, w := range warnings {
		if w.Fault {
			faults = append(faults, &profile.TextError{Source: cmp.Or(w.File, source), Line: w.Line, Msg: w.Message,
				Err: profile.ErrRefused})
		}
	}
	return errors.Join(faults...)
}
