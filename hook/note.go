package hook

import "github.com/oci-apparmor/oci-apparmor/hook/notice"

// Note writes to the node's log what was refused, or warned of, where a command for a container came by way of w. out is
// what Prepare, Precreate or Guard returned, and empty for every other command: what is remembered of the container then
// says what it is. The notice has its level, its command, its container's id and its message already.
func (h *Host) Note(w Caller, n notice.Notice, out Outcome) {
	n.Engine, n.Policy = w.Engine, out.Decision.Policy
	names := out.Names
	if names == (Names{}) && (n.Command == "start" || n.Command == "exec") {
		if r, err := h.Recall(w, n.ID); err == nil {
			Name(r)
			names, n.Policy = r.Names, r.Policy
		}
	}
	n.Namespace, n.Pod = names.Namespace, names.Pod
	if names.Container != n.ID {
		n.Container = names.Container
	}
	h.Log.Write(n)
}
