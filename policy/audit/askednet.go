package audit

import (
	"fmt"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// socketOperations are what an operation asks, for kernels that write no mask.
var socketOperations = map[string]uint32{"create": meaning.MayCreate, "socket_create": meaning.MayCreate, "bind": meaning.MayBind,
	"connect": meaning.MayConnect, "listen": meaning.MayListen, "accept": meaning.MayAccept, "sendmsg": meaning.MaySend,
	"recvmsg": meaning.MayReceive, "getsockname": meaning.MayGetAttr, "getpeername": meaning.MayGetAttr,
	"getsockopt": meaning.MayGetOpt, "setsockopt": meaning.MaySetOpt, "socket_shutdown": meaning.MayShutdown,
	"file_perm": meaning.MaySend | meaning.MayReceive, "file_inherit": meaning.MaySend | meaning.MayReceive,
	"file_receive": meaning.MaySend | meaning.MayReceive}

const afUnix = 1

// askedSocket reads a record of a socket. Its addresses are of no interest but for those of AF_UNIX: no kernel has rules
// about others that a parser of Debian writes.
func askedSocket(r *Record) (Asked, error) {
	want, denied, err := r.masks(meaning.SocketPermissions, socketOperations[r.Get("operation")])
	if err != nil {
		return Asked{}, err
	}
	family, known := kernelname.Families.Number(number(r.Get("family")))
	kind, ok := kernelname.SocketTypes.Number(number(r.Get("sock_type")))
	if !known || !ok {
		return Asked{}, because(Unreadable, "no rule can be about a socket of family %s and type %s", oneline.Quote(r.Get("family")),
			oneline.Quote(r.Get("sock_type")))
	}
	protocol, ok := r.Number("protocol")
	if !ok || protocol < 0 || protocol >= 1<<16 {
		return Asked{}, fmt.Errorf("the record does not say which protocol the socket has")
	}
	if family == afUnix {
		asked := r.unixSocket(meaning.UnixAccess{Type: kind, Protocol: uint16(protocol), Want: want})
		asked.Denied = denied
		return asked, nil
	}
	return Asked{Accesses: []meaning.Access{meaning.SocketAccess{Family: family, Type: kind, Protocol: uint16(protocol), Want: want}},
		Denied: denied}, nil
}

// number returns the number in unknown(NUMBER), which a kernel writes for what it has no word for, and other words as they are.
func number(word string) string {
	if n, ok := strings.CutPrefix(word, "unknown("); ok {
		return strings.TrimSuffix(n, ")")
	}
	return word
}

// unixSocket adds the addresses and the peer of a socket of AF_UNIX, which kernels before Linux 6.17 do not write.
func (r *Record) unixSocket(a meaning.UnixAccess) Asked {
	const peered = meaning.MayConnect | meaning.MaySend | meaning.MayReceive
	if fsuid, ok := r.Number("fsuid"); ok {
		ouid, known := r.Number("ouid")
		a.Owner = known && fsuid == ouid
	}
	var open []string
	if _, ok := r.Field("addr"); !ok && a.Want != meaning.MayCreate {
		open = append(open, "the socket's address")
	}
	peers := []string{r.Get("peer")}
	if a.Want&peered != 0 && peers[0] == "" {
		open = append(open, "the label of the other side")
		own, _ := r.Profile()
		peers = []string{own, "unconfined"}
	}
	if a.Want&(meaning.MaySetOpt|meaning.MayGetOpt) != 0 {
		open = append(open, "which option it was")
	}
	var asked Asked
	for _, a.Address = range addresses(r.Get("addr")) {
		for _, a.PeerAddress = range addresses(r.Get("peer_addr")) {
			for _, a.Peer = range peers {
				asked.Accesses = append(asked.Accesses, a)
			}
		}
	}
	if len(open) > 0 {
		asked.Open = strings.Join(open, " and ") + " is not logged"
	} else if len(asked.Accesses) > 1 {
		asked.Open = "whether the abstract address is the name itself or its hexadecimal digits is not logged"
	}
	return asked
}

// addresses returns the addresses that the value of a field can be. The kernel writes an abstract one that is not fit for
// quotes in hexadecimal digits within quotes, as no other value (audit_unix_addr, security/apparmor/af_unix.c).
func addresses(value string) []string {
	name, abstract := strings.CutPrefix(value, "@")
	switch {
	case value == "none":
		return []string{""}
	case !abstract:
		return []string{value}
	}
	if decoded := (Field{Key: []byte("addr"), Text: []byte(name)}).Value(); decoded != name {
		return []string{"@" + decoded, value}
	}
	return []string{value}
}
