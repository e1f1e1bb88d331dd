// Package kernelname has the words that AppArmor's rules and records have for numbers of the kernel: families and types of
// sockets, capabilities, resources with limits, flags of mounts.
package kernelname

import "strconv"

// A Word stands for a number.
type Word struct {
	Word   string
	Number uint16
}

// Numbers are words for numbers. Several words may stand for one number, of which the first is the usual one.
type Numbers []Word

// Number returns the number that a word stands for. A decimal number stands for itself.
func (n Numbers) Number(word string) (uint16, bool) {
	for _, one := range n {
		if one.Word == word {
			return one.Number, true
		}
	}
	number, err := strconv.ParseUint(word, 10, 16)
	return uint16(number), err == nil
}

// Word returns the word for a number, or the number itself where there is none.
func (n Numbers) Word(number uint16) string {
	for _, one := range n {
		if one.Number == number {
			return one.Word
		}
	}
	return strconv.Itoa(int(number))
}

// Words returns all words.
func (n Numbers) Words() (words []string) {
	for _, one := range n {
		words = append(words, one.Word)
	}
	return words
}

// Numbers returns the numbers of all words.
func (n Numbers) Numbers() (numbers []uint16) {
	for _, one := range n {
		numbers = append(numbers, one.Number)
	}
	return numbers
}

// Families are those of sockets (AF_*, include/linux/socket.h) that rules can be about.
var Families = Numbers{{"unix", 1}, {"inet", 2}, {"ax25", 3}, {"ipx", 4}, {"appletalk", 5}, {"netrom", 6}, {"bridge", 7},
	{"atmpvc", 8}, {"x25", 9}, {"inet6", 10}, {"rose", 11}, {"netbeui", 13}, {"security", 14}, {"key", 15}, {"netlink", 16},
	{"packet", 17}, {"ash", 18}, {"econet", 19}, {"atmsvc", 20}, {"rds", 21}, {"sna", 22}, {"irda", 23}, {"pppox", 24},
	{"wanpipe", 25}, {"llc", 26}, {"ib", 27}, {"mpls", 28}, {"can", 29}, {"tipc", 30}, {"bluetooth", 31}, {"iucv", 32},
	{"rxrpc", 33}, {"isdn", 34}, {"phonet", 35}, {"ieee802154", 36}, {"caif", 37}, {"alg", 38}, {"nfc", 39}, {"vsock", 40},
	{"kcm", 41}, {"qipcrtr", 42}, {"smc", 43}, {"xdp", 44}, {"mctp", 45}}

// SocketTypes are types of sockets (SOCK_*, include/linux/net.h).
var SocketTypes = Numbers{{"stream", 1}, {"dgram", 2}, {"raw", 3}, {"rdm", 4}, {"seqpacket", 5}, {"dccp", 6}, {"packet", 10}}

// Capabilities are the names of capabilities (CAP_*, include/uapi/linux/capability.h) by their numbers.
var Capabilities = []string{"chown", "dac_override", "dac_read_search", "fowner", "fsetid", "kill", "setgid", "setuid",
	"setpcap", "linux_immutable", "net_bind_service", "net_broadcast", "net_admin", "net_raw", "ipc_lock", "ipc_owner",
	"sys_module", "sys_rawio", "sys_chroot", "sys_ptrace", "sys_pacct", "sys_admin", "sys_boot", "sys_nice", "sys_resource",
	"sys_time", "sys_tty_config", "mknod", "lease", "audit_write", "audit_control", "setfcap", "mac_override", "mac_admin",
	"syslog", "wake_alarm", "block_suspend", "audit_read", "perfmon", "bpf", "checkpoint_restore"}

// Capability returns the name of a capability, or its number where it has none, which no kernel has.
func Capability(number int) string {
	if number >= 0 && number < len(Capabilities) {
		return Capabilities[number]
	}
	return strconv.Itoa(number)
}

// Resources are those that have limits (RLIMIT_*, include/uapi/asm-generic/resource.h).
var Resources = Numbers{{"cpu", 0}, {"fsize", 1}, {"data", 2}, {"stack", 3}, {"core", 4}, {"rss", 5}, {"nproc", 6},
	{"nofile", 7}, {"ofile", 7}, {"memlock", 8}, {"as", 9}, {"locks", 10}, {"sigpending", 11}, {"msgqueue", 12}, {"nice", 13},
	{"rtprio", 14}, {"rttime", 15}}

// Flags of a mount (MS_*, include/uapi/linux/mount.h) that decide what it does, or that a word has beside another one.
const (
	Remount    = 1 << 5
	Bind       = 1 << 12
	Move       = 1 << 13
	Rec        = 1 << 14
	Silent     = 1 << 15
	Unbindable = 1 << 17
	Private    = 1 << 18
	Slave      = 1 << 19
	Shared     = 1 << 20

	// Propagation are those that change how mounts are shared.
	Propagation = Unbindable | Private | Slave | Shared

	// Ignored are those that the kernel takes away before it asks (AA_MS_IGNORE_MASK, security/apparmor/include/mount.h):
	// MS_KERNMOUNT, MS_NOSEC, MS_ACTIVE and MS_BORN.
	Ignored = 1<<22 | 1<<28 | 1<<30 | 1<<29
)

// A MountFlag is a word for a flag of a mount, or for two of them.
type MountFlag struct {
	Word string
	Flag uint32 // 0 for a word which says that a flag is not set
}

// MountFlags are the words for the flags of mounts.
var MountFlags = []MountFlag{
	{"ro", 1 << 0}, {"nosuid", 1 << 1}, {"nodev", 1 << 2}, {"noexec", 1 << 3}, {"sync", 1 << 4}, {"remount", Remount},
	{"mand", 1 << 6}, {"dirsync", 1 << 7}, {"nosymfollow", 1 << 8}, {"noatime", 1 << 10}, {"nodiratime", 1 << 11},
	{"rbind", Bind | Rec}, {"bind", Bind}, {"move", Move}, {"silent", Silent}, {"verbose", Silent}, {"acl", 1 << 16},
	{"rshared", Shared | Rec}, {"rprivate", Private | Rec}, {"rslave", Slave | Rec}, {"runbindable", Unbindable | Rec},
	{"shared", Shared}, {"private", Private}, {"slave", Slave}, {"unbindable", Unbindable},
	{"relatime", 1 << 21}, {"iversion", 1 << 23}, {"strictatime", 1 << 24}, {"lazytime", 1 << 25},
	{"rw", 0}, {"suid", 0}, {"dev", 0}, {"exec", 0}, {"async", 0}, {"nomand", 0}, {"symfollow", 0}, {"atime", 0},
	{"diratime", 0}, {"loud", 0}, {"noacl", 0}, {"norelatime", 0}, {"noiversion", 0},
}

// MountFlagOf returns the flag or flags that a word stands for.
func MountFlagOf(word string) (flag uint32, ok bool) {
	for _, f := range MountFlags {
		if f.Word == word {
			return f.Flag, true
		}
	}
	return 0, false
}

// MountFlagWord returns the word for one flag, and the number where there is none. Rec has no word of its own in rules.
func MountFlagWord(flag uint32) string {
	if flag == Rec {
		return "rec"
	}
	for _, f := range MountFlags {
		if f.Flag == flag && flag != 0 {
			return f.Word
		}
	}
	return strconv.FormatUint(uint64(flag), 10)
}
