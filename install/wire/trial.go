package wire

import (
	"errors"
	"maps"
)

// Trial is a change that an engine is trying: its files are written, and they are taken back unless the engine comes to run
// with them. What is here is what the next call must know if this process is killed.
type Trial struct {
	Engine string `json:"engine"`
	Unit   string `json:"unit,omitempty"`   // systemd's, which is restarted; empty for an engine without a daemon
	Reload bool   `json:"reload,omitempty"` // it is told to read its files again, and not restarted
	Boot   string `json:"boot"`             // the kernel's id of the boot

	// With are the units that systemd stops with that one, and that were up before the change.
	With []string `json:"with,omitempty"`

	// The daemon's process before the change, and the clock ticks from the boot to its start.
	PID   int    `json:"pid,omitempty"`
	Start uint64 `json:"start,omitempty"`
}

// errTrial says that a trial has to end first.
var errTrial = errors.New("an engine is trying a change, which has to be accepted or taken back first")

// Try is Commit for a change that its engine is to try. The journal stays until End, so that the next Open finds the trial
// if this process is killed. Where the files are written already, what is tried is all that the record has of the engine.
func (b *Book) Try(t Trial, w *Options, d, without *Draft) error {
	j := b.plan(t.Engine, w, d, without)
	steps, before := j.Steps, b.record
	if wired, ok := b.Wiring(t.Engine); ok && w != nil && len(steps) == 0 {
		j.Steps, before = wired.Edits, b.record.without(t.Engine)
	}
	j.Version, j.Trial, j.Before = trialVersion, &t, &before
	return b.do(j, steps)
}

// Trial returns the trial that has not ended, which may be a killed call's; nil for none.
func (b *Book) Trial() *Trial {
	if b.trial == nil {
		return nil
	}
	return b.trial.Trial
}

// TakeBack makes the files and the record what they were before the trial, which goes on until End. Where somebody else has
// changed one of the files since, their bytes cannot be taken back: then nothing is written and back is false, and an Unwire
// takes the trial's change out. Retake or Finish comes after that. With read set the engine may have read the trial's change.
func (b *Book) TakeBack(read bool) (back bool, err error) {
	j := b.trial
	theirs, err := b.changedByOthers(j.Steps)
	if err != nil {
		return false, err
	}
	if theirs {
		b.setRecord(j.After) // by which Unwire knows the change, however far it came
		return false, nil
	}
	before := *j.Before
	if read {
		before.Changes = maps.Clone(b.record.Changes)
	}
	if err := b.back(j.Steps, &before); err != nil || !read {
		return true, err
	}
	b.record.stamp(j.Trial.Engine, false, j.Planned)
	return true, b.write("record.json", &b.record)
}

// Before returns how the engine of a trial was wired before it; nil where it was not.
func (b *Book) Before() *Options {
	w, ok := b.trial.Before.Engines[b.trial.Trial.Engine]
	if !ok || w.Left {
		return nil
	}
	return &w.Options
}

// Retake writes what was drafted after a TakeBack that could not be, as Commit does, and the trial goes on until End. After an
// error, or where this process is killed, the next call does it again.
func (b *Book) Retake(w *Options, d, without *Draft) error {
	j := b.plan(b.trial.Trial.Engine, w, d, without)
	done, err := b.apply(j.Steps, true)
	if err != nil {
		return err
	}
	return b.writeAfter(j, done)
}

// Finish does all of a trial's change that others have left to do, so that an uninstall can take it out later. The trial
// goes on until End.
func (b *Book) Finish() error { return b.finish(b.trial, false) }

// End ends the trial: what the files have now stays.
func (b *Book) End() error {
	if err := b.tree.put(b.dir+"/journal.json", nil); err != nil {
		return err
	}
	b.trial = nil
	return nil
}
