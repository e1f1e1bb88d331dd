package draft

import (
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/protect"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// capability returns the name that rules have for a capability, as CAP_CHOWN is chown.
func capability(name string) (rule string, known bool) {
	rule = strings.ToLower(strings.TrimPrefix(strings.ToUpper(name), "CAP_"))
	return rule, slices.Contains(kernelname.Capabilities, rule)
}

// held returns the capabilities that processes of the container can come to use, by the names of rules, sorted.
func (w *writer) held() []string {
	list := w.Bounding
	if !w.Root && w.NoNewPrivileges {
		list = w.Ambient
	}
	var all []string
	for _, name := range list {
		rule, _ := capability(name)
		all = append(all, rule)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// capabilities writes the rules for capabilities.
func (w *writer) capabilities() {
	held := w.held()
	switch {
	case len(held) > 0:
		w.block("The capabilities of the description.")
	case !w.Root && w.NoNewPrivileges && len(w.Bounding) > 0:
		w.block("No capabilities: without root and with no_new_privs a process can come to have none.")
	default:
		w.block("No capabilities: the description has none.")
	}
	for _, name := range held {
		w.rule("capability %s", name)
	}
}

// network writes the rules for sockets.
func (w *writer) network() {
	if w.NoNetwork {
		w.block("Sockets between the container's own processes: the description gives it no network.")
		w.rule("network unix")
		return
	}
	var ports []string
	for _, p := range w.Ports {
		ports = append(ports, fmt.Sprintf("%d/%s", p.Number, p.Protocol))
		if p.Number > 0 && p.Number < 1024 && !w.LowPorts && !slices.Contains(w.held(), "net_bind_service") {
			w.note("port %d takes the capability net_bind_service, which the description does not give", p.Number)
		}
	}
	listens := "the description names no ports"
	if len(ports) > 0 {
		listens = "it listens at " + strings.Join(ports, ", ")
	}
	w.block("TCP: "+listens+". UDP and netlink: names of other hosts, and its own addresses.", "No raw sockets and no others.")
	types := []string{"stream", "dgram"}
	if slices.ContainsFunc(w.Ports, func(p Port) bool { return p.Protocol == "sctp" }) {
		types = append(types, "seqpacket")
	}
	for _, family := range []string{"inet", "inet6"} {
		for _, t := range types {
			w.rule("network %s %s", family, t)
		}
	}
	w.rule("network netlink raw")
	w.rule("network unix")
}

// peers writes the rules by which processes reach each other, and are reached by those who run the container.
func (w *writer) peers() {
	w.block("The host and the runtimes may stop the container, and engines under the labels that they have on this node.")
	senders := templates.Stoppers()
	for _, label := range slices.Sorted(slices.Values(w.to.Senders)) {
		if !slices.Contains(senders, label) {
			senders = append(senders, label)
		}
	}
	for _, label := range senders {
		w.rule("signal (receive) peer=%q", label)
	}
	const itself = "peer={@{profile_name},@{profile_name}//&**,**//&@{profile_name},**//&@{profile_name}//&**}"
	traces := slices.Contains(w.held(), "sys_ptrace")
	w.block("Its processes may signal each other and see each other in /proc, alone and in a stack of profiles.")
	w.rule("signal (send,receive) %s", itself)
	if traces {
		w.rule("ptrace (trace,tracedby,read,readby) %s", itself)
		return
	}
	w.rule("ptrace (read,readby) %s", itself)
	w.block("They may not trace each other: the description does not give the capability sys_ptrace.")
	w.rule("audit deny ptrace (trace,tracedby)")
}

// never returns accesses of which no draft allows one: what the description says cannot make it.
func (w *writer) never() []string {
	all := protect.Never(protect.Drafts)
	held := w.held()
	for _, name := range kernelname.Capabilities {
		if !slices.Contains(held, name) {
			all = append(all, "capability "+name)
		}
	}
	for _, socket := range w.to.Sockets {
		all = append(all, "w "+word(socketPattern(socket)))
	}
	return all
}
