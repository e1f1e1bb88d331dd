package hook

import (
	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/hook/notice"
)

// Note writes a refusal or a warning about a container of c to the node's log, and counts it. The caller of Note has set the
// notice's level, command, container id and message, and of a refusal the reason, see ReasonOf. out is what Prepare, Precreate or Guard returned. For every other command it is
// empty, and Note takes the container's names from its record.
func (h *Host) Note(c Caller, n notice.Notice, out Outcome) {
	n.Engine, n.Policy = c.Engine, out.Decision.Policy
	names := out.Names
	if names == (Names{}) && (n.Command == "start" || n.Command == "exec") {
		if r, err := h.Recall(c, n.ID); err == nil {
			Name(r)
			names, n.Policy = r.Names, r.Policy
		}
	}
	n.Namespace, n.Pod = names.Namespace, names.Pod
	if names.Container != n.ID {
		n.Container = names.Container
	}
	h.Log.Write(n)
	if n.Level == notice.Refusal {
		h.refused(c, n.Command, n.Reason, out.Decision.Policy)
	} else {
		h.Counts.Add(counts.Warnings.With(engineOf(c), known(n.Command)))
	}
}
