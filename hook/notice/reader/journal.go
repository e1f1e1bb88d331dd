package reader

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// longestEntry is the size of the longest entry of the journal that is read, in bytes of JSON. It is about six times the
// longest notice with all of journald's own fields. A longer entry is not ours.
const longestEntry = 256 << 10

// readJournal reads what journalctl prints.
func (r Reader) readJournal(ctx context.Context, q Query, each func(notice.Notice) error, warn func(string)) error {
	program, err := r.program()
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, program, r.arguments(q)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	ours := eachLine(out, longestEntry, func(line []byte) error {
		if n, ok := r.parseEntry(line); ok && !n.Time.Before(q.Since) {
			return each(n)
		}
		return nil
	})
	if ours != nil {
		stop()
	}
	err = cmd.Wait()
	said := oneline.Printable(strings.TrimSpace(stderr.String()))
	switch {
	case ours != nil:
		return ours
	case err != nil && said != "":
		return fmt.Errorf("%s: %w: %s", program, err, said)
	case err != nil:
		return fmt.Errorf("%s: %w", program, err)
	case said != "": // such as that only root or a group sees all entries
		warn(said)
	}
	return nil
}

// arguments returns journalctl's arguments for the entries that may be ours. The journal finds these by its index.
func (r Reader) arguments(q Query) []string {
	args := []string{"--output=json", "--all", "--no-pager", "--lines=all"}
	if q.Follow {
		args = append(args, "--follow")
	}
	if !q.Since.IsZero() {
		args = append(args, "--since=@"+strconv.FormatInt(q.Since.Unix(), 10))
	}
	for _, l := range []notice.Level{notice.Refusal, notice.Warning} {
		args = append(args, "MESSAGE_ID="+l.MessageID())
	}
	args = append(args, "_TRANSPORT=journal", "_UID=0")
	if r.UID != 0 {
		args = append(args, "_UID="+strconv.Itoa(r.UID))
	}
	return append(args, "+", "_TRANSPORT=kernel", "SYSLOG_IDENTIFIER="+notice.Identifier)
}

// parseEntry makes a notice of an entry as journalctl prints it in JSON. ok is false for an entry that is not ours, or that
// a container could have written.
func (r Reader) parseEntry(line []byte) (n notice.Notice, ok bool) {
	var entry map[string]json.RawMessage
	if json.Unmarshal(line, &entry) != nil {
		return n, false
	}
	field := func(key string) string {
		var s string // a field that is there twice, or is not UTF-8, is a list: we write neither
		if json.Unmarshal(entry[key], &s) != nil {
			return ""
		}
		return s
	}
	switch field("_TRANSPORT") {
	case "journal":
		uid, err := strconv.Atoi(field("_UID"))
		if err != nil || uid != 0 && uid != r.UID {
			return n, false
		}
		for _, l := range []notice.Level{notice.Refusal, notice.Warning} {
			if field("MESSAGE_ID") == l.MessageID() {
				n, ok = notice.FromJournal(l, field), true
			}
		}
	case "kernel":
		if field("SYSLOG_IDENTIFIER") == notice.Identifier && field("SYSLOG_FACILITY") == strconv.Itoa(notice.Facility) {
			n, ok = notice.ParseLine(field("MESSAGE"))
		}
	}
	us, err := strconv.ParseInt(field("__REALTIME_TIMESTAMP"), 10, 64)
	if err != nil || !ok {
		return notice.Notice{}, false
	}
	n.Time = time.UnixMicro(us).UTC()
	return n, true
}

// eachLine calls each for every line of r that has at most most bytes.
func eachLine(r io.Reader, most int, each func(line []byte) error) error {
	lines := bufio.NewReaderSize(r, most)
	for tooLong := false; ; {
		line, err := lines.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			tooLong = true
			continue
		case len(line) > 0 && !tooLong:
			if err := each(line); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		tooLong = false
	}
}
