package notice

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// Log is where notices go: to the journal, or to the kernel's log if no journal takes them. The zero value drops them.
type Log struct {
	Journal string // the socket of journald's native protocol; empty for none
	Kernel  string // the device of the kernel's log; empty for none
}

// NodeLog returns the log of the node that we run on.
func NodeLog() Log { return Log{Journal: "/run/systemd/journal/socket", Kernel: "/dev/kmsg"} }

// Write writes a notice and never waits. It reports no error, because a container's start must not depend on a log.
func (l Log) Write(n Notice) {
	n = n.Clean()
	if l.Journal == "" || toJournal(l.Journal, n) != nil {
		toKernel(l.Kernel, n)
	}
}

// toJournal sends a notice to journald. If journald's queue is full, it returns an error at once: a library that waits would
// make containers wait for their log.
func toJournal(socket string, n Notice) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, n.journal(), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, &unix.SockaddrUnix{Name: socket})
}

// The fields of the journal that are ours. systemd.journal-fields(7) has the fields of all entries.
const (
	FieldEngine    = "OCI_APPARMOR_ENGINE"
	FieldCommand   = "OCI_APPARMOR_COMMAND"
	FieldID        = "OCI_APPARMOR_CONTAINER_ID"
	FieldContainer = "OCI_APPARMOR_CONTAINER"
	FieldNamespace = "OCI_APPARMOR_NAMESPACE"
	FieldPod       = "OCI_APPARMOR_POD"
	FieldPolicy    = "OCI_APPARMOR_POLICY"
	FieldReason    = "OCI_APPARMOR_REASON"
)

// journal returns a clean notice as a datagram of journald's native protocol: lines KEY=VALUE (systemd,
// docs/JOURNAL_NATIVE_PROTOCOL.md). A clean notice needs neither the protocol's other form, which is for values with line
// ends, nor its file in memory, which is for messages that are too long for a socket.
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
		{FieldReason, string(n.Reason)},
	} {
		if f.value != "" {
			b = append(append(append(append(b, f.key...), '='), f.value...), '\n')
		}
	}
	return b
}

// FromJournal makes a notice of level l from an entry of the journal. field returns a field of the entry.
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
		Reason:    Reason(field(FieldReason)),
		Message:   field("MESSAGE"),
	}
	if before := n.subject(); len(n.Message) >= len(before) && n.Message[:len(before)] == before {
		n.Message = n.Message[len(before):]
	}
	return n.Clean()
}
