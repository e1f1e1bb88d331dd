package source

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// dated writes a file that was last written to that many minutes ago.
func dated(t *testing.T, path, content string, minutes int) {
	t.Helper()
	write(t, path, content)
	when := time.Now().Add(-time.Duration(minutes) * time.Minute)
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
}

func gzipped(content string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write([]byte(content))
	w.Close()
	return b.String()
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestRotatedFilesAreReadOldestFirst(t *testing.T) {
	h := host(t)
	dated(t, h.AuditLog+".10", auditd(1), 50)
	dated(t, h.AuditLog+".2.gz", gzipped(auditd(2)), 40)
	dated(t, h.AuditLog+"-20261129.gz", gzipped(auditd(3)), 30)
	dated(t, h.AuditLog+".1", strings.TrimSuffix(auditd(4, 5), "\n"), 20) // its end was not written
	dated(t, h.AuditLog+".tmp", auditd(97), 2)
	dated(t, h.AuditLog+"x.1", auditd(98), 2)
	write(t, h.AuditLog, auditd(6))
	wantAll(t, open(t, h, AuditLog, Options{}), 1, 2, 3, 4, 5, 6)

	s := open(t, h, AuditLog, Options{Since: time.Now().Add(-35 * time.Minute)})
	if got, err := read(t, s); len(got) > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("of records that are all too old it has %v (%v)", got, err)
	}
	if lost := s.Lost(); len(lost) > 0 {
		t.Errorf("the log goes back far enough, and lost %v", lost)
	}
}

func TestFilesOfOneSecondAreAllRead(t *testing.T) {
	h := host(t)
	when := time.Now().Add(-time.Hour)
	for name, content := range map[string]string{".2": auditd(1), ".1.gz": gzipped(auditd(2))} {
		write(t, h.AuditLog+name, content)
		if err := os.Chtimes(h.AuditLog+name, when, when); err != nil {
			t.Fatal(err)
		}
	}
	write(t, h.AuditLog, auditd(3))
	wantAll(t, open(t, h, AuditLog, Options{}), 1, 2, 3)
}

func TestAuditdsLogIsWhereItsConfigurationSays(t *testing.T) {
	h := host(t)
	other := t.TempDir() + "/other.log"
	write(t, other, auditd(1))
	write(t, h.AuditConf, "local_events = yes\nlog_file = "+other+"\n")
	wantAll(t, open(t, h, AuditLog, Options{}), 1)
}

func TestWhatAuditdsLogLacksIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		make func(h *Host)
		by   string
		want []int
	}{
		"it begins late": {func(h *Host) { write(t, h.AuditLog, auditd(5)) }, "begins only at", []int{5}},
		"others can write a file": {func(h *Host) {
			dated(t, h.AuditLog+".1", auditd(4), 1)
			os.Chmod(h.AuditLog+".1", 0o666)
			write(t, h.AuditLog, auditd(1, 5)) // the log goes back far enough without it
		}, "others than root", []int{5}},
		"a file is broken": {func(h *Host) {
			dated(t, h.AuditLog+".1.gz", gzipped(auditd(1, 4))[:60], 1)
			write(t, h.AuditLog, auditd(1, 5))
		}, "cannot be unpacked", []int{5}},
		"a file is of xz": {func(h *Host) {
			dated(t, h.AuditLog+".1.xz", "\xfd7zXZ\x00", 1)
			write(t, h.AuditLog, auditd(1, 5))
		}, "xz", []int{5}},
		"the kernel dropped some": {func(h *Host) {
			write(t, h.AuditLog, auditd(1, 5))
			h.Status = func() (Status, error) { return Status{Lost: 3, BacklogLimit: 64}, nil }
		}, "the kernel, which keeps 64", []int{5}},
		"it was emptied": {func(h *Host) { write(t, h.AuditLog, "") }, "which is empty", nil},
		"auditd was stopped for a time": {func(h *Host) {
			write(t, h.AuditLog, auditd(1)+daemonSays("END", 2)+daemonSays("START", 5)+auditd(6))
		}, "did not run from " + at(2).Format(time.DateTime) + " to " + at(5).Format(time.DateTime), []int{6}},
		"auditd was stopped, over a rotation": {func(h *Host) {
			dated(t, h.AuditLog+".1", auditd(1)+strings.TrimSuffix(daemonSays("END", 4), "\n"), 0)
			write(t, h.AuditLog, daemonSays("START", 5)+auditd(6))
		}, "did not run from ", []int{6}},
		"auditd was killed, and on a node with its name in the log": {func(h *Host) {
			write(t, h.AuditLog, auditd(1)+"node=a "+daemonSays("START", 5)+auditd(6))
		}, "did not run before " + at(5).Format(time.DateTime), []int{6}},
		"auditd does not run": {func(h *Host) { write(t, h.AuditLog, auditd(1)+daemonSays("END", 2)) }, "has not run since", nil},
		"auditd begins again and again": {func(h *Host) {
			write(t, h.AuditLog, auditd(1)+daemonSays("START", 2)+daemonSays("END", 4)+daemonSays("START", 5)+daemonSays("START", 6)+daemonSays("RESUME", 7))
		}, "it began 2 more times", nil},
		"the kernel does not say": {func(h *Host) {
			write(t, h.AuditLog, auditd(1, 5))
			h.Status = func() (Status, error) { return Status{}, os.ErrPermission }
		}, "cannot be read", []int{5}},
	} {
		t.Run(name, func(t *testing.T) {
			h := host(t)
			c.make(h)
			s := open(t, h, AuditLog, Options{Since: at(3)})
			wantAll(t, s, c.want...)
			if lost := s.Lost(); len(lost) != 1 || !strings.Contains(lost[0].String(), c.by) {
				t.Errorf("lost %v", lost)
			}
		})
	}
}

// daemonSays is a line of auditd's about itself.
func daemonSays(kind string, serial int) string {
	return "type=DAEMON_" + kind + " msg=" + strings.SplitAfter(record(serial), "):")[0] + " op=x ver=4.0 auid=0 pid=7 res=success\n"
}

// Whoever can write a word into a record says nothing of auditd by it, and neither does what was before.
func TestNothingElseSaysThatAuditdDidNotRun(t *testing.T) {
	h := host(t)
	end := strings.TrimSpace(daemonSays("START", 5))
	write(t, h.AuditLog, auditd(1)+daemonSays("END", 1)+daemonSays("START", 2)+"type=USER_AVC msg="+record(4)+" exe=\""+end+"\"\n"+
		"type=CWD msg=audit(1700000004.123:4): cwd=\""+end+"\"\n"+daemonSays("ROTATE", 5)+daemonSays("CONFIG", 5)+auditd(6))
	s := open(t, h, AuditLog, Options{Since: at(3)})
	read(t, s)
	if lost := s.Lost(); len(lost) != 0 {
		t.Errorf("lost %v", lost)
	}
}

// Lines come in parts.
func TestWhenAuditdRanIsReadInAnyParts(t *testing.T) {
	text := auditd(1) + daemonSays("END", 2) + auditd(3) + daemonSays("START", 5)
	for size := 1; size < 400; size++ {
		var d daemon
		for part := range slices.Chunk([]byte(text), size) {
			d.read(part)
		}
		if !d.from.Equal(at(2)) || !d.to.Equal(at(5)) || !d.ended.IsZero() {
			t.Fatalf("in parts of %d bytes, it did not run from %s to %s, and since %s", size, d.from, d.to, d.ended)
		}
	}
}

// What is to be followed and cannot be read is waited for, as it is rotated away some day. That is said.
func TestALogThatCannotBeReadYetIsOpenedAtOnce(t *testing.T) {
	h := host(t)
	write(t, h.AuditLog, auditd(1))
	if err := os.Chmod(h.AuditLog, 0o666); err != nil {
		t.Fatal(err)
	}
	s := open(t, h, AuditLog, Options{Follow: true})
	time.AfterFunc(20*time.Millisecond, func() {
		rename(t, h.AuditLog, h.AuditLog+".1")
		write(t, h.AuditLog, auditd(2))
	})
	if got := follow(t, s, 1); got[0] != 2 {
		t.Errorf("read %v", got)
	}
	if lost := s.Lost(); len(lost) != 1 || !strings.Contains(lost[0].By, "others than root") {
		t.Errorf("lost %v", lost)
	}
}

func TestALinkInTheLogsDirectoryIsNotFollowed(t *testing.T) {
	h := host(t)
	dir := t.TempDir()
	write(t, dir+"/x", auditd(1))
	if err := os.Symlink(dir+"/x", h.AuditLog); err != nil {
		t.Fatal(err)
	}
	if s, err := h.Open(t.Context(), AuditLog, Options{}); err == nil {
		t.Errorf("read %s through a link", s.Name())
	}
}

// Who asks for records from now on gets that of the next denial, although the kernel's clock for records is a little late.
func TestARecordIsNotOlderThanItsEvent(t *testing.T) {
	h := host(t)
	write(t, h.AuditLog, auditd(1))
	wantAll(t, open(t, h, h.AuditLog, Options{Since: at(1).Add(99 * time.Millisecond)}), 1)
	wantAll(t, open(t, h, h.AuditLog, Options{Since: at(1).Add(101 * time.Millisecond)}))
}

// follow reads a source until it has that many records.
func follow(t *testing.T, s Source, n int) (serials []int) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	var e Entry
	for len(serials) < n {
		if err := s.Next(ctx, &e); err != nil {
			t.Fatalf("after %v: %v", serials, err)
		}
		serials = append(serials, signed(&e))
	}
	return serials
}

func add(t *testing.T, path, content string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
}

func TestALogIsFollowedOverRotations(t *testing.T) {
	h := host(t)
	dated(t, h.AuditLog+".1", auditd(1), 20)
	write(t, h.AuditLog, auditd(2))
	s := open(t, h, AuditLog, Options{Follow: true})
	want := []int{}
	expect := func(serials ...int) {
		t.Helper()
		if got := follow(t, s, len(serials)); !slices.Equal(got, serials) {
			t.Fatalf("read %v, want %v", got, serials)
		}
		want = append(want, serials...)
	}
	expect(1, 2)

	// While it waits.
	inHalves := func(line string) {
		time.Sleep(10 * time.Millisecond)
		add(t, h.AuditLog, line[:100])
		time.Sleep(10 * time.Millisecond)
		add(t, h.AuditLog, line[100:])
	}
	go inHalves(auditd(3))
	expect(3)

	// Rotated, with more written before.
	add(t, h.AuditLog, auditd(4))
	rename(t, h.AuditLog+".1", h.AuditLog+".2")
	rename(t, h.AuditLog, h.AuditLog+".1")
	time.AfterFunc(20*time.Millisecond, func() { write(t, h.AuditLog, auditd(5)) })
	expect(4, 5)

	// Twice, while nobody reads, and what was read is packed.
	rename(t, h.AuditLog+".1", h.AuditLog+".3")
	rename(t, h.AuditLog, h.AuditLog+".2")
	write(t, h.AuditLog, auditd(6))
	rename(t, h.AuditLog, h.AuditLog+".1")
	st, err := os.Stat(h.AuditLog + ".3")
	if err != nil {
		t.Fatal(err)
	}
	write(t, h.AuditLog+".3.gz", gzipped(auditd(2, 3, 4)))
	if err := errors.Join(os.Chtimes(h.AuditLog+".3.gz", st.ModTime(), st.ModTime()), os.Remove(h.AuditLog+".3")); err != nil {
		t.Fatal(err)
	}
	write(t, h.AuditLog, auditd(7))
	expect(6, 7)

	// Cut short, as logrotate's copytruncate does.
	if err := os.Truncate(h.AuditLog, 0); err != nil {
		t.Fatal(err)
	}
	go inHalves(auditd(8))
	expect(8)
	if lost := s.Lost(); len(lost) != 1 || !strings.Contains(lost[0].By, "cut short") {
		t.Errorf("lost %v", lost)
	}
}

// Some lines at the beginning are skipped without being read; what is found is the same.
func TestSinceFindsTheSameRecordsInALongLog(t *testing.T) {
	h := host(t)
	var b strings.Builder
	const all = 5000
	for n := range all {
		b.WriteString(auditd(n + 1))
		if n%7 == 0 {
			b.WriteString("type=USER_CMD msg=audit(1.000:1): pid=1 msg='cmd=" + strconv.Itoa(n) + " type=AVC msg=audit(9999999999.000:1): apparmor=\"DENIED\" '\n")
		}
	}
	write(t, h.AuditLog, b.String())
	for _, since := range []int{1, 2, 40, 2500, all - 1, all, all + 1} {
		s := open(t, h, AuditLog, Options{Since: at(since)})
		got, err := read(t, s)
		if len(got) != max(all-since+1, 0) || len(got) > 0 && got[0] != since || !errors.Is(err, io.EOF) {
			t.Errorf("since %d it has %d records (%v)", since, len(got), err)
		}
	}
}

// Whatever the files are named and how they are cut, no record is read twice, none is lost and the order is kept.
func FuzzRotation(f *testing.F) {
	f.Add(uint64(1), 30)
	f.Add(uint64(7), 3)
	f.Fuzz(func(t *testing.T, seed uint64, records int) {
		if records < 1 || records > 200 {
			t.Skip("from 1 to 200 records show all that rotation does")
		}
		random := rand.New(rand.NewPCG(seed, seed))
		h := host(t)
		var contents []string
		var want []int
		text := ""
		for n := 1; n <= records; n++ {
			text += auditd(n)
			want = append(want, n)
			if random.IntN(10) == 0 {
				contents, text = append(contents, text), ""
			}
		}
		for i, content := range contents {
			path, age := h.AuditLog+"."+strconv.Itoa(len(contents)-i), (len(contents)-i)*(1+random.IntN(2)/2)
			if random.IntN(2) == 0 {
				path, content = path+".gz", gzipped(content)
			}
			dated(t, path, content, age)
		}
		write(t, h.AuditLog, text)
		s := open(t, h, AuditLog, Options{})
		wantAll(t, s, want...)
		if lost := s.Lost(); len(lost) > 0 {
			t.Errorf("lost %v", lost)
		}
	})
}
