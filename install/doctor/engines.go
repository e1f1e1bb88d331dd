package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook/version"
	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

var engineChecks = []Check{
	{
		ID: "engine-unwired", Severity: Note,
		Looks: "Which engines are on the node and do not come to us. Their containers are under what the engine chooses.",
		Do:    "Run oci-apparmor install, if containers of these are to be covered.",
		find: func(x *exam) ([]found, error) {
			states, err := x.engines()
			if x.Root {
				err = nil // wiring-interrupted
			}
			var names []string
			for i := range states {
				s := &states[i]
				if s.Absent != "" || s.Err != nil || s.Wired() || s.Recorded || s.Has(host.Foreign) {
					continue
				}
				name := s.Title
				if s.Down && x.Root {
					name += " (which does not run)"
				}
				names = append(names, name)
			}
			if len(names) == 0 {
				return nil, err
			}
			return one("not wired to oci-apparmor: %s", strings.Join(names, ", ")), err
		},
	},
	{
		ID: "engine-unreadable", Severity: Error,
		Looks: "Whether each engine's configuration can be read.",
		Do:    "Mend the file that it names: the engine itself would not start with it.",
		find: func(x *exam) ([]found, error) {
			all, err := findStates(func(s *engines.State) []found {
				if s.Err == nil || !x.Root && cannotSee(s.Err) {
					return nil
				}
				return one("%s: %v", s.Title, s.Err)
			})(x)
			var unseen []error
			states, _ := x.engines()
			for i := range states {
				if s := &states[i]; s.Err != nil && !x.Root && cannotSee(s.Err) {
					unseen = append(unseen, errAsUser("the configuration of "+s.Title))
				}
			}
			if len(unseen) > 0 { // other checks have what else was not seen
				err = errors.Join(unseen...)
			}
			return all, err
		},
	},
	{
		ID: "wiring-lost", Severity: Error,
		Looks: "Whether what install wrote into an engine's files is there still. A package, a tool or somebody may have written them anew.",
		Do:    "Find out who writes the file, and run oci-apparmor install again.",
		find: findStates(func(s *engines.State) []found {
			if !s.Recorded || s.Wired() || s.Err != nil || s.Has(host.Foreign) {
				return nil
			}
			why := "its files have nothing of ours any more"
			if s.Absent != "" {
				why = s.Absent
			}
			return one("%s was wired by install (%s), and %s", s.Title, some(paths(s.Record)), why)
		}),
	},
	{
		ID: "wiring-interrupted", Severity: Error,
		Looks: "Whether an install or uninstall was killed half-way, or what they have written down cannot be read.",
		Do:    "Run oci-apparmor install or uninstall, whichever was killed: it is finished or taken back.",
		find: func(x *exam) ([]found, error) {
			_, err := x.engines()
			switch {
			case errors.Is(err, wire.ErrUnderWay):
				return nil, fmt.Errorf("what install has wired: %w", err)
			case err != nil && x.Root:
				return one("%v", err), nil
			}
			return nil, nil
		},
	},
	fault(host.Refuses, Error, "Whether the engine's own check takes its configuration: it would not start with it.",
		"Mend what it names."),
	fault(host.Ignored, Error, "Whether the engine reads our runtime from its files, and starts that and no other.",
		"Run oci-apparmor uninstall and install for it again, so that it is written where the engine reads it."),
	fault(host.ProgramGone, Error, "Whether the program that an engine is pointed at is there, and nobody but root can write it.",
		"Install our programs again, by make install or the package, and run oci-apparmor install."),
	{
		ID: "program-version", Severity: Warning,
		Looks: "Whether each engine starts a program of the version that this one is. Another may read neither its policy nor its records.",
		Do:    "Run oci-apparmor install of the version that is to stay, and remove the other.",
		find: findStates(func(s *engines.State) []found {
			if s.Version == "" || s.Version == version.String() {
				return nil
			}
			return one("%s starts %s of version %s, and this is %s", s.Title, s.Program, s.Version, version.String())
		}),
	},
	fault(host.Foreign, Error, "Whether the engine's runtime of our name is ours: a path that is misspelt, or another program, may stand there.",
		"Correct what the runtime calls, or remove it from that file, and run oci-apparmor install."),
	fault(host.Dropped, Error, "Whether the engine passes our annotations on to our runtime.",
		"Run oci-apparmor install again, or add the pattern to the runtime in the engine's configuration."),
	fault(host.BadVersion, Error, "Whether the engine's version is known to do something else than its configuration says.",
		"Upgrade the engine, or run oci-apparmor install with another --via."),
	fault(host.NotTaken, Warning, "Whether the engine's daemon has read its configuration since ours came into it, or was taken out of it.",
		"Restart the engine."),
	{
		ID: string(host.Down), Severity: Warning,
		Looks: "Whether the daemon of each engine that is wired runs and answers.",
		Do:    "See the log of the engine's unit, and start it.",
		find: func(x *exam) ([]found, error) {
			if !x.Root {
				return nil, errAsUser("whether engines run")
			}
			states, _ := x.engines() // an error is wiring-interrupted's
			var all []found
			for i := range states {
				s := &states[i]
				if s.Down && s.Wired() {
					do := "See the log of its unit, and start that, unless it is to be down."
					if s.Start != "" {
						do = "Run " + s.Start + ", unless it is to be down, and see the log of its unit where that fails."
					}
					all = append(all, found{what: s.Title + " is wired, and does not run", do: do})
				}
				all = append(all, faultsOf(s.Faults, host.Down)...)
			}
			return all, nil
		},
	},
	fault(host.ExecEscapes, Warning, "Whether what is executed in a container later comes to us: with a hook alone it does not.",
		"Have the engine call the runtime wrapper in place of the hook."),
	fault(host.Breaks, Error, "Whether a hook's file in a directory of several engines keeps others from starting.",
		"Move the file into a directory that only this engine reads."),
	fault(host.HookGone, Error, "Whether the programs of our hooks are there: an engine skips a hook whose program is missing.",
		"Install our programs again, by make install or the package, or remove the hook's file."),
	{
		ID: "programs-earlier", Severity: Note,
		Looks: "Whether programs of ours still run that an upgrade has replaced: a shim does, as long as its pod or container runs.",
		Do:    "Nothing need be done: what is started anew gets the present version.",
		find: func(x *exam) ([]found, error) {
			if x.Earlier == nil {
				return nil, nil
			}
			earlier, err := x.Earlier()
			var all []found
			for _, version := range slices.Sorted(maps.Keys(earlier)) {
				all = append(all, one("of version %s, which another one has replaced, %s", version,
					output.Count(earlier[version], "program runs", "programs run"))...)
			}
			return all, err
		},
	},
}

// fault returns the check for a kind of what an engine's wiring may be wrong in.
func fault(k host.Kind, s Severity, looks, do string) Check {
	return Check{ID: string(k), Severity: s, Looks: looks, Do: do, find: func(x *exam) ([]found, error) {
		states, _ := x.engines() // an error is wiring-interrupted's
		var all []found
		var unseen []error
		for _, s := range states {
			all = append(all, faultsOf(s.Faults, k)...)
			if k == host.NotTaken && s.Unseen != nil {
				unseen = append(unseen, fmt.Errorf("whether %s has read its configuration: %w", s.Title, s.Unseen))
			}
		}
		hooks, err := x.hooks()
		if err != nil && slices.ContainsFunc(states, func(s engines.State) bool { return s.Err != nil && s.Err.Error() == err.Error() }) {
			err = nil // engine-unreadable
		}
		return append(all, faultsOf(hooks.Faults, k)...), errors.Join(append(unseen, err)...)
	}}
}

// faultsOf returns the faults of a kind.
func faultsOf(faults []host.Fault, k host.Kind) (all []found) {
	for _, f := range faults {
		if f.Kind == k {
			all = append(all, found{what: f.What, do: f.Do})
		}
	}
	return all
}

// findStates returns a check of each engine.
func findStates(f func(*engines.State) []found) func(*exam) ([]found, error) {
	return func(x *exam) ([]found, error) {
		states, err := x.engines()
		if err != nil && x.Root {
			err = nil // wiring-interrupted
		}
		var all []found
		for i := range states {
			all = append(all, f(&states[i])...)
		}
		return all, err
	}
}

// cannotSee reports whether an engine's files, or those that its own program reads, are not for this user.
func cannotSee(err error) bool {
	return errors.Is(err, fs.ErrPermission) || strings.Contains(err.Error(), "permission denied")
}

// paths returns the files of a wiring.
func paths(w wire.Wiring) []string {
	var all []string
	for _, e := range w.Edits {
		if e.New.IsFile() {
			all = append(all, e.Path)
		}
	}
	slices.Sort(all)
	return all
}

// stands returns how an engine stands, for a line of the screen. It is empty for one that is not there. down says that its
// daemon is known not to run, and recorded that what install has wired is known.
func stands(s *engines.State, down, recorded bool) string {
	switch {
	case s.Err != nil:
		return "its configuration cannot be read"
	case s.Recorded && !s.Wired():
		return "wired once, and not any more"
	case s.Absent != "":
		return ""
	case s.Has(host.Foreign):
		return "not wired, with a runtime of our name"
	case !s.Wired() && len(s.Faults) > 0:
		return "not wired any more, and goes on with ours"
	case !s.Wired():
		return "not wired"
	}
	line := "wired by the " + cmp.Or(s.Via, "files")
	if s.Version != "" {
		line += " " + s.Version
	}
	if s.Default {
		line += ", as its default"
	}
	if !s.Recorded && recorded {
		line += ", by hand"
	}
	if down {
		line += ", and does not run"
	}
	if n := len(s.Faults); n > 0 {
		line += ", with " + output.Count(n, "fault", "faults")
	}
	return line
}
