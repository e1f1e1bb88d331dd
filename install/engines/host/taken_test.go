package host

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

func TestStartTicks(t *testing.T) {
	if at, now := startTicks("/proc/self"), wire.Now().Ticks; at == 0 || at > now+1 || now-at > 360000 {
		t.Errorf("this process was started %d ticks after the boot, and now it is %d", at, now)
	}
	proc := t.TempDir()
	for name, text := range map[string]string{
		"7/stat": "7 (a) b (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4250 20\n",
		"8/stat": "8 (cut) S 1 2\n",
		"9/stat": "",
	} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(proc, name)), 0o755), os.WriteFile(filepath.Join(proc, name), []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	for pid, want := range map[string]uint64{"7": 4250, "8": 0, "9": 0, "10": 0} {
		if got := startTicks(filepath.Join(proc, pid)); got != want {
			t.Errorf("%s: %d, want %d", pid, got, want)
		}
	}
}

// What a daemon has of ours follows from when it was started, and when its files were changed.
func TestTakenAtStart(t *testing.T) {
	const start = 100000 // by which the moments below are meant
	at := func(ticks uint64) wire.Moment { return wire.Moment{Boot: wire.Now().Boot, Ticks: start - 1000 + ticks} }
	last := wire.Moment{Boot: "the last one", Ticks: 5000}
	for _, c := range []struct {
		name    string
		written int // seconds after the start, or before it; 0 for no file that has ours
		changes wire.Changes
		ours    bool
		older   string // a part of it
	}{
		{name: "nothing was ever ours"},
		{name: "it has read ours", written: -10, changes: wire.Changes{First: at(500), Last: at(501)}, ours: true},
		{name: "it has never read ours", written: 10, changes: wire.Changes{First: at(2000), Last: at(2000)}, older: "before we have changed its files"},
		{name: "it has read ours, and not what became of it", written: 10, changes: wire.Changes{First: at(500), Last: at(2000)}, ours: true,
			older: "before we have changed its files"},
		{name: "in the same tick", written: -10, changes: wire.Changes{First: at(500), Last: at(1000)}, ours: true, older: "before we have changed its files"},
		{name: "it has read that nothing is ours any more", changes: wire.Changes{First: at(500), Last: at(999)}},
		{name: "it has not read that nothing is ours any more", changes: wire.Changes{First: at(500), Last: at(1001)}, ours: true, older: "goes on with it"},
		{name: "it has read neither", changes: wire.Changes{First: at(1500), Last: at(1502)}},
		{name: "it was started just before, and may have read later", changes: wire.Changes{First: at(1499), Last: at(1502)}, ours: true, older: "goes on with it"},
		{name: "it was started in the change", written: 10, changes: wire.Changes{First: at(999), Last: at(1001)}, ours: true, older: "before we have changed its files"},
		{name: "it was started between an uninstall and an install", written: 10, older: "before we have changed its files",
			changes: wire.Changes{First: at(500), Out: at(999), Again: at(1500), Last: at(1502)}},
		{name: "the same, and uninstalled again", changes: wire.Changes{First: at(500), Out: at(999), Again: at(1500), Last: at(1502)}},
		{name: "it was started as it was uninstalled", changes: wire.Changes{First: at(500), Out: at(1000), Again: at(1500), Last: at(1502)}, ours: true, older: "goes on with it"},
		{name: "it was started just before the second install", changes: wire.Changes{First: at(500), Out: at(999), Again: at(1499), Last: at(1502)}, ours: true, older: "goes on with it"},
		{name: "what was there by hand was taken out", changes: wire.Changes{Last: at(1002)}, ours: true, older: "goes on with it"},
		{name: "before the boot", changes: wire.Changes{First: last, Last: last}},
		{name: "by hand, before it was started", written: -10, ours: true},
		{name: "by hand, since", written: 10, ours: true, older: "before /etc/x.conf was changed"},
		{name: "somebody has changed it since", written: 10, changes: wire.Changes{First: at(500), Last: at(501)}, ours: true,
			older: "before /etc/x.conf was changed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := New(t.TempDir(), "/usr/local/bin")
			var files []string
			began := wire.Now().Ticks - uint64(c.written*100)
			if c.written != 0 {
				files = []string{"/etc/x.conf"}
				real := h.Tree.Real(files[0])
				if err := errors.Join(os.Mkdir(filepath.Dir(real), 0o755), os.WriteFile(real, nil, 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			for _, m := range []*wire.Moment{&c.changes.First, &c.changes.Last, &c.changes.Out, &c.changes.Again} {
				if m.Boot == wire.Now().Boot {
					m.Ticks = m.Ticks + began - start
				}
			}
			got, err := h.TakenAtStart(Process{PID: 7, Start: began}, "crio", wire.NewDraft(h.Tree), files, c.changes)
			if err != nil || got.Ours != c.ours || (got.Older == "") != (c.older == "") || !strings.Contains(got.Older, c.older) {
				t.Errorf("%+v, %v, want %v, %q", got, err, c.ours, c.older)
			}
			if got.Older != "" && !strings.HasPrefix(got.Older, "crio runs as process 7 since before ") {
				t.Error(got.Older)
			}
		})
	}
	h := New(t.TempDir(), "/usr/local/bin")
	if got, err := h.TakenAtStart(Process{PID: 7}, "crio", wire.NewDraft(h.Tree), nil, wire.Changes{}); err == nil || !got.Ours {
		t.Errorf("a start that is not known: %+v, %v", got, err)
	}
}
