package access

import (
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Format writes an access in the language. Parse of it returns the pattern of exactly that access, if it is one that a
// kernel can ask about.
func Format(a meaning.Access) string {
	switch a := a.(type) {
	case meaning.FileAccess:
		return formatFile(a)
	case meaning.LinkAccess:
		return formatLink(a)
	case meaning.ExecAccess:
		return formatExec(a)
	case meaning.CapabilityAccess:
		return formatCapability(a)
	case meaning.SignalAccess:
		return formatSignal(a)
	case meaning.PtraceAccess:
		return formatPtrace(a)
	case meaning.SocketAccess:
		return formatSocket(a)
	case meaning.UnixAccess:
		return formatUnix(a)
	case meaning.MountAccess:
		return formatMount(a)
	case meaning.UmountAccess:
		return "umount " + literal(a.Target)
	case meaning.PivotRootAccess:
		return formatPivotRoot(a)
	case meaning.MqueueAccess:
		return formatMqueue(a)
	case meaning.DBusAccess:
		return formatDBus(a)
	case meaning.RlimitAccess:
		return formatRlimit(a)
	case meaning.UsernsAccess:
		return "userns create"
	case meaning.IOUringAccess:
		return formatIOURing(a)
	case meaning.ChangeProfileAccess:
		return formatChangeProfile(a)
	case meaning.ChangeHatAccess:
		return "change_hat " + literal(a.Hat)
	}
	return oneline.Quote(fmt.Sprintf("%T%+v", a, a))
}
