package meaning

import "encoding/binary"

// A kindOfAccess is what a question about a type of access is answered with.
type kindOfAccess struct {
	widths []int // of the texts, in bytes; 0 where that differs
	sweep  func(*Profile, []Access) sweep
}

// kindOf returns what answers questions about accesses like one.
func kindOf(like Access) (kindOfAccess, bool) {
	switch a := like.(type) {
	case FileAccess:
		return kindOfAccess{[]int{0}, fileSweep}, true
	case ExecAccess:
		return kindOfAccess{[]int{0}, fileSweep}, true
	case LinkAccess:
		return kindOfAccess{[]int{0, 0}, linkSweep}, true
	case ChangeProfileAccess:
		if a.withProgram() {
			return kindOfAccess{[]int{0, 0}, changeSweep}, true
		}
		return kindOfAccess{[]int{0}, changeSweep}, true
	case ChangeHatAccess:
		return kindOfAccess{[]int{0}, hatSweep}, true
	case SocketAccess:
		return kindOfAccess{[]int{2, 2, 2}, socketSweep}, true
	case UnixAccess:
		return kindOfAccess{a.widths(), unixSweep}, true
	case MountAccess:
		return kindOfAccess{[]int{0, 0, 0, 0, 0}, mountSweep}, true
	case UmountAccess:
		return kindOfAccess{[]int{0}, keySweep}, true
	case PivotRootAccess:
		return kindOfAccess{[]int{0, 0}, keySweep}, true
	case SignalAccess:
		return kindOfAccess{[]int{1, 0}, signalSweep}, true
	case PtraceAccess:
		return kindOfAccess{[]int{0}, ptraceSweep}, true
	case IOUringAccess:
		if a.Override {
			return kindOfAccess{[]int{0}, ioURingSweep}, true
		}
		return kindOfAccess{}, true
	case MqueueAccess:
		return kindOfAccess{[]int{0, 0}, mqueueSweep}, true
	case DBusAccess:
		widths := map[uint32]int{DBusEavesdrop: 1, DBusBind: 2}[a.Want]
		if widths == 0 {
			widths = 6
		}
		return kindOfAccess{make([]int, widths), keySweep}, true
	case CapabilityAccess, RlimitAccess, UsernsAccess:
		return kindOfAccess{}, true
	}
	return kindOfAccess{}, false
}

// widths returns the widths of the texts of a request.
func (a UnixAccess) widths() []int {
	switch a.Want {
	case MayCreate:
		return []int{2, 2}
	case MayConnect, MaySend, MayReceive:
		return []int{2, 2, 0, 0, 0}
	case MayListen, MaySetOpt, MayGetOpt:
		return []int{2, 2, 0, 2}
	}
	return []int{2, 2, 0}
}

// filled returns an access with texts, in the order that Question has for its type.
func filled(like Access, t []string) Access {
	switch a := like.(type) {
	case FileAccess:
		a.Path = t[0]
		return a
	case ExecAccess:
		a.Path = t[0]
		return a
	case LinkAccess:
		a.Path, a.Target = t[0], t[1]
		return a
	case ChangeProfileAccess:
		if a.withProgram() {
			a.Program = t[0]
		}
		a.Label = t[len(t)-1]
		return a
	case ChangeHatAccess:
		a.Hat = t[0]
		return a
	case SocketAccess:
		a.Family, a.Type, a.Protocol = number(t[0]), number(t[1]), number(t[2])
		return a
	case UnixAccess:
		return a.filled(t)
	case MountAccess:
		a.Target, a.Source, a.Type, a.Flags, a.Data = t[0], t[1], t[2], 0, t[4]
		for _, bit := range []byte(t[3]) {
			a.Flags |= 1 << (bit - 1)
		}
		return a
	case UmountAccess:
		a.Target = t[0]
		return a
	case PivotRootAccess:
		a.New, a.Old = t[0], t[1]
		return a
	case SignalAccess:
		a.Signal, a.Peer = Signal(t[0][0]), t[1]
		return a
	case PtraceAccess:
		a.Peer = t[0]
		return a
	case IOUringAccess:
		a.Label = t[0]
		return a
	case MqueueAccess:
		a.Name, a.Label = t[0], t[1]
		return a
	case DBusAccess:
		for i, field := range []*string{&a.Bus, &a.Name, &a.Label, &a.Path, &a.Interface, &a.Member}[:len(t)] {
			*field = t[i]
		}
		return a
	}
	return like
}

func (a UnixAccess) filled(t []string) Access {
	a.Type, a.Protocol = number(t[0]), number(t[1])
	if len(t) > 2 {
		a.Address = t[2]
	}
	switch {
	case a.Want == MayListen:
		a.Backlog = number(t[3])
	case a.Want == MaySetOpt || a.Want == MayGetOpt:
		a.Option = number(t[3])
	case len(t) == 5:
		a.PeerAddress, a.Peer = t[3], t[4]
	}
	return a
}

// number returns a number of 2 bytes in network order.
func number(text string) uint16 { return binary.BigEndian.Uint16([]byte(text)) }
