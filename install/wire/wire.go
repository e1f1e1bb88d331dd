// Package wire changes the files by which engines come to us, and takes the change back. A change is drafted in memory
// (Draft), shown (Diff), and committed (Book.Commit): a journal is written first, so that a call that is killed at any
// point is finished or taken back by the next one. What was there before is kept, so that it can be put back to the byte.
// The package knows no engine: the packages below install/engines do.
//
// What is kept stands in a directory of the store:
//
//	DIR/record.json   what each engine's files were before, what we made of them, and when
//	DIR/journal.json  the change under way; there is none at other times
//	DIR/lock          held by whoever changes any of this
//
// The directory has mode 0700 and the files 0600: what is kept of a file may be as secret as the file.
package wire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"syscall"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Dir is the directory of a tree in which a Book is, after its links: those of an image lead to places in the image.
const Dir = store.Dir + "/wiring"

// lockWait is how long Open waits for another install or uninstall. None takes as long.
const lockWait = 2 * time.Minute

// version is that of the files' format. A journal of a trial has a version of its own: what knows no trials would take it
// for one that is done.
const (
	version      = 1
	trialVersion = 2
)

// Options are how an engine is wired.
type Options struct {
	Via     string `json:"via"`               // "shim", "wrapper" or "hook"
	Default bool   `json:"default,omitempty"` // ours is what the engine takes where nobody asks for another
	Own     string `json:"own,omitempty"`     // what ours had when it was wired by hand, which stays; as the engine writes it
}

// Wiring is one engine's: what was changed, from before we came to now.
type Wiring struct {
	Options Options `json:"options"`
	Edits   []Edit  `json:"edits"`
	Left    bool    `json:"left,omitempty"` // it is wired no more, and these stay for containers that need them
}

// record is what stands in record.json.
type record struct {
	Version int               `json:"version"`
	Serial  uint64            `json:"serial"` // one more with every change
	Engines map[string]Wiring `json:"engines"`
	Dirs    []string          `json:"dirs,omitempty"` // directories that we made, whichever engine's files are in them

	Changes map[string]Changes `json:"changes,omitempty"` // by engines, also by those that are wired no more
}

// journal is what stands in journal.json.
type journal struct {
	Version int    `json:"version"`
	Forward bool   `json:"forward"` // it is finished, and not taken back: an engine must not go on with what is being removed
	Steps   []Edit `json:"steps"`
	After   record `json:"after"` // the record when all is done

	Planned Moment `json:"planned,omitzero"` // when nothing was written yet; not known of an older oci-apparmor's journal

	Engine  string `json:"engine,omitempty"`
	Fresh   bool   `json:"fresh,omitempty"`   // its files had nothing of ours, neither by a record nor by hand
	Unwired bool   `json:"unwired,omitempty"` // somebody else may have taken ours out of its files

	Trial  *Trial  `json:"trial,omitempty"`  // the journal stays until this ends
	Before *record `json:"before,omitempty"` // the record when it is taken back
}

// Book is what is known of the wirings of a tree, and the right to change them.
type Book struct {
	tree    Tree
	dir     string // Dir without links
	record  record
	trial   *journal // that has not ended
	release func()

	// Recovered says what Open had to do for a call that was killed; empty for nothing. Where the call had a trial, Open leaves
	// that to its caller: see Trial.
	Recovered string
}

// Open takes the lock, which a Close releases, and finishes or takes back what a killed call has left.
func Open(ctx context.Context, t Tree) (*Book, error) { return open(ctx, t, lockWait) }

// OpenLast is Open that waits for the lock as long as somebody else has it.
func OpenLast(t Tree) (*Book, error) { return open(context.Background(), t, 0) }

// OpenFree is Open that does not wait. The error wraps os.ErrDeadlineExceeded if somebody else has the lock.
func OpenFree(t Tree) (*Book, error) { return open(context.Background(), t, time.Nanosecond) }

func open(ctx context.Context, t Tree, wait time.Duration) (*Book, error) {
	dir, err := resolve(Dir, t.peek)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(t.Real(path.Dir(dir)), 0o755); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(t.Real(dir), 0o700); err != nil {
		return nil, err
	}
	release, err := safefile.Lock(ctx, safefile.Cwd, t.Real(dir+"/lock"), wait)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		err = fmt.Errorf("another install or uninstall holds %s, after %v still: %w", t.Real(dir+"/lock"), wait, err)
	}
	if err != nil {
		return nil, err
	}
	b, err := read(t, dir)
	if err == nil {
		b.release = release
		err = b.recover()
	}
	if err != nil {
		release()
		return nil, err
	}
	return b, nil
}

func read(t Tree, dir string) (*Book, error) {
	b := &Book{tree: t, dir: dir}
	r, err := readJSON[record](b, "record.json")
	if err != nil {
		return nil, err
	}
	if r == nil {
		r = &record{Version: version}
	}
	if r.Version != version {
		return nil, fmt.Errorf("%s is of version %d, which a later oci-apparmor has written: use that one", b.real("record.json"),
			r.Version)
	}
	b.setRecord(*r)
	return b, nil
}

// real returns where a file of the book is on this machine.
func (b *Book) real(name string) string { return b.tree.Real(b.dir + "/" + name) }

// Close releases the lock.
func (b *Book) Close() {
	if b.release != nil {
		b.release()
	}
}

// Wiring returns an engine's wiring, where it is wired.
func (b *Book) Wiring(engine string) (Wiring, bool) {
	w, ok := b.record.Engines[engine]
	return w, ok && !w.Left
}

// Serial returns a number that grows with every change.
func (b *Book) Serial() uint64 { return b.record.Serial }

// A Stripper takes what is ours out of a file that others have changed since. was is the file as it was before us, nil for
// none, and now what it is. It returns nil where nothing would be left.
type Stripper func(path string, was, now *Entry) ([]byte, error)

// Unwire drafts that an engine's files are as they were before us: to the byte where nobody else has changed them, and
// without ours elsewhere. kept are the files that somebody else has changed, or made again.
func (b *Book) Unwire(d *Draft, engine string, strip Stripper) (kept []string, err error) {
	for _, e := range invert(b.record.Engines[engine].Edits) { // the other way round: e.Old is what we made
		now, err := d.at(e.Path)
		switch {
		case err != nil:
			return nil, err
		case e.Old.kind() == fs.ModeDir, now.Equal(e.New):
		case now.Equal(e.Old):
			err = d.set(e.Path, e.New)
		case now == nil: // somebody removed it, and what was in it before us with it
		case !now.IsFile() || !e.Old.IsFile():
			kept = append(kept, e.Path)
		default:
			kept = append(kept, e.Path)
			var left []byte
			if left, err = strip(e.Path, e.New, now); err != nil {
				break
			}
			if left == nil {
				err = d.set(e.Path, nil)
				break
			}
			changed := *now
			changed.Data = left
			err = d.set(e.Path, &changed)
		}
		if err != nil {
			return nil, err
		}
	}
	return kept, b.dropDirs(d)
}

// dropDirs drafts that the directories that we made are gone, where nothing is in them.
func (b *Book) dropDirs(d *Draft) error {
	for _, dir := range slices.Backward(slices.Sorted(slices.Values(b.record.Dirs))) {
		e, err := d.at(dir)
		if err != nil {
			return err
		}
		if e.kind() != fs.ModeDir {
			continue
		}
		names, err := d.List(dir)
		if err != nil {
			return err
		}
		if len(names) == 0 {
			if err := d.set(dir, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// Commit writes what was drafted. without is the draft without anything of ours, from which the way back is kept. w is nil
// where the engine is to be wired no more: what the draft still has of ours then is remembered. On an error nothing has
// changed, or all has been taken back; where that fails, too, the error says so and the next Open does it.
func (b *Book) Commit(engine string, w *Options, d, without *Draft) error {
	j := b.plan(engine, w, d, without)
	return b.do(j, j.Steps)
}

// without returns the record without an engine.
func (r record) without(engine string) record {
	r.Engines, r.Dirs, r.Changes = maps.Clone(r.Engines), slices.Clone(r.Dirs), maps.Clone(r.Changes)
	delete(r.Engines, engine)
	return r
}

// plan returns the journal of a Commit.
func (b *Book) plan(engine string, w *Options, d, without *Draft) *journal {
	steps, after := d.Edits(), b.record.without(engine)
	was, recorded := b.record.Engines[engine]
	unwired := w == nil && recorded && !was.Left
	after.Version, after.Serial = version, b.record.Serial+1
	if edits := d.editsFrom(without); w != nil {
		after.Engines[engine] = Wiring{Options: *w, Edits: edits}
	} else if len(edits) > 0 {
		after.Engines[engine] = Wiring{Edits: edits, Left: true}
	} else if !unwired && !OfFiles(steps) {
		delete(after.Changes, engine) // what was left for it need be no more
	}
	for _, s := range steps {
		switch {
		case s.New.kind() == fs.ModeDir:
			after.Dirs = append(after.Dirs, s.Path)
		case s.Old.kind() == fs.ModeDir:
			after.Dirs = slices.DeleteFunc(after.Dirs, func(dir string) bool { return dir == s.Path })
		}
	}
	return &journal{Version: version, Forward: w == nil, Steps: steps, After: after, Planned: Now(), Engine: engine,
		Unwired: unwired, Fresh: !recorded && !OfFiles(without.Edits())}
}

// do writes a journal and does what it says: steps are those that are not done yet. On an error they have been taken back.
func (b *Book) do(j *journal, steps []Edit) error {
	if b.trial != nil {
		return errTrial
	}
	before := b.record
	err := b.write("journal.json", j)
	if err == nil {
		err = b.finish(j, true)
	}
	if err == nil {
		return nil
	}
	// An uninstall that failed is taken back as well while this process can tell: its caller hears of the error.
	if back := b.takeBack(steps, &before); back != nil {
		return fmt.Errorf("%w; taking it back failed as well, and the next install or uninstall tries again: %w", err, back)
	}
	return err
}

// takeBack makes the files and the record what they were before the steps, and removes the journal.
func (b *Book) takeBack(steps []Edit, before *record) error {
	if err := b.back(steps, before); err != nil {
		return err
	}
	return b.tree.put(b.dir+"/journal.json", nil)
}

// back is takeBack, and the journal stays.
func (b *Book) back(steps []Edit, before *record) error {
	if _, err := b.apply(invert(steps), false); err != nil {
		return err
	}
	if r, err := readJSON[record](b, "record.json"); err != nil || r != nil && r.Serial != before.Serial {
		if err := b.write("record.json", before); err != nil {
			return err
		}
	}
	b.setRecord(*before)
	return nil
}

func (b *Book) setRecord(r record) {
	if r.Engines == nil {
		r.Engines = map[string]Wiring{}
	}
	b.record = r
}

// finish applies the steps of a journal, writes the record, and removes the journal unless it is a trial's.
func (b *Book) finish(j *journal, strict bool) error {
	done, err := b.apply(j.Steps, strict)
	if err != nil {
		return err
	}
	if !strict { // whoever was killed had done some of them
		done = j.Steps
	}
	if err := b.writeAfter(j, done); err != nil {
		return err
	}
	if j.Trial != nil {
		b.trial = j
		return nil
	}
	_ = b.tree.put(b.dir+"/journal.json", nil) // by the record the next Open sees that all is done, and removes it
	return nil
}

// writeAfter writes the record of a journal whose steps are done. Those done just now are when the engine's files were changed.
func (b *Book) writeAfter(j *journal, done []Edit) error {
	if (OfFiles(done) || j.Unwired) && j.Engine != "" { // an older oci-apparmor's journal names none
		j.After.stamp(j.Engine, j.Fresh, j.Planned)
	}
	if err := b.write("record.json", &j.After); err != nil {
		return err
	}
	b.setRecord(j.After)
	return nil
}

// apply makes each path hold what is new of it, and returns what it has changed. What holds neither that nor the old is somebody
// else's since, and stays: with strict that is an error.
func (b *Book) apply(steps []Edit, strict bool) (done []Edit, err error) {
	for _, s := range steps {
		if err := b.tree.staysInside(s.Path); err != nil {
			return done, err
		}
		_ = os.Remove(path.Join(path.Dir(b.tree.Real(s.Path)), temp(s.Path))) // of a call that was killed
		e, err := b.tree.lookup(s.Path)
		if err != nil {
			return done, err
		}
		if e.Equal(s.New) {
			continue
		}
		if !e.Equal(s.Old) {
			if strict {
				return done, fmt.Errorf("%s was changed by somebody else just now: run this again", b.tree.Real(s.Path))
			}
			continue
		}
		err = b.tree.put(s.Path, s.New)
		if s.Old.kind() == fs.ModeDir && errors.Is(err, syscall.ENOTEMPTY) {
			continue // somebody has put something there
		}
		if err != nil {
			return done, err
		}
		done = append(done, s)
	}
	return done, nil
}

// recover finishes or takes back what a killed call has left. A trial is for the caller to end, because its engine has to be
// looked at.
func (b *Book) recover() error {
	for _, name := range []string{"journal.json", "record.json"} {
		_ = os.Remove(b.real(temp(name)))
	}
	j, err := readJSON[journal](b, "journal.json")
	if err != nil || j == nil {
		return err
	}
	if j.Version != version && j.Version != trialVersion {
		return fmt.Errorf("%s is of version %d, which a later oci-apparmor has written: use that one",
			b.real("journal.json"), j.Version)
	}
	if j.Trial != nil && j.Before != nil {
		b.trial = j
		return nil
	}
	theirs, err := b.changedByOthers(j.Steps)
	if err != nil {
		return err
	}
	switch {
	case b.record.Serial == j.After.Serial:
		return b.tree.put(b.dir+"/journal.json", nil)
	case j.Forward:
		b.Recovered = "finished an uninstall that was killed"
		return b.finish(j, false)
	case theirs:
		// What somebody has made of a half-done change cannot be taken back by its bytes. With all of it done, uninstall
		// can.
		b.Recovered = "finished an install that was killed, because somebody has changed its files since"
		return b.finish(j, false)
	}
	b.Recovered = "took back an install that was killed"
	before := b.record
	return b.takeBack(j.Steps, &before)
}

// changedByOthers reports whether a path holds neither what was nor what was to be.
func (b *Book) changedByOthers(steps []Edit) (bool, error) {
	for _, s := range steps {
		e, err := b.tree.lookup(s.Path)
		if err != nil {
			return false, err
		}
		if !e.Equal(s.Old) && !e.Equal(s.New) && e.kind() != fs.ModeDir {
			return true, nil
		}
	}
	return false, nil
}

// write writes a file of the book.
func (b *Book) write(name string, v any) error {
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return b.tree.put(b.dir+"/"+name, &Entry{Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid(), Data: append(data, '\n')})
}

// readJSON reads a file of the book; nil where there is none.
func readJSON[T any](b *Book, name string) (*T, error) {
	real := b.real(name)
	data, err := readFile(real)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := new(T)
	if err := json.Unmarshal(data, v); err != nil {
		return nil, fmt.Errorf("%s: %w: move it away if nothing of ours is in any engine's configuration", real, err)
	}
	return v, nil
}
