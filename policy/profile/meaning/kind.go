package meaning

import "encoding/binary"

// A kindOfAccess is what texts accesses of a type have, and what answers questions about them.
type kindOfAccess struct {
	fields []Field // the texts, in the order that Question has; an address is as the access has it, and not as a key has it
	sweep  func(*Profile, []Access) sweep
}

// kindOf returns the kind of accesses like one.
func kindOf(like Access) (kindOfAccess, bool) {
	switch a := like.(type) {
	case FileAccess, ExecAccess:
		return kindOfAccess{[]Field{PathField}, fileSweep}, true
	case LinkAccess:
		return kindOfAccess{[]Field{PathField, PathField}, linkSweep}, true
	case ChangeProfileAccess:
		if a.withProgram() {
			return kindOfAccess{[]Field{PathField, LabelField}, changeSweep}, true
		}
		return kindOfAccess{[]Field{LabelField}, changeSweep}, true
	case ChangeHatAccess:
		return kindOfAccess{[]Field{TextField}, hatSweep}, true
	case SocketAccess:
		return kindOfAccess{[]Field{FamilyField, TypeField, ProtocolField}, socketSweep}, true
	case UnixAccess:
		return kindOfAccess{a.fields(), unixSweep}, true
	case MountAccess:
		return kindOfAccess{[]Field{PathField, TextField, TextField, FlagsField, DataField}, mountSweep}, true
	case UmountAccess:
		return kindOfAccess{[]Field{PathField}, keySweep}, true
	case PivotRootAccess:
		return kindOfAccess{[]Field{PathField, PathField}, keySweep}, true
	case SignalAccess:
		return kindOfAccess{[]Field{SignalField, LabelField}, signalSweep}, true
	case PtraceAccess:
		return kindOfAccess{[]Field{LabelField}, ptraceSweep}, true
	case IOUringAccess:
		if a.Override {
			return kindOfAccess{[]Field{LabelField}, ioURingSweep}, true
		}
		return kindOfAccess{}, true
	case MqueueAccess:
		return kindOfAccess{[]Field{PathField, TextField}, mqueueSweep}, true
	case DBusAccess:
		return kindOfAccess{a.fields(), keySweep}, true
	case CapabilityAccess, RlimitAccess, UsernsAccess:
		return kindOfAccess{}, true
	}
	return kindOfAccess{}, false
}

// fields returns the texts of a request.
func (a UnixAccess) fields() []Field {
	switch a.Want {
	case MayCreate:
		return []Field{TypeField, ProtocolField}
	case MayConnect, MaySend, MayReceive:
		return []Field{TypeField, ProtocolField, AddressField, AddressField, LabelField}
	case MayListen, MaySetOpt, MayGetOpt:
		return []Field{TypeField, ProtocolField, AddressField, NumberField}
	}
	return []Field{TypeField, ProtocolField, AddressField}
}

// fields returns the texts of a request.
func (a DBusAccess) fields() []Field {
	switch a.Want {
	case DBusEavesdrop:
		return []Field{TextField}
	case DBusBind:
		return []Field{TextField, TextField}
	}
	return []Field{TextField, TextField, TextField, TextField, TextField, TextField}
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
		if a.Override {
			a.Label = t[0]
		}
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
