package notice

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// Log is where notices go: to the journal, and to the kernel's log where no journal takes them. The zero value drops them.
type Log struct {
	Journal string // the socket of journald's native protocol; empty for none
	Kernel  string // the device of the kernel's log; empty for none
}

// NodeLog is the log of the node that we run on.
func NodeLog() Log { return Log{Journal: "/run/systemd/journal/socket", Kernel: "/dev/kmsg"} }

// Write writes a notice, if anything takes it, and never waits. It fails silently: a container's start does not depend
// on what is logged of it.
func (l Log) Write(n Notice) {
	n = n.Clean()
	if l.Journal == "" || toJournal(l.Journal, n) != nil {
		toKernel(l.Kernel, n)
	}
}

// toJournal sends a notice to journald. Where journald does not read, and its queue is full, that is an error at once:
// a library that waits there would have containers wait for their log.
func toJournal(socket string, n Notice) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, n.journal(), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: socket})
}

// Fields of the journal that are ours. Those of all entries are in systemd.journal-fields(7).
const (
	FieldEngine    = "OCI_APPARMOR_ENGINE"
	FieldCommand   = "OCI_APPARMOR_COMMAND"
	FieldID        = "OCI_APPARMOR_CONTAINER_ID"
	FieldContainer = "OCI_APPARMOR_CONTAINER"
	FieldNamespace = "OCI_APPARMOR_NAMESPACE"
	FieldPod       = "OCI_APPARMOR_POD"
	FieldPolicy    = "OCI_APPARMOR_POLICY"
)

// journal is a clean notice as a datagram of journald's native protocol: lines KEY=VALUE (systemd,
// docs/JOURNAL_NATIVE_PROTOCOL.md). The other form, for values with line ends, and the file in memory, for a message that
// no socket takes, are not needed for one that is clean.
func (n Notice) journal() []byte {
	at := levels[n.Level]
	var b []byte
	for _, f := range []struct{ key, value string }{
		{"MESSAGE", n.String()},
		{"PRIORITY", strconv.Itoa(at.priority)},
		{"SYSLOG_FACILITY", strconv.Itoa(Facility)},
		{"SYSLOG_IDENTIFIER", Identifier},
		{"MESSAGE_ID", at.id},
		{FieldEngine, n.Engine},
		{FieldCommand, n.Command},
		{FieldID, n.ID},
		{FieldContainer, n.Container},
		{FieldNamespace, n.Namespace},
		{FieldPod, n.Pod},
		{FieldPolicy, n.Policy},
	} {
		if f.value != "" {
			b = append(append(append(append(b, f.key...), '='), f.value...), '\n')
		}
	}
	return b
}

// FromJournal makes a notice of a level from the fields of a journal's entry, as field gives them.
func FromJournal(l Level, field func(key string) string) Notice {
	n := Notice{
		Level:     l,
		Engine:    field(FieldEngine),
		Command:   field(FieldCommand),
		ID:        field(FieldID),
		Container: field(FieldContainer),
		Namespace: field(FieldNamespace),
		Pod:       field(FieldPod),
		Policy:    field(FieldPolicy),
		Message:   field("MESSAGE"),
	}
	if before := n.subject(); len(n.Message) >= len(before) && n.Message[:len(before)] == before {
		n.Message = n.Message[len(before):]
	}
	return n.Clean()
}
