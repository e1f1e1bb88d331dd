package access

import (
	"encoding/binary"
	"math/bits"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Of returns an access that an excess is about: the key of a class as an access, with the permissions, or the first of them
// where an access asks for one. It reports whether the key is one that a kernel looks up.
func Of(e meaning.Excess) (meaning.Access, bool) {
	if e.Perms == 0 {
		return nil, false
	}
	key, first := e.Key, uint32(1)<<bits.TrailingZeros32(e.Perms)
	switch e.Class {
	case meaning.File:
		return ofFile(e, first)
	case meaning.Capabilities:
		if len(key) == 1 {
			return meaning.CapabilityAccess(key[0]), true
		}
	case meaning.Signals:
		if len(key) > 1 {
			return meaning.SignalAccess{Want: first, Signal: meaning.Signal(key[0]), Peer: key[1:]}, true
		}
	case meaning.Label:
		if len(key) > 1 && meaning.Class(key[0]) == meaning.PTrace {
			return meaning.PtraceAccess{Want: first, Peer: key[1:]}, true
		}
	case meaning.Mount:
		return ofMount(strings.Split(key, "\x00"), e.Perms)
	case meaning.Net, meaning.NetV9:
		if e.Perms&meaning.MayCreate != 0 {
			first = meaning.MayCreate
		}
		return ofSocket(e.Class, key, first)
	case meaning.PosixMQueue:
		name, label, _ := strings.Cut(key, "\x00")
		return meaning.MqueueAccess{Want: first, Name: name, Label: label}, true
	case meaning.Namespaces:
		return meaning.UsernsAccess{}, key == ""
	case meaning.IOUring:
		if key == "" {
			return meaning.IOUringAccess{}, e.Perms&meaning.MayCreate != 0
		}
		return meaning.IOUringAccess{Override: true, Label: key}, e.Perms&meaning.MayAppend != 0
	case meaning.DBus:
		return ofDBus(strings.Split(key, "\x00"), e.Perms)
	}
	return nil, false
}

// ofFile makes an access of a path, a pair of paths, a label, or a path and a label.
func ofFile(e meaning.Excess, first uint32) (meaning.Access, bool) {
	path, behind, pair := strings.Cut(e.Key, "\x00")
	isPath := strings.HasPrefix(path, "/")
	const files = meaning.MayWrite | meaning.MayRead | meaning.MayAppend | meaning.MayCreate | meaning.MayDelete |
		meaning.MayRename | meaning.MaySetAttr | meaning.MayGetAttr | meaning.MayChmod | meaning.MayChown | meaning.MayLock |
		meaning.MayMmapExec
	switch {
	case pair && e.Perms&meaning.MayLink != 0:
		return meaning.LinkAccess{Path: path, Target: behind, Owner: e.Owner}, behind != ""
	case pair && e.Perms&meaning.MayOnExec != 0:
		label, stack := strings.CutPrefix(behind, "&")
		return meaning.ChangeProfileAccess{Label: label, Stack: stack, OnExec: true, Program: path, Owner: e.Owner}, label != ""
	case pair:
	case isPath && e.Perms&files != 0:
		return meaning.FileAccess{Path: path, Want: e.Perms & files, Owner: e.Owner}, true
	case isPath && e.Perms&meaning.MayExec != 0:
		return meaning.ExecAccess{Path: path, Owner: e.Owner}, true
	case isPath && e.Perms == meaning.MayLink: // to what, only a key with two paths says
	case first == meaning.MayOnExec || first == meaning.MayChangeProfile:
		label, stack := strings.CutPrefix(path, "&")
		return meaning.ChangeProfileAccess{Label: label, Stack: stack, OnExec: first == meaning.MayOnExec}, label != ""
	}
	return nil, false
}

// Permissions of mounts (security/apparmor/include/mount.h).
const (
	mayPivotRoot = 1 << 0
	mayMount     = 1 << 1
	mayUmount    = 1 << 2
)

// ofMount makes an access of the fields of a key.
func ofMount(fields []string, perms uint32) (meaning.Access, bool) {
	switch {
	case perms&mayMount != 0 && (len(fields) == 4 || len(fields) == 5):
		a := meaning.MountAccess{Target: fields[0], Source: fields[1], Type: fields[2]}
		for _, bit := range []byte(fields[3]) {
			a.Flags |= 1 << (bit - 1)
		}
		if len(fields) == 5 {
			a.Data = fields[4]
		}
		return a, true
	case perms&mayUmount != 0 && len(fields) == 1:
		return meaning.UmountAccess{Target: fields[0]}, true
	case perms&mayPivotRoot != 0 && len(fields) == 2:
		return meaning.PivotRootAccess{New: fields[0], Old: fields[1]}, true
	}
	return nil, false
}

// ofSocket makes an access of a family, a type and a protocol, and of addresses of unix sockets.
func ofSocket(class meaning.Class, key string, first uint32) (meaning.Access, bool) {
	number := func(at int) uint16 {
		if len(key) < at+2 {
			return 0
		}
		return binary.BigEndian.Uint16([]byte(key[at:]))
	}
	switch {
	case len(key) < 4:
		return nil, false
	case class == meaning.Net || number(0) != afUnix:
		return meaning.SocketAccess{Family: number(0), Type: number(2), Protocol: number(4), Want: first}, true
	case len(key) < 6:
		return nil, false
	}
	a := meaning.UnixAccess{Type: number(2), Protocol: number(4), Want: first}
	if first == meaning.MayCreate {
		return a, len(key) == 6
	}
	// The address, a label that nothing has, and which kind of request it is.
	own, rest, ok := strings.Cut(key[6:], "\x00")
	if strings.HasPrefix(key[6:], "\x00") { // of which the first byte says that it is abstract
		own, rest, ok = strings.Cut(key[7:], "\x00")
		own = "@" + own
	}
	a.Address = unixAddress(own)
	rest, empty := strings.CutPrefix(rest, "\x00")
	switch {
	case !ok || !empty:
		return nil, false
	case first&peered != 0 && len(rest) > 1:
		peer, label, ok := strings.Cut(rest[1:], "\x00")
		if strings.HasPrefix(rest[1:], "\x00") {
			peer, label, ok = strings.Cut(rest[2:], "\x00")
			peer = "@" + peer
		}
		a.PeerAddress, a.Peer = unixAddress(peer), label
		return a, ok && label != ""
	case first == meaning.MayListen && len(rest) == 3:
		a.Backlog = binary.BigEndian.Uint16([]byte(rest[1:]))
		return a, true
	case first&optional != 0 && len(rest) == 3:
		a.Option = binary.BigEndian.Uint16([]byte(rest[1:]))
		return a, true
	}
	return a, first&(peered|optional|meaning.MayListen) == 0 && rest == ""
}

// unixAddress returns the address that a key has, in which a byte 1 stands for none.
func unixAddress(key string) string {
	if key == "\x01" {
		return ""
	}
	return key
}

func ofDBus(fields []string, perms uint32) (meaning.Access, bool) {
	a := meaning.DBusAccess{Bus: fields[0]}
	switch {
	case len(fields) == 1 && perms&meaning.DBusEavesdrop != 0:
		a.Want = meaning.DBusEavesdrop
	case len(fields) == 2 && perms&meaning.DBusBind != 0:
		a.Want, a.Name = meaning.DBusBind, fields[1]
	case len(fields) == 6 && perms&(meaning.DBusSend|meaning.DBusReceive) != 0:
		a.Want = perms & (meaning.DBusSend | meaning.DBusReceive)
		if a.Want&meaning.DBusSend != 0 {
			a.Want = meaning.DBusSend
		}
		a.Name, a.Label, a.Path, a.Interface, a.Member = fields[1], fields[2], fields[3], fields[4], fields[5]
	default:
		return nil, false
	}
	return a, true
}
