// Package source brings the kernel's audit records from where they can be read: the audit multicast socket, the kernel's
// log, the journal, auditd's log, a file or a pipe. It says which of them the kernel wrote, and what was lost on the way.
//
// What a record means is package audit's. Which container it is of is not known here.
//
// Two things make an empty log say little. Records get lost: the kernel drops them when too many wait, prints only ten
// messages in five seconds into its log, and a log is rotated away. Source.Lost tells what is known of that. And a source
// can be dead: a journal without its audit socket stays empty for ever. Alive proves the contrary, by a denial of our own.
package source

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
)

// An Entry is one record of a source.
type Entry struct {
	Record audit.Record // holds until the next call of Next

	// Kernel is whether the kernel wrote the record, or dbus-daemon, for a USER_AVC. It is never true for what a container
	// could have written. A container that Docker starts can write messages of its own into the audit log, as it has
	// CAP_AUDIT_WRITE. One that has the node's /dev/log or /dev/kmsg can write into the journal and into syslog's files.
	Kernel bool
}

// A Loss is records that are missing from what Next returned or will return.
type Loss struct {
	By      string // who lost them and why, in words that stand behind "lost by"; the same however much it becomes
	Detail  string // what is known beside it, such as when; empty for nothing
	Records uint64 // how many are known to be lost; they need not be AppArmor's
	Missing uint64 // how many more are not there, and were lost or never to be; 0 if nobody counts
	Unknown bool   // there may be more than Records
}

// String returns a line: "3 records, perhaps more: the kernel, as ...".
func (l Loss) String() string {
	switch {
	case l.Records == 0:
		return "perhaps some: " + l.by()
	case l.Unknown:
		return fmt.Sprintf("%d or more: %s", l.Records, l.by())
	}
	return fmt.Sprintf("%d: %s", l.Records, l.by())
}

// by returns By and Detail.
func (l Loss) by() string {
	if l.Detail == "" {
		return l.By
	}
	return l.By + " (" + l.Detail + ")"
}

// Sentence returns what a Loss says, as a sentence.
func (l Loss) Sentence() string {
	if l.Records == 0 {
		return "records may have been lost: " + l.by()
	}
	return "records were lost: " + l.String()
}

// Settles is how long after a record it is said at the latest what is missing before it: until then that may come yet.
const Settles = 2 * time.Second

// Ended reports whether an error of Next is that of a context which has ended, and none of the source's.
func Ended(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Cause(ctx))
}

// A Source is where records come from. Its methods are not for use by several goroutines at once, but for Close.
type Source interface {
	// Name is one of Names, a file's path, or "standard input".
	Name() string

	// Next reads the next record, oldest first. The error is io.EOF at the end, which with Options.Follow never comes, the
	// cause of ctx, or says what is wrong with the source. After the error of ctx the source can be read on.
	Next(ctx context.Context, e *Entry) error

	// Lost returns what is known to be lost so far, and what may be. It is empty only if nothing was, or for as long as Settles.
	Lost() []Loss

	Close() error
}

// Options are what of a source is read.
type Options struct {
	Since  time.Time // records of before are left out; zero for all that the source still has
	Follow bool      // wait for what comes

	// Vouched is whether the operator says that a file or standard input holds what the kernel wrote as it says. Else only
	// what auditd writes at the beginning of a line is believed there: a line in the form of the kernel's log can be in
	// such a file by anybody's hand.
	Vouched bool

	// Backlog is how many records the kernel may keep until they are read, if it is to be changed for the multicast
	// socket; 0 leaves it. Linux keeps 64 unless it is told otherwise, and drops what comes then.
	Backlog uint32

	canary   string // the name of which records of our own denials are not left out
	canaries string // the beginning of such names
}

// wants reports whether a record is to be returned.
func (o *Options) wants(r *audit.Record) bool {
	if IsCanary(r) {
		name, _ := r.Field("name")
		return o.canary != "" && string(name.Text) == o.canary || o.canaries != "" && strings.HasPrefix(string(name.Text), o.canaries)
	}
	return r.Time.IsZero() || !r.Time.Before(o.Since.Add(-tick))
}

// past reports whether records of before now are asked for. The time that a caller takes for now is up to a second ago when it is looked at.
func (o *Options) past() bool { return !o.Since.IsZero() && time.Since(o.Since) >= time.Second }

// tick is by how much the time of a record can be before that of its event: the kernel takes the time of its last tick
// (ktime_get_coarse_real_ts64). A second has at least 100, but in a virtual machine some come late.
const tick = 100 * time.Millisecond

// Hear has f be called whenever something comes to a source, also if that is no record which Next returns. Next calls it. A source that
// does not tell calls nothing.
func Hear(s Source, f func()) {
	if s, ok := s.(interface{ hear(f func()) }); ok {
		s.hear(f)
	}
}

// origin is which source a Source is, and of which node.
type origin struct {
	host  *Host
	name  string
	heard func() // see Hear; nil for nobody
}

func (o *origin) hear(f func()) { o.heard = f }

// came tells that something came.
func (o *origin) came() {
	if o.heard != nil {
		o.heard()
	}
}

func (o origin) Name() string { return o.name }
func (o origin) from() origin { return o }

// Names of the sources of a node, as Open takes them.
const (
	Auto      = "auto"      // the most complete one that is alive
	Multicast = "multicast" // the audit netlink socket; has no past
	Kmsg      = "kmsg"      // the kernel's log, /dev/kmsg
	Journal   = "journal"
	AuditLog  = "audit.log" // auditd's log with its rotated files
	Stdin     = "-"
)

// Names are the names of Open that are not paths.
var Names = []string{Auto, Multicast, Kmsg, Journal, AuditLog, Stdin}

// Open opens a source: one of Names, or the path of a file, which has a slash or a dot, or exists. Auto is the only one
// that is known to be alive then.
func Open(ctx context.Context, name string, o Options) (Source, error) {
	return Node().Open(ctx, name, o)
}

// A Host is where a node has its logs. Tests have others.
type Host struct {
	Kmsg       string // the kernel's log
	RateLimit  string // how many milliseconds the kernel's limit on messages is of; "0" for none
	AuditLog   string // auditd's log
	AuditConf  string // auditd's configuration
	Journald   string // a socket of journald's, which is there if it runs
	Journalctl string // the program that reads the journal: a path, or a name to look for in PATH
	Parameters string // AppArmor's parameters
	Proc       string // procfs

	Status func() (Status, error)     // what the kernel says of its audit subsystem
	Deny   func(profile string) error // stands in for a denied change to that profile; nil asks the kernel for it

	Patience time.Duration // how long a denial of our own may take to come back; 0 for as long as is usual
}

// Node returns the machine that we run on.
func Node() *Host {
	return &Host{Kmsg: "/dev/kmsg", RateLimit: "/proc/sys/kernel/printk_ratelimit", AuditLog: "/var/log/audit/audit.log",
		AuditConf: "/etc/audit/auditd.conf", Journald: "/run/systemd/journal/socket", Journalctl: "journalctl",
		Parameters: "/sys/module/apparmor/parameters", Proc: "/proc", Status: ReadStatus}
}

// living are the names of sources of which it is known what must be in them.
var living = []string{Multicast, Kmsg, Journal, AuditLog}

// Open opens a source of the host, as the function Open does.
func (h *Host) Open(ctx context.Context, name string, o Options) (Source, error) {
	switch name {
	case Auto:
		return h.openAuto(ctx, o)
	case Multicast:
		return h.openMulticast(o)
	case Kmsg:
		return h.openKmsg(o)
	case Journal:
		return h.openJournal(ctx, o)
	case AuditLog:
		return h.openAuditLog(o)
	case Stdin:
		return h.openStdin(o)
	}
	if !strings.ContainsAny(name, "/.") {
		return nil, fmt.Errorf("%q is no source of records: the sources are %s, and paths of files", name, strings.Join(Names, ", "))
	}
	return h.openFile(name, o)
}
