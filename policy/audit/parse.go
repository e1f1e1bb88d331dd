package audit

import (
	"bytes"
	"time"
	"unicode"
)

// mostFields bounds the fields of a record. The kernel writes some twenty. What follows is kept as one text.
const mostFields = 128

// numbers are the types of records that only AppArmor has (AUDIT_APPARMOR_*, include/uapi/linux/audit.h), and what they
// stand for where the record itself does not say.
var numbers = map[string]Type{
	"1501": Audited, "1502": Allowed, "1503": Denied, "1504": Hint, "1505": Status, "1506": Error, "1507": Killed,
	"APPARMOR_AUDIT": Audited, "APPARMOR_ALLOWED": Allowed, "APPARMOR_DENIED": Denied, "APPARMOR_HINT": Hint,
	"APPARMOR_STATUS": Status, "APPARMOR_ERROR": Error, "APPARMOR_KILLED": Killed,
}

// Parse reads the first of AppArmor's records in a line, without its line break, and reports whether there is one. rest is
// where the next record begins, if several lines ran into another, and else empty.
//
// Parse keeps the memory of r.Fields, so that a Record that is used again allocates nothing.
func (r *Record) Parse(line []byte) (rest []byte, ok bool) {
	var before []byte
	for first := true; ; first = false {
		*r = Record{Fields: r.Fields[:0]}
		h, found := findHead(line)
		if !found {
			return nil, r.bare(line)
		}
		if first {
			before = line[:h.begin]
		}
		r.Carrier, r.Time, r.Serial, r.Host, r.Before = h.carrier, h.time, h.serial, h.host, before
		body, rest := apart(line[h.end:], h.user())
		r.written = line[h.at : h.end+len(body)]
		if r.event(h, body) {
			return rest, true
		}
		if len(rest) == 0 {
			return nil, false
		}
		line = rest
	}
}

// apart ends a record where the head of another one begins, of two lines without a line break between them. Such a head has
// blanks. The kernel writes blanks only in values of its own words, but for execpath, which it copies as it is. Programs
// may write them anywhere.
func apart(body []byte, user bool) (record, rest []byte) {
	for from := 0; !user; {
		h, found := findHead(body[from:])
		if !found {
			break
		}
		begin := from + h.begin
		if bytes.Contains(body[max(from-len(execpath), 0):begin], []byte(execpath)) {
			break
		}
		if h.blanks {
			return stampless(body[:begin]), body[begin:]
		}
		from += h.end
	}
	return body, nil
}

// stampless cuts off the time that stands before a line of the kernel's log, as "[   10.129556] ".
func stampless(b []byte) []byte {
	end := bytes.TrimRight(b, " ")
	if !bytes.HasSuffix(end, []byte("]")) {
		return b
	}
	begin := bytes.TrimRight(end[:len(end)-1], " .0123456789")
	if !bytes.HasSuffix(begin, []byte("[")) {
		return b
	}
	return begin[:len(begin)-1]
}

// event reads what follows the head. It reports whether that is of AppArmor.
func (r *Record) event(h head, body []byte) bool {
	if r.Carrier == User {
		return r.message(body)
	}
	body = bytes.TrimLeft(body, " ")
	if word, _, ok := header(body); ok {
		r.Type = word
	} else if of, known := numbers[string(h.kind)]; known {
		r.Type = of
	} else if !h.avc() || !bytes.HasPrefix(body, []byte("operation=")) {
		return false
	}
	r.fields(body, false)
	return true
}

// message reads a USER_AVC: fields of the program that sent it, and its message in single quotes, which ends with more
// fields of the program.
func (r *Record) message(body []byte) bool {
	before, message, ok := bytes.Cut(body, []byte("msg='"))
	if !ok {
		return false
	}
	message, after, closed := lastCut(message, '\'')
	word, _, ok := header(message)
	if !ok {
		return false
	}
	r.Type = word
	own, program := message, []byte(nil)
	if i := bytes.LastIndex(message, []byte(` exe="`)); i >= 0 { // audit_log_user_avc_message, libaudit
		own, program = message[:i], message[i:]
	}
	r.fields(own, false)
	r.fields(before, true)
	r.fields(program, true)
	r.fields(after, true)
	r.Cut = r.Cut || !closed
	return true
}

// lastCut is bytes.Cut at the last separator.
func lastCut(b []byte, separator byte) (before, after []byte, found bool) {
	i := bytes.LastIndexByte(b, separator)
	if i < 0 {
		return b, nil, false
	}
	return b[:i], b[i+1:], true
}

// bare reads a line that has no head, from where the record's first field is.
func (r *Record) bare(line []byte) bool {
	i := bytes.Index(line, []byte(`apparmor="`))
	if i < 0 || i > 0 && line[i-1] != ' ' && line[i-1] != '\t' {
		return false
	}
	word, _, ok := header(line[i:])
	if !ok {
		return false
	}
	r.Type, r.Before = word, line[:i]
	r.fields(line[i:], false)
	return true
}

// header reads apparmor="TYPE". A type that is not known is Unknown.
func header(body []byte) (t Type, rest []byte, ok bool) {
	body, ok = bytes.CutPrefix(bytes.TrimLeft(body, " "), []byte(`apparmor="`))
	if !ok {
		return Unknown, nil, false
	}
	word, rest, closed := bytes.Cut(body, []byte{'"'})
	for t, known := range types {
		if known != "" && closed && string(word) == known {
			return Type(t), rest, true
		}
	}
	return Unknown, rest, true
}

// enriched separates what auditd adds to a record (log_format = ENRICHED): the names of users.
const enriched = '\x1d'

// execpath is the only value that the kernel writes as it is, quotes and all. It is the last one of a record
// (audit_ns_cb, security/apparmor/task.c), so that it ends at the last quote.
const execpath = `execpath="`

// fields reads fields up to the end of body.
func (r *Record) fields(body []byte, added bool) {
	body = unended(body)
	if !added {
		var extra []byte
		if body, extra = enrichment(body); len(extra) > 0 {
			defer r.fields(extra, true)
		}
	}
	for len(body) > 0 {
		if body[0] == ' ' || body[0] == '\t' || body[0] == enriched {
			body = body[1:]
			continue
		}
		if len(r.Fields) >= mostFields {
			r.Fields = append(r.Fields, Field{Text: body, Added: added})
			return
		}
		r.Fields = append(r.Fields, Field{Added: added})
		f := &r.Fields[len(r.Fields)-1] // read in place, as copying fields is a good part of the time that a record takes
		body = f.read(body)
		r.Cut = r.Cut || f.Cut
	}
}

// unended cuts off blanks, line breaks and the byte zero behind a record. bytes.TrimRight takes longer.
func unended(b []byte) []byte {
	for n := len(b); n > 0; n-- {
		switch b[n-1] {
		case ' ', '\t', '\r', '\n', 0:
		default:
			return b[:n]
		}
	}
	return nil
}

// enrichment cuts off what auditd added. That is behind the last separator, and of words in capitals. A record with
// execpath has no user that it could name.
func enrichment(body []byte) (record, extra []byte) {
	if bytes.IndexByte(body, enriched) < 0 || bytes.Contains(body, []byte(execpath)) { // which most records have neither of
		return body, nil
	}
	i := bytes.LastIndexByte(body, enriched)
	rest := body[i+1:]
	for len(rest) > 0 {
		var f Field
		after := f.read(rest)
		if len(f.Key) == 0 || bytes.ContainsFunc(f.Key, unicode.IsLower) || f.Cut || bytes.IndexByte(f.Text, ' ') >= 0 {
			return body, nil
		}
		rest = bytes.TrimLeft(after, " ")
	}
	return body[:i], body[i+1:]
}

// read reads the first field of a text that begins with neither blank nor separator, and returns what follows.
func (f *Field) read(b []byte) (rest []byte) {
	n := 0
	for n < len(b) && keyBytes[b[n]] {
		n++
	}
	if named := n > 0 && n < len(b) && b[n] == '='; !named {
		end := word(b)
		f.Text, f.Cut = b[:end], n == len(b)
		return b[end:]
	}
	f.Key = b[:n]
	if n+1 == len(b) || b[n+1] != '"' {
		end := n + 1 + word(b[n+1:])
		f.Text, f.Cut = b[n+1:end], n+1 == len(b)
		return b[end:]
	}
	b, f.Quoted = b[n+2:], true
	end := bytes.IndexByte(b, '"')
	if string(f.Key) == execpath[:len(execpath)-2] {
		end = bytes.LastIndexByte(b, '"')
	}
	if end < 0 {
		f.Text, f.Cut = b, true
		return nil
	}
	f.Text = b[:end]
	return b[end+1:]
}

// word returns the length of a text up to the first blank or separator.
func word(b []byte) int {
	for i, c := range b {
		if c == ' ' || c == '\t' || c == enriched {
			return i
		}
	}
	return len(b)
}

// keyBytes are the bytes that can be of a key.
var keyBytes = func() (is [256]bool) {
	for _, c := range []byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") {
		is[c] = true
	}
	return is
}()

// A head is what stands before a record's own fields.
type head struct {
	carrier Carrier
	kind    []byte // 1400, AVC; empty if the line does not say
	host    []byte
	time    time.Time
	serial  uint64
	at      int  // where audit( begins
	begin   int  // where the whole head begins
	end     int  // where the fields begin
	blanks  bool // it has blanks, as each has that begins a line
}

// user reports whether a program sent the record, and not the kernel (AUDIT_FIRST_USER_MSG to AUDIT_LAST_USER_MSG2,
// include/uapi/linux/audit.h).
func (h head) user() bool {
	n, ok := decimal(h.kind)
	return ok && (1100 <= n && n < 1200 || 2100 <= n && n < 3000) || !ok && len(h.kind) > 0 && !kernelKinds[string(h.kind)]
}

// kernelKinds are auditd's names of the types of records that the kernel makes and that can stand beside AppArmor's. All
// others are taken for a program's.
var kernelKinds = map[string]bool{"AVC": true, "SYSCALL": true, "PATH": true, "CWD": true, "PROCTITLE": true,
	"EXECVE": true, "SOCKADDR": true, "CONFIG_CHANGE": true, "SECCOMP": true, "BPF": true, "NETFILTER_CFG": true,
	"APPARMOR_AUDIT": true, "APPARMOR_ALLOWED": true, "APPARMOR_DENIED": true, "APPARMOR_HINT": true,
	"APPARMOR_STATUS": true, "APPARMOR_ERROR": true, "APPARMOR_KILLED": true}

// avc reports whether the record can be AppArmor's without saying so.
func (h head) avc() bool {
	return len(h.kind) == 0 || string(h.kind) == "1400" || string(h.kind) == "AVC"
}

// findHead finds the first head of a record in a text: audit(SECONDS.MILLISECONDS:SERIAL): and what belongs to it before.
func findHead(line []byte) (h head, found bool) {
	const mark = "audit"
	for from := 0; ; {
		i := bytes.IndexByte(line[from:], '(') // which few records have, while the mark's letters stand in all
		if i < 0 {
			return head{}, false
		}
		at := from + i - len(mark)
		from += i + 1
		if at < 0 || string(line[at:at+len(mark)]) != mark {
			continue
		}
		end, ok := h.stamp(line[from:])
		if !ok {
			continue
		}
		h.at, h.begin, h.end, h.carrier = at, at, from+end, Event
		h.before(line[:at])
		return h, true
	}
}

// Stamp returns the time and the number of the event that a message of carrier Event is of, whatever its type.
func Stamp(message []byte) (at time.Time, serial uint64, ok bool) {
	stamp, ok := bytes.CutPrefix(message, []byte("audit("))
	if !ok {
		return at, 0, false
	}
	var h head
	_, ok = h.stamp(stamp)
	return h.time, h.serial, ok
}

// stamp reads SECONDS.MILLISECONDS:SERIAL): and returns its length.
func (h *head) stamp(b []byte) (length int, ok bool) {
	const longest = 20 + 1 + 3 + 1 + 20
	end := bytes.IndexByte(b[:min(len(b), longest+1)], ')')
	if end < 0 || end+1 >= len(b) || b[end+1] != ':' {
		return 0, false
	}
	stamp, serial, ok := bytes.Cut(b[:end], []byte{':'})
	if !ok {
		return 0, false
	}
	seconds, millis, ok := bytes.Cut(stamp, []byte{'.'})
	if !ok || len(millis) != 3 {
		return 0, false
	}
	s, ok1 := decimal(seconds)
	ms, ok2 := decimal(millis)
	n, ok3 := decimal(serial)
	if !ok1 || !ok2 || !ok3 {
		return 0, false
	}
	h.time, h.serial = time.Unix(int64(s), int64(ms)*int64(time.Millisecond)), n
	return end + 2, true
}

// decimal returns the value of one to eighteen digits. strconv would allocate.
func decimal(b []byte) (n uint64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, 0 < len(b) && len(b) <= 18
}

// before reads what stands before audit(: at most the name of a host, which has 64 bytes, and of a type.
func (h *head) before(b []byte) {
	const most = 256
	cut := max(len(b)-most, 0)
	b = b[cut:]
	defer func() {
		if h.blanks {
			h.begin += cut
		}
	}()
	switch {
	case bytes.HasSuffix(b, []byte("msg=")): // [node=HOST ]type=AVC msg=audit(
		h.carrier = Auditd
		b = bytes.TrimRight(b[:len(b)-len("msg=")], " ")
		i := bytes.LastIndex(b, []byte("type="))
		if i < 0 {
			return
		}
		h.kind, h.begin, h.blanks = b[i+len("type="):], i, true
		if bytes.HasPrefix(h.kind, []byte("USER_")) || string(h.kind) == "1107" {
			h.carrier = User
		}
		if node := bytes.LastIndex(b[:i], []byte("node=")); node >= 0 {
			h.host, h.begin = bytes.TrimRight(b[node+len("node="):i], " "), node
		}
	case bytes.HasSuffix(b, []byte(" ")): // audit: type=1400 audit(
		b = b[:len(b)-1]
		i := bytes.LastIndex(b, []byte("type="))
		if i < 0 || bytes.IndexByte(b[i:], ' ') >= 0 {
			return
		}
		h.carrier, h.kind, h.begin = Kernel, b[i+len("type="):], i
		if j := bytes.LastIndex(b[:i], []byte("audit: ")); j >= 0 && j+len("audit: ") == i {
			h.begin, h.blanks = j, true
		}
		if string(h.kind) == "1107" {
			h.carrier = User
		}
	}
}
