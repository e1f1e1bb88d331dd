package meaning

// A SignalAccess sends a signal to a process, or receives one from it. The kernel asks both sides.
type SignalAccess struct {
	Want   uint32 // MayWrite to send, MayRead to receive
	Signal Signal
	Peer   string // the other process's label
}

// A PtraceAccess looks at or controls a process as a debugger does, or is the process to which that is done. The kernel
// asks both sides.
type PtraceAccess struct {
	Want uint32 // MayWrite to trace, MayRead to read, MayAppend to be traced, MayCreate to be read
	Peer string // the other process's label
}

func (SignalAccess) access() {}
func (PtraceAccess) access() {}

// ptrace follows profile_tracer_perm and profile_tracee_perm. A profile without rules of the class lets a process trace
// others of its own label, and all with CAP_SYS_PTRACE.
func (p *Profile) ptrace(a PtraceAccess) Answer {
	const (
		tracee    = MayAppend | MayCreate
		sysPtrace = 19
	)
	if p.Mediates(PTrace) {
		return p.checked(p.Ptrace(a.Want, a.Peer), a.Want)
	}
	if a.Want&^tracee == 0 || a.Peer == p.Name {
		return Answer{Allowed: true}
	}
	return p.capability(sysPtrace)
}
