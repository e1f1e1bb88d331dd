package host

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// Taken is what a daemon that runs has of ours.
type Taken struct {
	Ours  bool   // it has something of ours, or may have
	Older string // why it goes on with something else of ours than its files have: a sentence; empty where it does not
	Then  string // the command by which it takes over what its files have; empty for the engine's own
}

// TakenAtStart returns what a daemon has of ours that reads its files when it starts, and then never again. title is its name,
// files are those that have something of ours now, by whoever has written it, and c is when we have changed some.
func (h *Host) TakenAtStart(p Process, title string, d *wire.Draft, files []string, c wire.Changes) (Taken, error) {
	if p.Start == 0 {
		return Taken{Ours: true}, fmt.Errorf("when process %d of %s was started is not known", p.PID, title)
	}
	before := func(m wire.Moment) bool { return startedBefore(p, m, 0) }
	never := startedBefore(p, c.First, slowest) || c.Out.Boot == c.Again.Boot && !before(c.Out) && startedBefore(p, c.Again, slowest)
	t := Taken{Ours: (len(files) > 0 || before(c.Last)) && !never}
	switch {
	case len(files) == 0 && t.Ours:
		t.Older = fmt.Sprintf("%s runs as process %d since before ours was taken out of its files, and goes on with it", title, p.PID)
	case len(files) > 0 && before(c.Last):
		t.Older = fmt.Sprintf("%s runs as process %d since before we have changed its files, and reads them once", title, p.PID)
	case len(files) > 0:
		later, err := changedAfter(p, d, files)
		if later != "" {
			t.Older = fmt.Sprintf("%s runs as process %d since before %s was changed, and reads its files once", title, p.PID, later)
		}
		return t, err
	}
	return t, nil
}

// slowest is how long a daemon may take from its start until it has read its files: with less than that between its start and a
// change it may have read either.
const slowest = 5 * time.Second

// startedBefore reports whether a process was started a time before a moment of this boot, or longer.
func startedBefore(p Process, m wire.Moment, by time.Duration) bool {
	boot := wire.Now().Boot
	return m.Boot == boot && boot != "" && p.Start+uint64(by/wire.Tick) <= m.Ticks
}

// changedAfter returns the first of the files that was modified later than the start of a process. Others than we have no other
// way to say when they have changed one. The time of its last change (ctime) would tell of a file that was moved there, too, but
// also of one whose owner was set again, or that was put back as it was.
func changedAfter(p Process, d *wire.Draft, files []string) (string, error) {
	boot, err := bootTime("/proc/stat")
	if err != nil {
		return "", err
	}
	started := boot.Add(time.Duration(p.Start) * wire.Tick)
	for _, f := range files {
		at, err := d.Resolve(f)
		if err != nil {
			return "", err
		}
		info, err := os.Stat(d.Tree.Real(at))
		if err != nil || info.ModTime().After(time.Now()) { // it is gone, or the clock was set back since: nothing is known by it
			continue
		}
		if info.ModTime().After(started.Add(time.Second)) { // the boot is known to a second
			return f, nil
		}
	}
	return "", nil
}

// bootTime returns when the machine was booted, less than a second early, by the clock of now.
func bootTime(stat string) (time.Time, error) {
	machine, err := os.ReadFile(stat)
	if err != nil {
		return time.Time{}, err
	}
	for line := range bytes.Lines(machine) {
		if text, is := strings.CutPrefix(string(line), "btime "); is {
			boot, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			return time.Unix(boot, 0), err
		}
	}
	return time.Time{}, errors.New(stat + " does not say when the machine was booted")
}
