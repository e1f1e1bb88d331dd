package suite

import (
	"encoding/binary"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// accessesOf returns the accesses that a key and permissions of Within may stand for.
func accessesOf(e meaning.Excess) (list []meaning.Access) {
	for bit := range 32 {
		want := e.Perms & (1 << bit)
		if want == 0 {
			continue
		}
		if a := accessFor(e, want); a != nil {
			list = append(list, a)
		}
	}
	return list
}

// accessFor returns the access that a key and one permission stand for, or nil.
func accessFor(e meaning.Excess, want uint32) meaning.Access {
	switch e.Class {
	case meaning.File:
		return fileAccess(e.Key, want, e.Owner)
	case meaning.Capabilities:
		return meaning.CapabilityAccess(e.Key[0])
	case meaning.Namespaces:
		return meaning.UsernsAccess{}
	case meaning.IOUring:
		return meaning.IOUringAccess{Override: want == meaning.MayAppend, Label: e.Key}
	case meaning.PosixMQueue:
		name, label, _ := strings.Cut(e.Key, "\x00")
		return meaning.MqueueAccess{Name: name, Label: label, Want: want}
	}
	if e.Key == "" {
		return nil
	}
	switch e.Class {
	case meaning.Signals:
		return meaning.SignalAccess{Want: want, Signal: meaning.Signal(e.Key[0]), Peer: e.Key[1:]}
	case meaning.Label:
		return meaning.PtraceAccess{Want: want, Peer: e.Key[1:]}
	case meaning.Mount:
		return mountAccess(e.Key)
	case meaning.Net, meaning.NetV9:
		return socketAccess(e.Key, want)
	}
	return nil
}

func fileAccess(key string, want uint32, owner bool) meaning.Access {
	path, target, pair := strings.Cut(key, "\x00")
	switch {
	case want == meaning.MayLink:
		return meaning.LinkAccess{Path: path, Target: target, Owner: owner}
	case pair:
		return meaning.ChangeProfileAccess{Label: target, OnExec: true, Program: path, Owner: owner}
	case want&(meaning.MayChangeProfile|meaning.MayOnExec) != 0:
		label, stack := strings.CutPrefix(key, "&")
		return meaning.ChangeProfileAccess{Label: label, Stack: stack, OnExec: want == meaning.MayOnExec}
	case want == meaning.MayExec:
		return meaning.ExecAccess{Path: path, Owner: owner}
	}
	return meaning.FileAccess{Path: path, Want: want, Owner: owner}
}

// mountAccess returns the access of a key of one, two or more texts, with a NUL between them: an umount, a pivot_root, and
// the target, source, type, flags and data of a mount.
func mountAccess(key string) meaning.Access {
	texts := strings.SplitN(key, "\x00", 5)
	switch len(texts) {
	case 1:
		return meaning.UmountAccess{Target: texts[0]}
	case 2:
		return meaning.PivotRootAccess{New: texts[0], Old: texts[1]}
	case 3:
		return nil
	}
	a := meaning.MountAccess{Target: texts[0], Source: texts[1], Type: texts[2]}
	for _, bit := range []byte(texts[3]) {
		if bit < 1 || bit > 32 {
			return nil
		}
		a.Flags |= 1 << (bit - 1)
	}
	if len(texts) > 4 {
		a.Data = texts[4]
	}
	return a
}

// socketAccess returns the access of a key that is the numbers of a family, a type and perhaps a protocol.
func socketAccess(key string, want uint32) meaning.Access {
	const protocol = 6
	if len(key) < protocol-2 {
		return nil
	}
	key += "\x00\x00"
	b := []byte(key[:protocol])
	return meaning.SocketAccess{Family: binary.BigEndian.Uint16(b), Type: binary.BigEndian.Uint16(b[2:]),
		Protocol: binary.BigEndian.Uint16(b[4:]), Want: want}
}
