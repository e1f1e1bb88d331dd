package wire

import (
	"errors"
	"testing"
	"time"
)

// When an engine's files were changed is known as long as a daemon may go on with what they had.
func TestChanges(t *testing.T) {
	tree := newTree(t)
	changes := func() Changes {
		t.Helper()
		b, err := Open(t.Context(), tree)
		must(t, err)
		defer b.Close()
		return b.Changes("engine")
	}
	later := func(m, than Moment) bool { return m.Boot == than.Boot && m.Ticks >= than.Ticks }
	began := Now()
	if began.Boot == "" || began.Ticks == 0 {
		t.Fatalf("now is %+v", began)
	}
	must(t, install(t, tree))
	installed := changes()
	if !later(installed.First, began) || !later(installed.Last, installed.First) || !later(Now(), installed.Last) {
		t.Errorf("installed: %+v", installed)
	}
	must(t, install(t, tree))
	if again := changes(); again != installed {
		t.Errorf("an install that changes nothing: %+v, before %+v", again, installed)
	}

	b, err := Open(t.Context(), tree)
	must(t, err)
	for _, wait := range []bool{true, false} { // the second one removes the links that the first one has left
		d := NewDraft(tree)
		_, err = b.Unwire(d, "engine", strip)
		must(t, err)
		without := d.Copy()
		if wait {
			_, err = b.LeaveLinks(d, "engine")
			must(t, err)
		}
		must(t, b.Commit("engine", nil, d, without))
		if now := b.Changes("engine"); wait && (now.First != installed.First || !later(now.Last, installed.Last)) || !wait && now != (Changes{}) {
			t.Errorf("uninstalled, and links stay: %v: %+v", wait, now)
		}
	}
	b.Close()

	// What was there by hand may have been read long before.
	byHand, err := Open(t.Context(), tree)
	must(t, err)
	d := NewDraft(tree)
	must(t, d.WriteFile("/etc/engine/main.conf", []byte("without what was there by hand\n")))
	without := d.Copy()
	wireEngine(t, d)
	must(t, byHand.Commit("engine", &Options{Via: "wrapper"}, d, without))
	if now := byHand.Changes("engine"); now.First != (Moment{}) || now.Last == (Moment{}) {
		t.Errorf("wired by hand before: %+v", now)
	}

	// Somebody else has taken ours out, nobody knows when.
	must(t, byHand.Commit("engine", nil, NewDraft(tree), NewDraft(tree)))
	if now := byHand.Changes("engine"); now.Last == (Moment{}) {
		t.Errorf("taken out by somebody else: %+v", now)
	}
	byHand.Close()
}

// Of what an oci-apparmor has wired that wrote no times down, it is not known since when an engine may have read it.
func TestChangesOfAnOlderRecord(t *testing.T) {
	tree := newTree(t)
	must(t, install(t, tree))
	b, err := Open(t.Context(), tree)
	must(t, err)
	b.record.Changes = nil
	must(t, b.write("record.json", &b.record))
	b.Close()
	b, err = Open(t.Context(), tree)
	must(t, err)
	defer b.Close()
	d := NewDraft(tree)
	_, err = b.Unwire(d, "engine", strip)
	must(t, err)
	without := d.Copy()
	_, err = b.LeaveLinks(d, "engine")
	must(t, err)
	must(t, b.Commit("engine", nil, d, without))
	if now := b.Changes("engine"); now.First != (Moment{}) || now.Last == (Moment{}) {
		t.Errorf("uninstalled: %+v", now)
	}
}

// After a trial that was taken back, a daemon that was restarted in it has read it, and one that was not has not.
func TestChangesOfATrial(t *testing.T) {
	for _, read := range []bool{false, true} {
		tree := newTree(t)
		b, err := try(t, tree)
		must(t, err)
		tried := b.Changes("engine")
		back, err := b.TakeBack(read)
		must(t, err)
		must(t, b.End())
		b.Close()
		b, err = Open(t.Context(), tree)
		must(t, err)
		now := b.Changes("engine")
		if !back || read != (now != Changes{}) || read && now.First != tried.First {
			t.Errorf("taken back: %v, read: %v, changed at %+v, in the trial at %+v", back, read, now, tried)
		}
		b.Close()
	}
}

// What a daemon cannot have read is what was not written yet: the first moment is that of the plan, however long the rest takes.
func TestFirstMomentIsBeforeAnythingIsWritten(t *testing.T) {
	tree := newTree(t)
	var began Moment
	slow := tree
	slow.Step = func(what string) error {
		if began == (Moment{}) {
			began = Now()
			time.Sleep(10 * Tick)
		}
		return nil
	}
	must(t, install(t, slow))
	wantPlanned := func(what string) {
		t.Helper()
		b, err := Open(t.Context(), tree)
		must(t, err)
		defer b.Close()
		if c := b.Changes("engine"); c.First.Ticks == 0 || c.First.Ticks > began.Ticks || c.Last.Ticks < began.Ticks+10 {
			t.Errorf("%s: %+v, and it began at %+v", what, c, began)
		}
	}
	wantPlanned("a slow disk")

	// Killed, changed by somebody else, and finished later.
	tree = newTree(t)
	broken, dead, fault := tree, false, errors.New("killed")
	began = Moment{}
	broken.Step = func(what string) error {
		if began == (Moment{}) {
			began = Now()
		}
		if dead = dead || what == "write "+tree.Root+"/srv/real.json"; dead {
			return fault
		}
		return nil
	}
	if err := install(t, broken); !errors.Is(err, fault) {
		t.Fatal(err)
	}
	write(t, tree.Root+"/etc/engine/main.conf", "key = 7\n"+ours, 0o640)
	time.Sleep(10 * Tick)
	wantPlanned("finished later")
}

// After an uninstall that left nothing, a daemon that was started before the next install has never read ours.
func TestChangesOfASecondInstall(t *testing.T) {
	tree := newTree(t)
	must(t, install(t, tree))
	must(t, uninstall(t, tree))
	changes := func(change func(*record)) Changes {
		t.Helper()
		b, err := Open(t.Context(), tree)
		must(t, err)
		defer b.Close()
		if change != nil {
			change(&b.record)
			must(t, b.write("record.json", &b.record))
		}
		return b.Changes("engine")
	}
	out := changes(nil)
	time.Sleep(2 * Tick)
	between := Now()
	must(t, install(t, tree))
	if c := changes(nil); c.First != out.First || c.Out != out.Last || c.Again.Ticks < between.Ticks || c.Last.Ticks < c.Again.Ticks {
		t.Errorf("installed again: %+v, before %+v", c, out)
	}
	must(t, uninstall(t, tree))
	changes(func(r *record) { // all of that was in another boot
		c := r.Changes["engine"]
		for _, m := range []*Moment{&c.First, &c.Last, &c.Out, &c.Again} {
			m.Boot = "another"
		}
		r.Changes["engine"] = c
	})
	must(t, install(t, tree))
	if c := changes(nil); c.First.Boot != between.Boot || c.First.Ticks < between.Ticks || c.Out != (Moment{}) {
		t.Errorf("installed after a boot: %+v", c)
	}
}
