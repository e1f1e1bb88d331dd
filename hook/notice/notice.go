// Package notice writes refusals and warnings into the node's log: into the journal, or into the kernel's log if no journal
// runs.
//
// An engine drops what it is told about a container, at the latest when the container ends. A notice stays: one structured
// line that names its container. This package only writes notices, because it is on the way of a container's start. Package
// reader reads them back.
package notice

import (
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Identifier is the syslog identifier of every notice, in the journal and in the kernel's log.
const Identifier = "oci-apparmor"

// Level is the outcome of a command.
type Level string

const (
	Refusal Level = "refusal" // the command was not carried out
	Warning Level = "warning" // the command was carried out, and the administrator should know something about it
)

// level is how a level stands in the logs.
type level struct {
	priority int    // of syslog(3)
	id       string // MESSAGE_ID of the journal, made once by journalctl --new-id128
}

var levels = map[Level]level{
	Refusal: {3, "4b9080377094467aae165acb368e331f"},
	Warning: {4, "2338c90c65ac4c6a906e03fddd08d421"},
}

// MessageID returns the level's MESSAGE_ID in the journal, or an empty string if l is none of the levels above.
func (l Level) MessageID() string { return levels[l].id }

// Notice is a refusal or a warning about a container. A field that is not known is empty.
//
// Its JSON has these keys. Empty ones are left out, except time, level and message. Later versions may add keys.
type Notice struct {
	Time      time.Time `json:"time"`                // RFC 3339, UTC; set by package reader, not by Write
	Level     Level     `json:"level"`               // refusal or warning
	Engine    string    `json:"engine,omitempty"`    // its name, see engine.Names; empty where not known
	Command   string    `json:"command,omitempty"`   // create, run, start, exec, restore, a hook's stage, or load
	ID        string    `json:"id,omitempty"`        // the container's, as the runtime knows it
	Container string    `json:"container,omitempty"` // the container's name, where it has one besides the id
	Namespace string    `json:"namespace,omitempty"` // of Kubernetes
	Pod       string    `json:"pod,omitempty"`
	Policy    string    `json:"policy,omitempty"` // the decided one; empty if there was no decision yet
	Reason    Reason    `json:"reason,omitempty"` // of a refusal, one of Reasons or of a later version's
	Message   string    `json:"message"`          // one line
}

// String returns the notice as a person reads it: "create of container shop: ...".
func (n Notice) String() string { return n.subject() + n.Message }

// subject returns what stands in front of the message.
func (n Notice) subject() string {
	switch {
	case n.Command == "":
		return ""
	case n.ID == "":
		return n.Command + ": "
	}
	return n.Command + " of container " + n.ID + ": "
}

// The longest name and the longest message, in bytes. Both end in oneline.Mark if they were cut.
const (
	longestName    = 256
	longestMessage = 8 << 10
)

// Clean returns the notice in a form that is safe in a log and on a terminal, whoever wrote its parts. Each part becomes one
// line of printable text that is no longer than a log takes.
func (n Notice) Clean() Notice {
	for _, s := range []*string{&n.Engine, &n.Command, &n.ID, &n.Container, &n.Namespace, &n.Pod, &n.Policy, (*string)(&n.Reason)} {
		*s = oneline.Cut(oneline.Printable(*s), longestName)
	}
	n.Message = oneline.Cut(oneline.Printable(n.Message), longestMessage)
	return n
}
