package hook

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// commands are those that are counted, and what they are. Any other command is counted as counts.Other, and only if it is
// refused or warned of.
var commands = map[string]struct {
	decides bool
	wiring  string // of a hook's stage; empty for Host.Wiring
}{
	"create":        {decides: true},
	"run":           {decides: true},
	"restore":       {decides: true},
	"precreate":     {true, counts.Precreate},
	"createRuntime": {true, counts.Guard},
	"prestart":      {true, counts.Guard},
	"prepare":       {true, counts.Prepare},
	"start":         {},
	"exec":          {},
	"delete":        {},
	"load":          {},
}

const execCommand = "exec"

// Commands returns the values of the label command.
func Commands() []string {
	names := []string{counts.Other}
	for name := range commands {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Passed counts a command that goes on: a container that may be created, or a process that may be started in one. out is
// what the method for that command returned. took is what it cost the caller.
func (h *Host) Passed(c Caller, command string, out Outcome, took time.Duration) {
	switch {
	case command == execCommand:
		outcome := counts.Confined
		if out.Label == "" {
			outcome = counts.Kept
		}
		h.Counts.Add(counts.Execs.With(engineOf(c), outcome))
	case commands[command].decides:
		wiring := h.wiring(command)
		h.Counts.Add(append(counts.StartDuration.Observe(took, wiring),
			counts.Decisions.With(engineOf(c), wiring, out.Decision.Policy, outcomeOf(out.Decision)))...)
	}
}

// refused counts a command that was refused.
func (h *Host) refused(c Caller, command string, reason notice.Reason, decided string) {
	all := []counts.Count{counts.Refusals.With(engineOf(c), known(command), string(cmp.Or(reason, notice.OtherReason)))}
	switch {
	case command == execCommand:
		all = append(all, counts.Execs.With(engineOf(c), counts.Refused))
	case commands[command].decides:
		all = append(all, counts.Decisions.With(engineOf(c), h.wiring(command), decided, counts.Refused))
	}
	h.Counts.Add(all...)
	h.Counts.Tell()
}

func (h *Host) wiring(command string) string {
	return cmp.Or(commands[command].wiring, h.Wiring, counts.Other)
}

func engineOf(c Caller) string { return cmp.Or(c.Engine, engine.Other) }

func known(command string) string {
	if _, ok := commands[command]; ok {
		return command
	}
	return counts.Other
}

// outcomeOf returns what becomes of a container that starts by a decision.
func outcomeOf(d policy.Decision) string {
	outcome := counts.Confined
	if d.Keep {
		outcome = counts.Kept
	}
	for _, p := range d.Profiles {
		if p.Recorded != nil {
			return counts.Recorded
		}
		if p.Mode != profile.Enforce && !p.ByHand {
			outcome = counts.Complaining
		}
	}
	return outcome
}

// CountLoads counts the profiles that the host's kernel is given from now on. by says for whom: counts.ByStart and so on.
func (h *Host) CountLoads(by string) { CountLoads(h.Kernel, h.Counts, by) }

// CountLoads is Host.CountLoads for a kernel and a table.
func CountLoads(k *kernel.Kernel, t *counts.Table, by string) {
	k.OnLoad = func(l kernel.Loaded) {
		outcome := counts.Added
		if l.Done == kernel.Replaced {
			outcome = counts.Replaced
		}
		t.Add(counts.Loads.With(by, outcome))
		if by == counts.ByStart && l.Done == kernel.Replaced && !l.Planned {
			t.Add(counts.Drifts.With(by, counts.Replaced))
		}
	}
}

// countDrift counts a drift that Ensure did not repair. outcome says whether the container was refused for it.
func (h *Host) countDrift(err error, outcome string) {
	if errors.Is(err, kernel.ErrDrift) {
		h.Counts.Add(counts.Drifts.With(counts.ByStart, outcome))
	}
}
