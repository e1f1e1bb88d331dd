package audit

import (
	records "github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

// shapes makes events of records. A log has few different records, which differ in time and process: what is the same in
// them is read once.
type shapes struct {
	known map[string]*Event
	size  int // of what is known, in bytes of records
	buf   []byte
	bare  Event // the latest bare one
}

// mostShapes bounds the different records that are kept, and mostShapesSize their bytes: a name in a record can have some
// 8,000, and an event keeps a few copies of it.
const (
	mostShapes     = 20000
	mostShapesSize = 8 << 20
)

// varies reports whether a field of a record differs between repeats.
func varies(key string) bool { return key == "pid" || key == "peer_pid" }

// event returns the event of a record, without its container. A bare one will do if the record is not known.
func (s *shapes) event(e *source.Entry, bare bool) *Event {
	s.buf = content(s.buf[:0], e)
	known, ok := s.known[string(s.buf)]
	if !ok && bare {
		return s.bareEvent(e)
	}
	if !ok {
		if s.known == nil {
			s.known = make(map[string]*Event)
		}
		if len(s.known) >= mostShapes || s.size >= mostShapesSize {
			clear(s.known) // which keeps its table: a log of as many different records fills it again
			s.size = 0
		}
		s.size += len(s.buf)
		known = eventOf(e)
		known.content = string(s.buf)
		s.known[known.content] = known
	}
	ev := *known
	ev.Time, ev.PID, ev.Fields = e.Record.Time, pidOf(&e.Record), repeatedFields(known.Fields, &e.Record)
	return &ev
}

// bareEvent returns the event of a record with no more than what its container is found by, and what repeats have in common. It
// holds until the next one.
func (s *shapes) bareEvent(e *source.Entry) *Event {
	r, ev := &e.Record, &s.bare
	*ev = Event{Time: r.Time, Kind: kinds[r.Type], Trusted: e.Kernel, Cut: r.Cut, PID: pidOf(r), content: string(s.buf),
		Profile: ev.Profile, Namespace: ev.Namespace, Operation: ev.Operation}
	same(&ev.Profile, r, "profile", "label")
	same(&ev.Namespace, r, "namespace", "")
	same(&ev.Operation, r, "operation", "")
	if ev.Operation == "signal" || ev.Operation == "ptrace" { // see passive
		ev.Fields = []Field{{"denied_mask", r.Get("denied_mask")}}
	}
	return ev
}

// same sets a string to the value of a field, or of another one if there is none. Most records have the one that was before.
func same(was *string, r *records.Record, key, otherwise string) {
	f, ok := r.Field(key)
	if !ok && otherwise != "" {
		f, _ = r.Field(otherwise)
	}
	if !f.Plain() || string(f.Text) != *was {
		*was = f.Value()
	}
}

// content appends what a record has in common with its repeats: all but the texts of what varies. No two different records have the
// same, since a length stands before each part.
func content(b []byte, e *source.Entry) []byte {
	r := &e.Record
	b = append(b, byte(r.Type), flag(e.Kernel), flag(r.Cut))
	for _, f := range r.Fields {
		if f.Added {
			continue
		}
		text := f.Text
		if varies(string(f.Key)) {
			text = nil
		}
		b = append(b, byte(len(f.Key)>>8), byte(len(f.Key)), byte(len(text)>>16), byte(len(text)>>8), byte(len(text)), flag(f.Quoted), flag(f.Cut))
		b = append(append(b, f.Key...), text...)
	}
	return b
}

func flag(set bool) byte {
	if set {
		return 1
	}
	return 0
}
