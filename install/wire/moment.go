package wire

import (
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tick is the unit of a Moment: of /proc's clock ticks a second has 100 (USER_HZ), on all architectures that Go runs on.
const Tick = time.Second / 100

// Moment is a point of time in a boot. No setting of the clock moves it. The zero Moment is one that is not known.
type Moment struct {
	Boot  string `json:"boot,omitempty"`  // the kernel's id of the boot
	Ticks uint64 `json:"ticks,omitempty"` // after the boot, as /proc/PID/stat has the start of a process
}

// Now returns the present moment.
func Now() Moment {
	var since unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &since) // which every kernel has since 2.6.39
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return Moment{strings.TrimSpace(string(id)), uint64(time.Duration(since.Nano()) / Tick)}
}

// Changes are when an engine's files were changed.
type Changes struct {
	First Moment `json:"first"` // before it they had nothing of ours; not known where that was not written down
	Last  Moment `json:"last"`  // after it we have changed them no more; also by what took ours out of them again

	// From Out to Again they had nothing of ours either: an uninstall has taken all of it out, and an install has written it
	// anew. Of several such times it is the last one. Not known where there was none.
	Out   Moment `json:"out,omitzero"`
	Again Moment `json:"again,omitzero"`
}

// Changes returns when an engine's files were changed by us. It is zero where they never were, or where that is long over.
func (b *Book) Changes(engine string) Changes { return b.record.Changes[engine] }

// stamp writes down that an engine's files have been changed by now, and not before the change was planned. fresh says that they
// had nothing of ours then.
func (r *record) stamp(engine string, fresh bool, planned Moment) {
	c, had := r.Changes[engine]
	switch {
	case !fresh:
	case !had || c.Last.Boot != planned.Boot && planned.Boot != "": // what ran in another boot runs no more
		c = Changes{First: planned}
	default:
		c.Out, c.Again = c.Last, planned
	}
	c.Last = Now()
	if r.Changes == nil {
		r.Changes = map[string]Changes{}
	}
	r.Changes[engine] = c
}

// OfFiles reports whether one of the edits is of a file: a daemon reads these, and not links and directories.
func OfFiles(edits []Edit) bool {
	return slices.ContainsFunc(edits, func(e Edit) bool { return e.Old.IsFile() || e.New.IsFile() })
}
