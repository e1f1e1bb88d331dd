package notice

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// The longest line of the kernel's log and its longest parts, in bytes. The kernel refuses a line that is longer than
// LOG_LINE_MAX with the priority in front of it. That is at least 976 (kernel/printk/printk.c, devkmsg_write).
const (
	longestLine = 960
	longestWord = 24  // an engine or a command
	longestPart = 120 // each other value but the message, so that at least 200 are left for the message
)

// Facility is the syslog facility of notices: user-level messages. The kernel never uses it, and nobody who writes into the
// kernel's log can use the kernel's own facility (Documentation/ABI/testing/dev-kmsg).
const Facility = 1

// toKernel writes a clean notice into the kernel's log, as one record. It opens the device for each notice, because the
// kernel limits what is written through one descriptor to ten lines in five seconds
// (Documentation/admin-guide/sysctl/kernel.rst, printk_devkmsg).
func toKernel(device string, n Notice) {
	if device == "" {
		return
	}
	const flags = unix.O_WRONLY | unix.O_APPEND | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := unix.Open(device, flags, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_, _ = unix.Write(fd, n.kernel())
}

// kernel returns a clean notice as a record for the kernel's log: "<11>", which is the facility and the priority, and a
// line.
func (n Notice) kernel() []byte {
	b := strconv.AppendInt([]byte("<"), int64(Facility<<3|levels[n.Level].priority), 10)
	return append(n.appendLine(append(b, '>')), '\n')
}

// appendLine appends a clean notice to b as one line. The result has at most longestLine bytes:
//
//	oci-apparmor: level=refusal command=create engine=containerd id=shop msg="..."
//
// A value is a word of letters, digits and ._+:/@-, or a string of printable ASCII as Go quotes it. A value that was cut
// ends in "...".
func (n Notice) appendLine(b []byte) []byte {
	b = append(b, Identifier+": level="+string(n.Level)...)
	for _, f := range n.fields() {
		if *f.value != "" && f.key != "msg" {
			b = append(append(append(b, ' '), f.key...), '=')
			b = appendValue(b, *f.value, f.room)
		}
	}
	b = append(b, " msg="...)
	return appendQuoted(b, n.Message, longestLine-len(b)-len("\n"))
}

// lineField is a field of a line in the kernel's log.
type lineField struct {
	key   string
	value *string
	room  int // for its value, in bytes as they are written
}

func (n *Notice) fields() []lineField {
	return []lineField{
		{"command", &n.Command, longestWord},
		{"engine", &n.Engine, longestWord},
		{"id", &n.ID, longestPart},
		{"container", &n.Container, longestPart},
		{"namespace", &n.Namespace, longestPart},
		{"pod", &n.Pod, longestPart},
		{"policy", &n.Policy, longestPart},
		{"reason", (*string)(&n.Reason), longestWord},
		{"msg", &n.Message, longestLine},
	}
}

func appendValue(b []byte, s string, room int) []byte {
	if len(s) <= room && !strings.ContainsFunc(s, func(r rune) bool { return !isWord(r) }) {
		return append(b, s...)
	}
	return appendQuoted(b, s, room)
}

func isWord(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._+:/@-", r)
}

// appendQuoted appends a string in quotes, cut to room bytes with them.
func appendQuoted(b []byte, s string, room int) []byte {
	if q := strconv.QuoteToASCII(s); len(q) <= room {
		return append(b, q...)
	}
	b = append(b, '"')
	for room -= len(`"` + oneline.Mark + `"`); s != ""; {
		_, size := utf8.DecodeRuneInString(s)
		q := strconv.QuoteToASCII(s[:size])
		q = q[1 : len(q)-1]
		if room -= len(q); room < 0 {
			break
		}
		b, s = append(b, q...), s[size:]
	}
	return append(b, oneline.Mark+`"`...)
}

// ParseLine reads a line that Write put into the kernel's log. The identifier in front may be missing, because journald
// removes it. ok is false for any other line.
func ParseLine(line string) (n Notice, ok bool) {
	rest := strings.TrimPrefix(line, Identifier+": ")
	known := append(n.fields(), lineField{key: "level", value: (*string)(&n.Level)})
	seen := make(map[string]bool, len(known))
	for more := true; more; {
		var key, value string
		key, rest, ok = strings.Cut(rest, "=")
		if !ok || seen[key] || key == "" || strings.ContainsFunc(key, func(r rune) bool { return !isWord(r) }) {
			return Notice{}, false
		}
		seen[key] = true
		if value, rest, ok = takeValue(rest); !ok {
			return Notice{}, false
		}
		for _, f := range known { // a later version may add others
			if f.key == key {
				*f.value = value
			}
		}
		if more = rest != ""; more {
			if rest, ok = strings.CutPrefix(rest, " "); !ok {
				return Notice{}, false
			}
		}
	}
	if _, ok := levels[n.Level]; !ok || !seen["msg"] {
		return Notice{}, false
	}
	return n.Clean(), true
}

// takeValue takes a value from the front of a line.
func takeValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		end := strings.IndexFunc(s, func(r rune) bool { return !isWord(r) })
		if end < 0 {
			end = len(s)
		}
		return s[:end], s[end:], end > 0
	}
	quoted, err := strconv.QuotedPrefix(s)
	if err != nil {
		return "", "", false
	}
	value, err = strconv.Unquote(quoted)
	return value, s[len(quoted):], err == nil
}
