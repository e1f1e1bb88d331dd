package audit

import (
	"fmt"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

// End is what is known when reading has ended: how much the absence of events says.
type End struct {
	Result
	Source string
	Lost   []source.Loss
	Asked  bool  // whether the source is alive was found out
	Dead   error // why it is not, or why that is not known; nil if it is
	Unread []string
}

// Unknown returns sentences about what may be missing from the events. Without one, what was not shown did not happen.
func (e *End) Unknown() (all []string) {
	if e.Dead != nil {
		all = append(all, fmt.Sprintf("whether the source %s has what the kernel logs is not known: %v", e.Source, e.Dead))
	}
	for _, l := range e.Lost {
		all = append(all, l.Sentence())
	}
	if !e.tells() {
		all = append(all, e.leftOut()...)
	}
	if e.Unplaced > 0 {
		all = append(all, output.Count(int(min(e.Unplaced, 1<<31-1)), "event was", "events were")+" left out of which the container is "+
			"not known, and may be the one that was asked for: without --container, --pod and --policy they are shown")
	}
	if e.NoPolicy {
		all = append(all, "the policy that was asked for is not in force, and no container is known that was under it: oci-apparmor policy show "+
			"lists those that are")
	}
	if e.Stranger {
		all = append(all, "no container is known that was asked for: oci-apparmor status lists those that run, and of those that have ended "+
			"the ones are known that oci-apparmor has decided about in the last week")
	}
	return slices.Concat(all, e.Missing)
}

// Notes returns sentences about what was left out or not read, and makes nothing uncertain.
func (e *End) Notes() (all []string) {
	if e.tells() {
		all = e.leftOut()
	}
	return slices.Concat(all, e.Unread)
}

// tells reports whether the source can tell what the kernel wrote from what others wrote. In a file of unknown origin a line
// that nobody vouches for may be the kernel's.
func (e *End) tells() bool {
	return e.Source != source.Stdin && slices.Contains(source.Names, e.Source)
}

func (e *End) leftOut() []string {
	if e.Untrusted == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%s left out that a container could have written as well as the kernel: --untrusted shows them",
		output.Count(int(min(e.Untrusted, 1<<31-1)), "record was", "records were"))}
}
