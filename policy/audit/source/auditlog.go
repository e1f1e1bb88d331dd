package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// An auditLog is the text of auditd's log: that of its rotated files, the oldest first, and then of the one that auditd
// writes to. It can go on from there, over rotations.
type auditLog struct {
	set    rotated
	o      Options
	ctx    context.Context
	lost   losses
	done   map[inode]bool // files that were read, or are not to be
	known  map[inode]bool // files that were there at the beginning
	times  map[int64]bool // when those were written to last that were read; packing a file keeps that, to a second
	old    bool           // there are files of before Options.Since
	first  bool           // something was read
	daemon daemon         // when auditd ran
	file   *os.File       // that is read; nil between two
	text   plain          // what is in it
	live   bool           // it is the one that auditd writes to
	at     int64          // how much of it was read, if it is not compressed
	broken bool           // the text of the next file follows, and a line may have been cut
	watch  *watch         // nil if not followed
	came   func()         // is called when something has changed
}

func (h *Host) openAuditLog(o Options) (Source, error) {
	path := h.auditLogPath()
	l := &auditLog{set: rotated(path), o: o, ctx: context.Background(), done: map[inode]bool{}, known: map[inode]bool{},
		times: map[int64]bool{}, daemon: daemon{since: o.Since}}
	t := newText(AuditLog, l, h, o)
	t.trusted = true // auditLog opens no others
	l.came = t.came
	counter := h.sinceBoot()
	t.more = func() []Loss { return slices.Concat(l.lost.all(), l.daemon.lost(), counter.lost()) }
	files, err := l.set.files()
	if err != nil {
		return nil, fmt.Errorf("auditd's log cannot be read: %w%s", err, needs(err, "CAP_DAC_READ_SEARCH"))
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no %s: auditd is not installed, or has never run", oneline.Name(path))
	}
	for _, f := range files {
		l.known[f.inode] = true
	}
	if o.Follow {
		if l.watch, err = newWatch(filepath.Dir(path)); err != nil {
			return nil, err
		}
	}
	// What cannot be opened is said now and not by the first read. Nothing is waited for here.
	now, stop := context.WithCancel(l.ctx)
	stop()
	l.ctx = now
	if err := l.advance(); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) {
		return nil, errors.Join(err, l.Close())
	}
	return t, nil
}

// auditLogPath returns where auditd writes to, from its configuration (auditd.conf(5)).
func (h *Host) auditLogPath() string {
	conf, _ := os.ReadFile(h.AuditConf)
	for line := range strings.Lines(string(conf)) {
		key, value, ok := strings.Cut(line, "=")
		if value = strings.TrimSpace(value); ok && strings.TrimSpace(key) == "log_file" && filepath.IsAbs(value) {
			return value
		}
	}
	return h.AuditLog
}

func (l *auditLog) until(ctx context.Context) { l.ctx = ctx }

func (l *auditLog) Close() error {
	err := l.shut()
	if l.watch != nil {
		err = errors.Join(err, l.watch.Close())
	}
	return err
}

// shut closes the present file.
func (l *auditLog) shut() error {
	if l.file == nil {
		return nil
	}
	if st, err := l.file.Stat(); err == nil {
		l.times[st.ModTime().Unix()] = true
	}
	err := l.text.Close()
	l.file = nil
	return err
}

func (l *auditLog) Read(b []byte) (int, error) {
	for {
		if l.file == nil {
			if err := l.advance(); err != nil {
				return 0, err
			}
		}
		if l.broken {
			l.broken = false
			l.daemon.read([]byte{'\n'})
			return copy(b, "\n"), nil
		}
		// Rotation is looked for before the end is: what auditd wrote until then is read.
		gone := l.live && l.set.moved(l.file)
		n, err := l.text.Read(b)
		l.at += int64(n)
		if n > 0 {
			l.begin(b[:n])
			l.daemon.read(b[:n])
			return n, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			l.lost.add(fmt.Sprintf("auditd's log, as %v", err), 0, true)
			gone, l.live = true, false
		}
		switch {
		case !l.live || gone:
			if err := l.shut(); err != nil {
				return 0, err
			}
			l.broken = true
		case l.cut():
		case l.watch == nil:
			if !l.first && !l.old && !l.o.Since.IsZero() {
				l.first = true
				l.lost.add("auditd's log, which is empty", 0, true)
			}
			return 0, io.EOF
		default:
			if err := l.wait(); err != nil {
				return 0, err
			}
		}
	}
}

// wait returns when something has changed, which can be that a file is there that is not read.
func (l *auditLog) wait() error {
	err := l.watch.wait(l.ctx)
	if err == nil {
		l.came()
	}
	return err
}

// cut reports whether the present file was cut short under the reader, and goes to its beginning then.
func (l *auditLog) cut() bool {
	st, err := l.file.Stat()
	if err != nil || st.Size() >= l.at {
		return false
	}
	l.lost.add("auditd's log, which somebody has cut short while it was read", 0, true)
	if _, err := l.file.Seek(0, io.SeekStart); err != nil {
		return false
	}
	l.at, l.broken = 0, true
	l.text = plain{l.file, l.file.Close}
	return true
}

// errSkipped is the error for a file that is not read. What that means for the records is said already.
var errSkipped = errors.New("not read")

// advance opens the oldest file that was not read yet. The error is io.EOF if there is none.
func (l *auditLog) advance() error {
	for renamed := 0; renamed < 100; {
		files, err := l.set.files()
		if err != nil {
			return err
		}
		next, ok := l.choose(files)
		if !ok && l.watch == nil {
			return io.EOF
		}
		if !ok { // between the two steps of a rotation
			if err := l.wait(); err != nil {
				return err
			}
			continue
		}
		switch err := l.open(next); {
		case errors.Is(err, fs.ErrNotExist):
			renamed++
		case !errors.Is(err, errSkipped):
			return err
		}
	}
	return errors.New("auditd's log is rotated faster than it can be read")
}

// choose returns the next file, and notes what is not to be read.
func (l *auditLog) choose(files []logFile) (next logFile, ok bool) {
	for _, f := range files {
		switch {
		case l.done[f.inode]:
		case f.changed.Before(l.o.Since) && !f.live:
			l.done[f.inode], l.old = true, true
		case f.packed && !l.known[f.inode] && l.times[f.changed.Unix()]: // it was read before it was packed
		default:
			return f, true
		}
	}
	return logFile{}, false
}

// open opens a file. The error wraps fs.ErrNotExist if it is not there any more.
func (l *auditLog) open(next logFile) error {
	f, st, err := openSafely(next.path, unix.O_NOFOLLOW)
	if err != nil {
		return err
	}
	if is, err := inodeOfOpen(f); err != nil || is != next.inode {
		return errors.Join(cmp.Or(err, fs.ErrNotExist), f.Close())
	}
	l.done[next.inode] = true
	if !onlyOwn(next.path, st) {
		l.lost.add(fmt.Sprintf("auditd's log, of which %s was not read, as others than root could have written it", oneline.Name(next.path)), 0, true)
		return errors.Join(errSkipped, f.Close())
	}
	text := plain{f, f.Close}
	if next.packed {
		if text, err = unpacked(f, next.path); err != nil {
			l.lost.add(fmt.Sprintf("auditd's log, as %v", err), 0, true)
			return errors.Join(errSkipped, f.Close())
		}
	}
	l.at = 0
	if !next.packed {
		if l.at, err = seek(f, st.Size, l.o.Since); err != nil {
			return errors.Join(err, f.Close())
		}
		l.old = l.old || l.at > 0
	}
	if next.live && l.watch != nil {
		if err := l.watch.file(f); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	l.file, l.text, l.live = f, text, next.live
	return nil
}

// begin looks at the first text of all, whether the log goes back as far as it was asked for.
func (l *auditLog) begin(b []byte) {
	if l.first || l.old || l.o.Since.IsZero() {
		return
	}
	l.first = true
	_, message, _ := strings.Cut(string(b[:min(len(b), 512)]), "msg=")
	if at, _, ok := audit.Stamp([]byte(message)); ok && at.After(l.o.Since) {
		l.lost.add("auditd's log, which begins only at "+at.Format(time.DateTime), 0, true)
	}
}
