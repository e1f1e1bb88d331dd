package source

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// missedID is the MESSAGE_ID of what journald says of messages of the kernel that it did not get
// (SD_MESSAGE_JOURNAL_MISSED, systemd/sd-messages.h).
const missedID = "e9bf28e6e834481bb6f48f548ad13606"

// droppedID is the MESSAGE_ID of what journald says of messages of a service that came too fast
// (SD_MESSAGE_JOURNAL_DROPPED, systemd/sd-messages.h). What the kernel writes it takes at any speed.
const droppedID = "a596d6fe7bfa4994828e72309e95d61e"

// A journal reads what journalctl prints.
type journal struct {
	origin
	o       Options
	in      *pipe
	entries *export
	program *journalctl
	line    []byte
	doubles audit.Doubles
	socket  bool // something came by the audit socket
	numbers serials
	lost    losses
	counter lostCounter
}

func (h *Host) openJournal(ctx context.Context, o Options) (Source, error) {
	if _, err := os.Stat(h.Journald); err != nil && o.Follow {
		return nil, fmt.Errorf("the journal cannot be followed, as journald does not run: %w", err)
	}
	j := &journal{origin: origin{host: h, name: Journal}, o: o, doubles: audit.NewDoubles(), counter: h.sinceBoot()}
	if o.canary == "" {
		if err := j.beginning(ctx); err != nil {
			return nil, err
		}
	}
	if err := j.seed(ctx); err != nil {
		return nil, err
	}
	var err error
	if j.program, j.in, err = h.startJournalctl(journalArguments(o)...); err != nil {
		return nil, err
	}
	j.entries = newExport(j.in)
	return j, nil
}

// ways are journalctl's arguments for what came by the audit socket and from the kernel's log: records of all kinds, since their
// numbers show what is missing. The journal finds them by its index.
var ways = []string{"_TRANSPORT=audit", "+", "_TRANSPORT=kernel", "SYSLOG_FACILITY=0"}

// journalArguments returns journalctl's arguments for the entries that can have records, or say what is missing.
func journalArguments(o Options) []string {
	args := []string{"--lines=all"}
	if o.Follow {
		args = append(args, "--follow")
	}
	if !o.Since.IsZero() {
		args = append(args, "--since=@"+strconv.FormatInt(o.Since.Unix(), 10))
	}
	args = append(append(args, ways...), "+", "_TRANSPORT=driver", "MESSAGE_ID="+missedID, "MESSAGE_ID="+droppedID)
	for _, unit := range busUnits {
		args = append(args, "+", "_SYSTEMD_UNIT="+unit)
	}
	return args
}

// beginning notes a loss if the journal begins after Options.Since.
func (j *journal) beginning(ctx context.Context) error {
	if j.o.Since.IsZero() {
		return nil
	}
	program, in, err := j.host.startJournalctl()
	if err != nil {
		return err
	}
	in.until(ctx)
	entry, err := newExport(in).next()
	said := program.stop(in)
	switch {
	case errors.Is(err, io.EOF):
		j.lost.add("the journal, which is empty"+said, 0, true)
		return nil
	case err != nil:
		return fmt.Errorf("reading the journal: %w%s", err, said)
	}
	if at := micros(entry.received.text()); at.After(j.o.Since) {
		j.lost.add("the journal, which begins only at "+at.Format(time.DateTime), 0, true)
	}
	return nil
}

// seed notes the numbers of the last audit records of before Options.Since, after which others may be missing. Without a time,
// what the journal has is all that was asked for.
func (j *journal) seed(ctx context.Context) error {
	if j.o.Since.IsZero() {
		j.numbers.anew = true
		return nil
	}
	const enough = "--lines=20" // of different processors, which may have written in another order
	until := "--until=@" + strconv.FormatInt(j.o.Since.Unix(), 10)
	for _, way := range [][]string{ways[:1], append([]string{"--grep=^audit: type="}, ways[2:]...)} {
		program, in, err := j.host.startJournalctl(append([]string{until, "--reverse", enough}, way...)...)
		if err != nil {
			return err
		}
		in.until(ctx)
		entries := newExport(in)
		entry, err := entries.next()
		for ; err == nil; entry, err = entries.next() {
			if number, at, ok := entry.audited(); ok {
				j.numbers.add(entry.boot.text(), number, at)
			}
		}
		if said := program.stop(in); !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the journal: %w%s", err, said)
		}
	}
	j.numbers.begin()
	return nil
}

// audited returns the number of the audit record that an entry is of, whatever its kind.
func (e *journalEntry) audited() (number uint64, at time.Time, ok bool) {
	switch e.transport.text() {
	case "audit":
		number, err := strconv.ParseUint(e.serial.text(), 10, 64)
		return number, micros(cmp.Or(e.source.text(), e.received.text())), err == nil
	case "kernel":
		rest, is := strings.CutPrefix(e.message.text(), "audit: type=")
		if _, rest, cut := strings.Cut(rest, " "); is && cut && e.facility.text() == "0" {
			at, number, ok := audit.Stamp([]byte(rest))
			return number, at, ok
		}
	}
	return 0, at, false
}

// micros returns a time of the journal, or the zero one.
func micros(s string) time.Time {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMicro(n)
}

func (j *journal) Close() error {
	j.program.stop(j.in)
	return nil
}

func (j *journal) Lost() []Loss {
	noted := time.Now()
	if j.o.Follow {
		noted = noted.Add(-Settles)
	}
	lost := slices.Concat(j.lost.all(), j.counter.lost(), j.numbers.missing("the journal", noted))
	if !j.socket {
		lost = append(lost, Loss{By: "the kernel, as nothing came to the journal by the audit socket" +
			" (`systemctl enable --now systemd-journald-audit.socket`), and only ten messages in five seconds by the kernel's log", Unknown: true})
	}
	return lost
}

func (j *journal) Next(ctx context.Context, e *Entry) error {
	j.in.until(ctx)
	for {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		entry, err := j.entries.next()
		switch {
		case Ended(ctx, err):
			return err
		case err != nil:
			return j.end(err)
		}
		j.came()
		if j.read(entry, e) && j.o.wants(&e.Record) {
			return nil
		}
	}
}

// end returns what the end of journalctl means.
func (j *journal) end(err error) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("reading the journal: %w%s", err, j.program.stop(j.in))
	}
	said, failed := j.program.wait()
	switch {
	case failed != nil:
		return fmt.Errorf("reading the journal: %w%s", failed, said)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("reading the journal: %w%s", err, said)
	case j.o.Follow:
		return errors.New("reading the journal: journalctl has ended, although it was to wait for more" + said)
	case said != "": // such as that only root sees all entries, or that a file is broken
		j.lost.add("the journal, of which journalctl says"+said, 0, true)
	}
	return io.EOF
}

// read makes an Entry of the journal's, and reports whether it is a record that did not come shortly before.
func (j *journal) read(of *journalEntry, e *Entry) bool {
	message := []byte(of.message.text())
	if number, at, ok := of.audited(); ok {
		j.numbers.add(of.boot.text(), number, at)
	}
	switch of.transport.text() {
	case "audit":
		j.socket = true
		if !j.audited(of, e) {
			return false
		}
	case "kernel":
		// What a process wrote to /dev/kmsg has another facility. Of a text of several lines only the first one is the
		// kernel's, for the others can be of a process.
		first, _, _ := bytes.Cut(message, []byte{'\n'})
		if _, ok := e.Record.Parse(first); !ok {
			return false
		}
		e.Kernel = of.facility.text() == "0" && e.Record.Carrier == audit.Kernel && bytes.HasPrefix(first, []byte("audit: type=1"))
	case "driver":
		ofBus := func(unit string) bool { return bytes.HasSuffix(message, []byte(" from "+unit)) }
		if of.id.text() == missedID || of.id.text() == droppedID && slices.ContainsFunc(busUnits, ofBus) {
			j.lost.add("journald, which says: "+oneline.Whole(string(message)), 0, true)
		}
		return false
	default:
		if _, ok := e.Record.Parse(message); !ok {
			return false
		}
		e.Kernel = e.Record.Carrier == audit.Bare && bytes.HasPrefix(message, []byte(`apparmor="`)) && slices.Contains(busUnits, of.unit.text())
		e.Record.Time = micros(of.received.text())
		return true
	}
	return !e.Kernel || !j.doubles.Seen(&e.Record)
}

// audited reads an entry that came by the audit socket. journald takes the head of the message apart, and puts the name of
// its type before the rest (process_audit_string, systemd's journald-audit.c). From its fields the line of the kernel's log is made again.
func (j *journal) audited(of *journalEntry, e *Entry) bool {
	kind, err1 := strconv.ParseUint(of.kind.text(), 10, 16)
	serial, err2 := strconv.ParseUint(of.serial.text(), 10, 64)
	at := micros(of.source.text())
	if at.IsZero() {
		at = micros(of.received.text())
	}
	_, rest, ok := strings.Cut(of.message.text(), " ")
	if err1 != nil || err2 != nil || !ok || !apparmors(uint16(kind)) {
		return false
	}
	j.line = fmt.Appendf(j.line[:0], "audit: type=%d audit(%d.%03d:%d): %s", kind, at.Unix(), at.Nanosecond()/1e6, serial, rest)
	if _, ok := e.Record.Parse(j.line); !ok {
		return false
	}
	e.Kernel = e.Record.Carrier == audit.Kernel || e.Record.Carrier == audit.User && j.host.fromDBus(&e.Record)
	return true
}

// A journalctl is one that runs.
type journalctl struct {
	cmd   *exec.Cmd
	said  limited
	ended bool
	err   error
}

// kept names the fields that are read. Two that are read besides are always there: the time and the boot.
const kept = "--output-fields=MESSAGE,MESSAGE_ID,SYSLOG_FACILITY,_TRANSPORT,_SYSTEMD_UNIT,_AUDIT_TYPE,_AUDIT_ID,_SOURCE_REALTIME_TIMESTAMP"

// startJournalctl starts journalctl with these arguments behind those that all calls have.
func (h *Host) startJournalctl(arguments ...string) (*journalctl, *pipe, error) {
	program, err := exec.LookPath(h.Journalctl)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, nil, fmt.Errorf("there is no %s to read the journal with: it is of the package systemd", h.Journalctl)
	}
	if err != nil {
		return nil, nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	j := &journalctl{cmd: exec.Command(program, append([]string{"--output=export", "--no-pager", kept}, arguments...)...)}
	j.cmd.Stdout, j.cmd.Stderr = w, &j.said
	j.cmd.WaitDelay = time.Second // for whoever else has its standard error
	in, err := newPipe(r)
	if err == nil {
		err = j.cmd.Start()
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("reading the journal: %w", err), r.Close())
	}
	return j, in, nil
}

// wait waits for the program's end, and returns what it said, as the end of a sentence.
func (j *journalctl) wait() (said string, err error) {
	if !j.ended {
		j.ended, j.err = true, j.cmd.Wait()
	}
	if text := strings.TrimSpace(string(j.said)); text != "" {
		said = ": " + oneline.Whole(text)
	}
	return said, j.err
}

// stop ends the program, which cannot write any more.
func (j *journalctl) stop(in *pipe) (said string) {
	_ = in.Close()
	if !j.ended {
		_ = j.cmd.Process.Kill() // it fails only if the program has ended
	}
	said, _ = j.wait()
	return said
}

// limited keeps the beginning of what is written to it.
type limited []byte

func (l *limited) Write(b []byte) (int, error) {
	const most = 4 << 10
	*l = append(*l, b[:min(len(b), most-len(*l))]...)
	return len(b), nil
}
