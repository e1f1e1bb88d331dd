// Package notice is what we refused and what we warned of, as the node's log has it: in the journal, or in the kernel's
// log where no journal runs.
//
// What an engine is told of a container ends with the container, or nowhere. A notice stays: one structured line, with
// the container that it is of. This package writes them, and is lean, because a container's start does; package reader
// reads them back.
package notice

import (
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Identifier is the syslog identifier of every notice, in the journal and in the kernel's log.
const Identifier = "oci-apparmor"

// Level tells what became of the command.
type Level string

const (
	Refusal Level = "refusal" // it was not carried out
	Warning Level = "warning" // it was, and somebody should know what came of it
)

// level is how the logs know one.
type level struct {
	priority int    // of syslog(3)
	id       string // MESSAGE_ID of the journal, made by journalctl --new-id128 once and for all
}

var levels = map[Level]level{
	Refusal: {3, "4b9080377094467aae165acb368e331f"},
	Warning: {4, "2338c90c65ac4c6a906e03fddd08d421"},
}

// MessageID is the level's MESSAGE_ID in the journal; empty for what is no level.
func (l Level) MessageID() string { return levels[l].id }

// Notice is one of them. What is not known is empty.
//
// As JSON it has these keys, and none that would be empty but for time, level and message. Keys may be added.
type Notice struct {
	Time      time.Time `json:"time"`                // RFC 3339, UTC; set by whoever reads it from a log, not by Write
	Level     Level     `json:"level"`               // refusal or warning
	Engine    string    `json:"engine,omitempty"`    // its name, see engine.Names; empty where not known
	Command   string    `json:"command,omitempty"`   // create, run, start, exec, restore, a hook's stage, or load
	ID        string    `json:"id,omitempty"`        // the container's, as the runtime knows it
	Container string    `json:"container,omitempty"` // the container's name, where it has one besides the id
	Namespace string    `json:"namespace,omitempty"` // of Kubernetes
	Pod       string    `json:"pod,omitempty"`
	Policy    string    `json:"policy,omitempty"` // that was decided upon; empty where the refusal came before that
	Message   string    `json:"message"`          // one line
}

// String is the notice as a person reads it: "create of container shop: ...".
func (n Notice) String() string { return n.subject() + n.Message }

// subject is what stands in front of a message.
func (n Notice) subject() string {
	switch {
	case n.Command == "":
		return ""
	case n.ID == "":
		return n.Command + ": "
	}
	return n.Command + " of container " + n.ID + ": "
}

// The longest name and the longest message that is kept, in bytes. Both end in oneline.Mark where they were cut.
const (
	longestName    = 256
	longestMessage = 8 << 10
)

// Clean gives the notice as it may stand in a log and on a terminal, whoever wrote its parts: each is one line of printable
// text, and not longer than a log takes.
func (n Notice) Clean() Notice {
	for _, s := range []*string{&n.Engine, &n.Command, &n.ID, &n.Container, &n.Namespace, &n.Pod, &n.Policy} {
		*s = oneline.Cut(oneline.Printable(*s), longestName)
	}
	n.Message = oneline.Cut(oneline.Printable(n.Message), longestMessage)
	return n
}
