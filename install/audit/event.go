// Package audit tells of AppArmor's records which container each is of, what was tried there, and which rule decided; and of
// refused starts beside them. It groups and counts what repeats.
//
// Where records come from is package policy/audit/source's. All that a record has was chosen by who wrote it, a workload as
// likely as the kernel: every text here is made fit for a line.
package audit

import (
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	records "github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Kind is what an event is.
type Kind string

const (
	Denied   Kind = "denied"
	Killed   Kind = "killed"   // denied by a profile in kill mode
	Complain Kind = "complain" // it would have been denied, but the profile only logs
	Audited  Kind = "audited"  // allowed, and a rule wants a record
	Changed  Kind = "changed"  // a profile was loaded, replaced or removed, or could not be
	Failed   Kind = "error"    // an error of AppArmor's own
	Unknown  Kind = "unknown"  // the kernel was told to leave it out, or has a kind that is not here
	Refusal  Kind = "refusal"  // a container's start or exec, by oci-apparmor
	Warning  Kind = "warning"  // the same, of what was carried out
)

// Kinds are all kinds, and Usual those that people look for: what did not work, or would not.
var (
	Kinds = []Kind{Denied, Killed, Complain, Audited, Changed, Failed, Unknown, Refusal, Warning}
	Usual = []Kind{Denied, Killed, Complain, Failed, Unknown, Refusal}
)

var kinds = map[records.Type]Kind{
	records.Denied: Denied, records.Killed: Killed, records.Allowed: Complain, records.Audited: Audited, records.Status: Changed,
	records.Error: Failed, records.Hint: Unknown, records.Unknown: Unknown,
}

// denies reports whether an event says that something was not allowed.
func (k Kind) denies() bool { return k == Denied || k == Killed || k == Complain }

// Event is a record, or a notice of ours. Its texts are as they were written, whoever wrote them.
type Event struct {
	Time    time.Time // zero if the record has none
	Kind    Kind
	Trusted bool // the kernel wrote it, or a program of ours: no container could have
	Joined

	PID  int // 0 if not known
	Comm string

	Profile   string // that decided; of a stack the part
	Namespace string // of the profile, if it is not the node's own
	Operation string
	Info      string
	Access    []meaning.Access // what was asked; several where the record leaves open which; empty where it is not known
	Open      string           // what the record leaves open
	Because   string           // where no rule decided: why
	Cut       bool             // the record is not whole
	Fields    []Field

	Notice *notice.Notice // of a refusal or a warning

	content string // what repeats have in common: all but the process's id, and the container
}

// Field is a field of a record.
type Field struct{ Key, Value string }

// eventOf returns the event of a record, without its container.
func eventOf(e *source.Entry) *Event {
	r := &e.Record
	ev := &Event{Time: r.Time, Kind: kinds[r.Type], Trusted: e.Kernel, Cut: r.Cut, PID: pidOf(r), Fields: fieldsOf(r)}
	if i := slices.IndexFunc(ev.Fields, func(f Field) bool { return f.Key == "profile" }); i >= 0 {
		ev.Profile = ev.Fields[i].Value
	} else {
		ev.Profile, _ = r.Profile()
	}
	ev.Comm, ev.Namespace, ev.Operation, ev.Info = ev.get("comm"), ev.get("namespace"), ev.get("operation"), ev.get("info")
	asked, err := r.Asked()
	if err != nil {
		ev.Because = err.Error()
	}
	ev.Access, ev.Open = asked.Accesses, asked.Open
	return ev
}

// EventOf returns the event of a record, without its container.
func EventOf(e *source.Entry) *Event { return eventOf(e) }

// Locate finds the event's container, which must be one of this node.
func (e *Event) Locate(j *Joiner) { e.Joined = j.Join(e.subject(), j.Look(e.subject())) }

// fieldsOf returns the fields that the record's own author wrote. Their keys and most values are parts of one string.
func fieldsOf(r *records.Record) []Field {
	size := 0
	for _, f := range r.Fields {
		size += len(f.Key) + len(f.Text)
	}
	var text strings.Builder
	text.Grow(size)
	keep := func(b []byte) string {
		at := text.Len()
		text.Write(b)
		return text.String()[at:]
	}
	all := make([]Field, 0, len(r.Fields))
	for _, f := range r.Fields {
		switch {
		case f.Added:
		case f.Plain():
			all = append(all, Field{keep(f.Key), keep(f.Text)})
		default:
			all = append(all, Field{keep(f.Key), f.Value()})
		}
	}
	return all
}

// repeatedFields returns the fields of a record that repeats one with these fields: both have the same content.
func repeatedFields(known []Field, r *records.Record) []Field {
	all, same, i := known, true, -1
	for _, f := range r.Fields {
		if f.Added {
			continue
		}
		if i++; !varies(known[i].Key) {
			continue
		}
		if value := f.Value(); value != known[i].Value {
			if same {
				all, same = slices.Clone(known), false
			}
			all[i].Value = value
		}
	}
	return all
}

// pidOf returns the id of a record's process, or 0.
func pidOf(r *records.Record) int {
	if pid, ok := r.Number("pid"); ok && pid > 0 && pid < 1<<31 {
		return int(pid)
	}
	return 0
}

// eventOfNotice returns the event of a notice. It names its container itself.
func eventOfNotice(n notice.Notice) *Event {
	ev := &Event{Time: n.Time, Kind: Warning, Trusted: true, Notice: &n, content: string(n.Level) + "\x00" + n.Command + "\x00" + n.Message}
	if n.Level == notice.Refusal {
		ev.Kind = Refusal
	}
	if n.ID != "" {
		ev.Container = &Container{ID: n.ID, Name: n.Container, Engine: n.Engine, Namespace: n.Namespace, Pod: n.Pod, Policy: n.Policy}
		ev.By = ByProcess
	}
	return ev
}

// get returns a field's value, or "".
func (e *Event) get(key string) string {
	i := slices.IndexFunc(e.Fields, func(f Field) bool { return f.Key == key })
	if i < 0 {
		return ""
	}
	return e.Fields[i].Value
}

// subject returns what is known of the record's process.
func (e *Event) subject() Subject {
	s := Subject{Time: e.Time, PID: e.PID, Profile: e.Profile, Other: e.passive()}
	if e.Namespace != "" || e.Profile == "unconfined" || strings.HasPrefix(e.Profile, ":") {
		s.Profile = "" // one of another namespace has that name by chance; and nothing is told apart by "unconfined"
	}
	return s
}

// passive reports whether the record is about what another process does to the one under the profile. Its pid and comm are
// that other process's (security/apparmor/ipc.c, task.c).
func (e *Event) passive() bool {
	mask := e.get("denied_mask")
	switch e.Operation {
	case "signal":
		return mask == "receive"
	case "ptrace":
		return mask == "tracedby" || mask == "readby"
	}
	return false
}

// Accesses returns what was asked in the language of package access.
func (e *Event) Accesses() []string {
	all := make([]string, len(e.Access))
	for i, a := range e.Access {
		all[i] = access.Format(a)
	}
	return all
}

// Who returns the record's process, fit for a line: "cat (4312)".
func (e *Event) Who() string {
	switch {
	case e.Comm == "" && e.PID == 0:
		return "a process"
	case e.Comm == "":
		return "process " + itoa(e.PID)
	case e.PID == 0:
		return oneline.Word(e.Comm)
	}
	return oneline.Word(e.Comm) + " (" + itoa(e.PID) + ")"
}
