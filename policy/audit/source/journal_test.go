package source

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
)

// exported writes an entry in the journal's export format.
func exported(fields map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		value := fields[key]
		if !strings.ContainsAny(value, "\n\x1d") {
			b.WriteString(key + "=" + value + "\n")
			continue
		}
		b.WriteString(key + "\n")
		b.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
		b.WriteString(value + "\n")
	}
	return b.String() + "\n"
}

// body is a record without its head.
func body(serial int) string {
	_, after, _ := strings.Cut(record(serial), "): ")
	return after
}

// bySocket is an entry that journald has from the audit socket.
func bySocket(serial int) map[string]string {
	return map[string]string{"__CURSOR": "s=1", "__REALTIME_TIMESTAMP": strconv.FormatInt(at(serial).UnixMicro()+500, 10),
		"_SOURCE_REALTIME_TIMESTAMP": strconv.FormatInt(at(serial).UnixMicro(), 10), "_TRANSPORT": "audit",
		"_AUDIT_TYPE": "1400", "_AUDIT_TYPE_NAME": "AVC", "_AUDIT_ID": strconv.Itoa(serial), "MESSAGE": "AVC " + body(serial), "AUDIT_FIELD_NAME": "x"}
}

// byKernel is an entry that journald has from the kernel's log.
func byKernel(serial int) map[string]string {
	return map[string]string{"__REALTIME_TIMESTAMP": strconv.FormatInt(at(serial).UnixMicro(), 10), "_TRANSPORT": "kernel",
		"SYSLOG_FACILITY": "0", "SYSLOG_IDENTIFIER": "kernel", "MESSAGE": "audit: type=1400 " + record(serial)}
}

// byProgram is an entry that journald has from a program.
func byProgram(serial int, transport, unit string) map[string]string {
	return map[string]string{"__REALTIME_TIMESTAMP": strconv.FormatInt(at(serial).UnixMicro(), 10), "_TRANSPORT": transport,
		"_SYSTEMD_UNIT": unit, "SYSLOG_IDENTIFIER": "kernel", "SYSLOG_FACILITY": "0", "MESSAGE": body(serial)}
}

func with(entry map[string]string, key, value string) map[string]string {
	entry[key] = value
	return entry
}

// journaled returns a node with a journal of these entries.
func journaled(t *testing.T, entries ...map[string]string) *Host {
	t.Helper()
	h := host(t)
	var b strings.Builder
	for _, e := range entries {
		b.WriteString(exported(e))
	}
	write(t, h.Journalctl+".export", b.String())
	program(t, h, `cat "$0.export"`)
	return h
}

// program makes a script of the node's journalctl.
func program(t *testing.T, h *Host, script string) {
	t.Helper()
	if err := os.WriteFile(h.Journalctl, []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
}

func TestOfTheJournalOnlyWhatJournaldHasFromTheKernelIsBelieved(t *testing.T) {
	forged := "audit: type=1400 " + record(9)
	h := journaled(t,
		bySocket(1),
		byKernel(1), // the same, by the other way
		byKernel(2),
		with(byKernel(3), "SYSLOG_FACILITY", "1"), // a process wrote to /dev/kmsg
		with(byKernel(4), "MESSAGE", "overlayfs: x\n"+forged),
		with(byProgram(5, "stdout", "docker.service"), "MESSAGE", "audit: type=1400 "+record(5)),
		with(byProgram(6, "journal", "evil.service"), "_AUDIT_TYPE", "1400"),
		byProgram(7, "syslog", "dbus.service"),
		with(byProgram(8, "syslog", "dbus.service"), "MESSAGE", "x "+body(8)),
		with(bySocket(10), "_AUDIT_TYPE", "1107"), // a process sent it
		with(bySocket(11), "_AUDIT_TYPE", "1300"),
	)
	s := open(t, h, Journal, Options{})
	var e Entry
	var got []string
	var err error
	for err = s.Next(t.Context(), &e); err == nil; err = s.Next(t.Context(), &e) {
		got = append(got, strconv.FormatBool(e.Kernel)+" "+strconv.FormatInt(e.Record.Time.Unix()-1700000000, 10))
	}
	want := []string{"true 1", "true 2", "false 3", "false 5", "false 6", "true 7", "false 8"}
	if !slices.Equal(got, want) || err != io.EOF {
		t.Errorf("the journal has %q (%v), want %q", got, err, want)
	}
	if lost := s.Lost(); len(lost) > 0 {
		t.Errorf("lost %v", lost)
	}
}

// A field of journald's own stands once. A second one of its name is not journald's, or its journal is broken.
func TestAFieldThatIsThereTwiceHasNoValue(t *testing.T) {
	h := host(t)
	write(t, h.Journalctl+".export", strings.Replace(exported(byKernel(1)), "SYSLOG_FACILITY=0\n", "SYSLOG_FACILITY=1\nSYSLOG_FACILITY=0\n", 1))
	program(t, h, `cat "$0.export"`)
	wantAll(t, open(t, h, Journal, Options{}), -1)
}

func TestAJournalThatCannotHaveThemIsNotSilent(t *testing.T) {
	h := journaled(t, byKernel(1))
	s := open(t, h, Journal, Options{})
	wantAll(t, s, 1)
	if lost := s.Lost(); len(lost) != 1 || !strings.Contains(lost[0].By, "systemd-journald-audit.socket") {
		t.Errorf("without the audit socket it lost %v", lost)
	}
	s = open(t, h, Journal, Options{Since: at(0)})
	wantAll(t, s, 1)
	if lost := s.Lost(); len(lost) != 2 || !strings.Contains(lost[0].By, "begins only at") {
		t.Errorf("of before its beginning it lost %v", lost)
	}

	s = open(t, journaled(t, bySocket(1), map[string]string{"_TRANSPORT": "driver", "MESSAGE_ID": missedID, "MESSAGE": "Missed 7 kernel messages"}), Journal, Options{})
	wantAll(t, s, 1)
	if lost := s.Lost(); len(lost) != 1 || !strings.Contains(lost[0].By, "Missed 7") {
		t.Errorf("of what journald missed it lost %v", lost)
	}

	h = journaled(t, bySocket(1))
	program(t, h, `cat "$0.export"; echo "Hint: You are currently not seeing messages from other users." >&2`)
	s = open(t, h, Journal, Options{})
	wantAll(t, s, 1)
	if lost := s.Lost(); len(lost) != 1 || !strings.Contains(lost[0].By, "not seeing messages") {
		t.Errorf("without rights it lost %v", lost)
	}
}

func TestAJournalctlThatFailsIsNoEnd(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		follow bool
		says   string
	}{
		"it fails":           {`echo "Failed to open files" >&2; exit 1`, false, "Failed to open files"},
		"it ends in between": {`printf 'MESSAGE=x\n'`, false, "unexpected EOF"},
		"it is killed":       {`kill -9 $$`, false, "killed"},
		"it does not wait":   {`exit 0`, true, "journalctl has ended"},
		"it is endless":      {`head -c 200000 /dev/zero | tr '\0' x`, false, "a name of more"},
	} {
		t.Run(name, func(t *testing.T) {
			h := host(t)
			write(t, h.Journald, "")
			program(t, h, c.script)
			if got, err := read(t, open(t, h, Journal, Options{Follow: c.follow})); errors.Is(err, io.EOF) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("has %v and ends with %v, want %s", got, err, c.says)
			}
		})
	}
	h := host(t)
	if _, err := h.Open(t.Context(), Journal, Options{}); err == nil {
		t.Error("without journalctl it was opened")
	}
	program(t, h, "")
	if _, err := h.Open(t.Context(), Journal, Options{Follow: true}); err == nil || !strings.Contains(err.Error(), "journald does not run") {
		t.Errorf("without journald: %v", err)
	}
}

func TestALongFieldHidesNoEntry(t *testing.T) {
	long := strings.Repeat("x", 5*longestField)
	for name, value := range map[string]string{"text": long, "binary": long + "\n"} {
		h := journaled(t, with(bySocket(1), "AUDIT_FIELD_NAME", value), with(bySocket(2), "MESSAGE", "AVC "+body(2)+value), bySocket(3))
		t.Run(name, func(t *testing.T) { wantAll(t, open(t, h, Journal, Options{}), 1, 2, 3) })
	}
}

// Entries are the same however they come, and what is broken ends with an error and not with a panic or an endless loop.
func FuzzExport(f *testing.F) {
	f.Add([]byte(exported(bySocket(1)) + exported(byKernel(2))))
	f.Add([]byte("MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffx\n\n"))
	f.Add([]byte("MESSAGE\n\x02\x00\x00\x00\x00\x00\x00\x00x\n\n\n=\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		entries := func(in io.Reader) (all []string, err error) {
			x := newExport(in)
			for {
				e, err := x.next()
				if err != nil {
					return all, err
				}
				all = append(all, e.message.text()+"\x00"+e.transport.text()+"\x00"+e.kind.text())
			}
		}
		whole, err1 := entries(bytes.NewReader(stream))
		pieces, err2 := entries(iotest.OneByteReader(bytes.NewReader(stream)))
		if !slices.Equal(whole, pieces) || (err1 == io.EOF) != (err2 == io.EOF) {
			t.Errorf("read as %q (%v), and byte by byte as %q (%v)", whole, err1, pieces, err2)
		}
	})
}
