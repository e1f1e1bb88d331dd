package meaning

// A Permission is a permission of a class, or several of them, with the word for it in rules and in records of denials.
type Permission struct {
	Word string
	Bits uint32
}

// Permissions of signals, and of what processes do to each other by ptrace(2) and the like.
var (
	SignalPermissions = []Permission{{"send", MayWrite}, {"receive", MayRead}}
	PtracePermissions = []Permission{{"trace", MayWrite}, {"read", MayRead}, {"tracedby", MayAppend}, {"readby", MayCreate}}
)

// SocketPermissions are those of sockets.
var SocketPermissions = []Permission{{"create", MayCreate}, {"bind", MayBind}, {"listen", MayListen}, {"connect", MayConnect},
	{"accept", MayAccept}, {"send", MaySend}, {"receive", MayReceive}, {"setopt", MaySetOpt}, {"getopt", MayGetOpt},
	{"setattr", MaySetAttr}, {"getattr", MayGetAttr}, {"shutdown", MayShutdown}}

// MqueuePermissions are those of message queues.
var MqueuePermissions = []Permission{{"create", MayCreate}, {"open", MayOpen}, {"delete", MayDelete}, {"read", MayRead},
	{"write", MayWrite}, {"getattr", MayGetAttr}, {"setattr", MaySetAttr}}

// DBusPermissions are those of message buses.
var DBusPermissions = []Permission{{"send", DBusSend}, {"receive", DBusReceive}, {"bind", DBusBind}, {"eavesdrop", DBusEavesdrop}}
