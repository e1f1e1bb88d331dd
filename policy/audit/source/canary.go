package source

import (
	"bytes"
	"context"
	"errors"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
)

// canaryPrefix begins the name of the profile that is asked for by a canary. There is none of that name.
const canaryPrefix = "oci-apparmor.canary."

// IsCanary reports whether a record is of a denial that Alive provoked. No source returns one.
func IsCanary(r *audit.Record) bool {
	name, ok := r.Field("name")
	return ok && bytes.HasPrefix(name.Text, []byte(canaryPrefix)) && r.Get("operation") == "change_onexec"
}

// Alive returns nil if a denial of our own, made now, comes back through a source like s.
func Alive(ctx context.Context, s Source) error {
	return errors.ErrUnsupported
}

// fromDBus reports whether dbus-daemon sent a USER_AVC.
func (h *Host) fromDBus(r *audit.Record) bool { return false }
