package compare

import "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"

// words are the words for the permissions of a topic. A word is for all of its permissions together. "write" is "w" without
// append.
func words(topic string) []meaning.Permission {
	switch topic {
	case "file":
		const write = meaning.MayWrite | meaning.MayCreate | meaning.MayDelete | meaning.MaySetAttr | meaning.MayChmod | meaning.MayChown
		return []meaning.Permission{
			{Word: "r", Bits: meaning.MayRead},
			{Word: "w", Bits: write | meaning.MayAppend},
			{Word: "write", Bits: write},
			{Word: "a", Bits: meaning.MayAppend},
			{Word: "k", Bits: meaning.MayLock},
			{Word: "m", Bits: meaning.MayMmapExec},
			{Word: "x", Bits: meaning.MayExec},
		}
	case "change_profile", "change_profile &":
		return []meaning.Permission{{Word: "now", Bits: meaning.MayChangeProfile}, {Word: "request", Bits: meaning.MayOnExec}}
	case "signal":
		return meaning.SignalPermissions
	case "ptrace":
		return meaning.PtracePermissions
	case "dbus":
		return meaning.DBusPermissions
	case "network", "unix":
		return meaning.SocketPermissions
	}
	return nil
}

// bitNames are the words for single permissions, where a topic has no other.
var bitNames = []meaning.Permission{
	{Word: "x", Bits: meaning.MayExec},
	{Word: "write alone", Bits: meaning.MayWrite},
	{Word: "read", Bits: meaning.MayRead},
	{Word: "append", Bits: meaning.MayAppend},
	{Word: "create", Bits: meaning.MayCreate},
	{Word: "delete", Bits: meaning.MayDelete},
	{Word: "open", Bits: meaning.MayOpen},
	{Word: "rename", Bits: meaning.MayRename},
	{Word: "setattr", Bits: meaning.MaySetAttr},
	{Word: "getattr", Bits: meaning.MayGetAttr},
	{Word: "chmod", Bits: meaning.MayChmod},
	{Word: "chown", Bits: meaning.MayChown},
	{Word: "lock", Bits: meaning.MayLock},
	{Word: "mmap", Bits: meaning.MayMmapExec},
	{Word: "link", Bits: meaning.MayLink},
}
