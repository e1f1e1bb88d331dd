package hook

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/oci-apparmor/oci-apparmor/hook/internal/jsonread"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// Ended is what is kept of a container after its end, so that what the kernel logged of it can still be told from what it
// logged of others.
type Ended struct {
	Record
	End       time.Time // when its record was given up: then, or before, its last process ended
	Choice    string    // where Label is empty: the profile that its engine chose, or "unconfined"; empty if not known
	Processes []Ran     // those that are known
}

// Ran is a process that ran in a container.
type Ran struct {
	PID  int
	From time.Time // when it was there at the earliest
	To   time.Time // when it was there at the latest; zero stands for the container's end
}

// How many containers are kept, and for how long. A record has about 1 KiB, which is a page in /run.
const (
	mostEnded    = 1000
	longestEnded = 7 * 24 * time.Hour
)

// endedDir is the directory of ended containers. The name of a file begins with the container's end, in nanoseconds since
// 1970, so that the names show which are the oldest.
func (h *Host) endedDir() string { return filepath.Join(h.Containers, "ended") }

// last returns what can be known of a container only until its engine removes it.
func (r *Record) last() Ended {
	e := Ended{Record: *r}
	Name(&e.Record)
	if r.Label == "" {
		if f, err := NewBundle(r.Bundle).Identify(Caller{Engine: r.Engine, Root: r.Root}, r.ID); err == nil {
			e.Choice = cmp.Or(f.EngineChoice, "unconfined")
		}
	}
	return e
}

// bury takes the record at a path away, and keeps the container among those that have ended. The caller holds lockRecords.
// That it cannot be kept stops no delete.
func (h *Host) bury(path string, e Ended) {
	e.end(time.Now().UTC())
	if os.MkdirAll(h.endedDir(), 0o700) == nil {
		name := fmt.Sprintf("%019d-%s", e.End.UnixNano(), filepath.Base(path))
		_ = safefile.Replace(filepath.Join(h.endedDir(), name), e.marshal(), safefile.Options{})
	}
	os.Remove(path)
}

// end sets the container's end, and what is known of its processes without their runtime.
func (e *Ended) end(at time.Time) {
	e.End = at
	if len(e.Processes) == 0 && e.Init > 0 {
		e.Processes = []Ran{{PID: e.Init}}
	}
	for i := range e.Processes {
		if e.Processes[i].From.IsZero() {
			e.Processes[i].From = e.Created
		}
	}
}

// thin removes the oldest ended containers if there are too many, and those that are too old.
func (h *Host) thin(now time.Time) {
	dir, err := os.Open(h.endedDir())
	if err != nil {
		return
	}
	names, _ := dir.Readdirnames(-1)
	dir.Close()
	slices.Sort(names)
	oldest := fmt.Sprintf("%019d", now.Add(-longestEnded).UnixNano())
	for i, name := range names {
		if len(names)-i > mostEnded || name < oldest {
			os.Remove(filepath.Join(h.endedDir(), name))
		}
	}
}

// Ended returns what is kept of ended containers, the one that ended first in front. Last among them are those that have
// ended without a word to us, and whose records are still to be swept: their end is now. since is the time from which on all
// are kept. Like Records, Ended names what it cannot read in the error.
func (h *Host) Ended() (all []*Ended, since time.Time, err error) {
	paths, err := filepath.Glob(filepath.Join(h.endedDir(), "*.json"))
	if err != nil {
		return nil, since, err
	}
	slices.Sort(paths)
	var faults []error
	buf := make([]byte, recordSize)
	for _, path := range paths {
		e, err := readEnded(path, buf)
		switch {
		case err == nil:
			all = append(all, e)
		case !errors.Is(err, fs.ErrNotExist): // else it was given up meanwhile
			faults = append(faults, err)
		}
	}
	now := time.Now().UTC()
	if since = now.Add(-longestEnded); len(paths) >= mostEnded && len(all) > 0 && all[0].End.After(since) {
		since = all[0].End
	}
	records, err := h.Records()
	for _, r := range records {
		if r.Creating() || isThere(r.Root, r.ID) {
			continue
		}
		e := r.last()
		e.end(now)
		all = append(all, &e)
	}
	return all, since, errors.Join(append(faults, err)...)
}

func readEnded(path string, buf []byte) (*Ended, error) {
	data, err := safefile.ReadSmall(path, buf)
	e := new(Ended)
	if err == nil {
		err = e.parse(data)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return e, nil
}

func (p *Ran) fields() []field { return []field{{"pid", &p.PID}, {"from", &p.From}, {"to", &p.To}} }

// marshal returns the JSON of a record with the keys "ended", "choice" and "ran". The keys in "ran" are numbers from 0.
func (e *Ended) marshal() []byte {
	var ran members
	for i, p := range e.Processes {
		ran.add(strconv.Itoa(i), membersOf(p.fields()).object())
	}
	all := e.Record.members()
	all.add("ended", field{value: &e.End}.marshal())
	all.add("choice", field{value: &e.Choice}.marshal())
	all.add("ran", ran.object())
	return all.object()
}

func (e *Ended) parse(data []byte) error {
	own := []field{{"ended", &e.End}, {"choice", &e.Choice}}
	return e.Record.parse(data, func(dec *jsontext.Decoder, key string) error {
		if key != "ran" {
			return parseField(dec, own, key)
		}
		return jsonread.Object(dec, nil, func(string) error {
			var p Ran
			fields := p.fields()
			err := jsonread.Object(dec, nil, func(key string) error { return parseField(dec, fields, key) })
			e.Processes = append(e.Processes, p)
			return err
		})
	})
}
