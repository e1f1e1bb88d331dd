package learn

import (
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// RecordingText returns the text of a recording profile: it lets everything pass, and has the kernel write a record of it. It
// has no deny rules, which are enforced in complain mode and keep accesses out of the records.
//
// Programs that are executed go on under the profile itself, which is recorded, too. Without a rule, each would leave a
// profile of its own in the kernel. By ix they could also map files as programs, which a record would not have then. A record
// of an access has what the profile does not allow of it, so no rule allows anything else.
//
// The ABI is that of the texts that are made, so that the kernel asks for the same.
func RecordingText(name string, to templates.Target) []byte {
	w := writer{Target: Target{Target: to}}
	abi := ""
	if w.has("abi/3.0") {
		abi = "abi <abi/3.0>,\n"
	}
	return fmt.Appendf(nil, "%sprofile %q flags=(complain,attach_disconnected,mediate_deleted) {\n  audit /** px -> %[2]q,\n}\n", abi, name)
}
