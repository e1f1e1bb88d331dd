package compare

import (
	"strconv"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// familyNames are the names that rules have for families of sockets, by the kernel's numbers (include/linux/socket.h).
var familyNames = [...]string{"unspec", "unix", "inet", "ax25", "ipx", "appletalk", "netrom", "bridge", "atmpvc", "x25",
	"inet6", "rose", "decnet", "netbeui", "security", "key", "netlink", "packet", "ash", "econet", "atmsvc", "rds", "sna", "irda", "pppox",
	"wanpipe", "llc", "ib", "mpls", "can", "tipc", "bluetooth", "iucv", "rxrpc", "isdn", "phonet", "ieee802154", "caif", "alg",
	"nfc", "vsock", "kcm", "qipcrtr", "smc", "xdp", "mctp"}

// typeNames are the names that rules have for types of sockets (include/linux/net.h).
var typeNames = map[byte]string{1: "stream", 2: "dgram", 3: "raw", 4: "rdm", 5: "seqpacket", 6: "dccp", 10: "packet"}

func familyName(b byte) string {
	if int(b) < len(familyNames) {
		return familyNames[b]
	}
	return strconv.Itoa(int(b))
}

func typeName(b byte) string {
	if name, ok := typeNames[b]; ok {
		return name
	}
	return strconv.Itoa(int(b))
}

// named are permissions and the word for them.
type named struct {
	bits uint32
	name string
}

// words are the words for the permissions of a topic. A word is for all of its permissions together. "write" is "w" without
// append.
func words(topic string) []named {
	switch topic {
	case "file":
		const write = meaning.MayWrite | meaning.MayCreate | meaning.MayDelete | meaning.MaySetAttr | meaning.MayChmod | meaning.MayChown
		return []named{{meaning.MayRead, "r"}, {write | meaning.MayAppend, "w"}, {write, "write"}, {meaning.MayAppend, "a"}, {meaning.MayLock, "k"},
			{meaning.MayMmapExec, "m"}, {meaning.MayExec, "x"}}
	case "change_profile", "change_profile &":
		return []named{{meaning.MayChangeProfile, "now"}, {meaning.MayOnExec, "request"}}
	case "signal":
		return []named{{meaning.MayWrite, "send"}, {meaning.MayRead, "receive"}}
	case "ptrace":
		return []named{{meaning.MayWrite, "trace"}, {meaning.MayRead, "read"}, {meaning.MayAppend, "tracedby"},
			{meaning.MayCreate, "readby"}}
	case "dbus":
		return []named{{meaning.DBusSend, "send"}, {meaning.DBusReceive, "receive"}, {meaning.DBusBind, "bind"},
			{meaning.DBusEavesdrop, "eavesdrop"}}
	case "network", "unix":
		return []named{{meaning.MayCreate, "create"}, {meaning.MayBind, "bind"}, {meaning.MayListen, "listen"},
			{meaning.MayConnect, "connect"}, {meaning.MayAccept, "accept"}, {meaning.MaySend, "send"},
			{meaning.MayReceive, "receive"}, {meaning.MaySetOpt, "setopt"}, {meaning.MayGetOpt, "getopt"},
			{meaning.MaySetAttr, "setattr"}, {meaning.MayGetAttr, "getattr"}, {meaning.MayShutdown, "shutdown"}}
	}
	return nil
}

// bitNames are the words for single permissions, where a topic has no other.
var bitNames = []named{{meaning.MayExec, "x"}, {meaning.MayWrite, "write alone"}, {meaning.MayRead, "read"}, {meaning.MayAppend, "append"},
	{meaning.MayCreate, "create"}, {meaning.MayDelete, "delete"}, {meaning.MayOpen, "open"}, {meaning.MayRename, "rename"},
	{meaning.MaySetAttr, "setattr"}, {meaning.MayGetAttr, "getattr"}, {meaning.MayChmod, "chmod"}, {meaning.MayChown, "chown"},
	{meaning.MayLock, "lock"}, {meaning.MayMmapExec, "mmap"}, {meaning.MayLink, "link"}}
