package hook

import (
	"context"
	"errors"
	"io/fs"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// reasoned is an error whose reason is known where it arises.
type reasoned struct {
	error
	reason notice.Reason
}

func (e *reasoned) Unwrap() error { return e.error }

// Because returns err with a reason for a refusal, or nil if err is nil. An error in err that tells a reason of its own, such
// as that of a drift, has precedence.
func Because(reason notice.Reason, err error) error {
	if err == nil {
		return nil
	}
	return &reasoned{err, reason}
}

// ReasonOf returns the reason of a refusal with this error.
func ReasonOf(err error) notice.Reason {
	var refusal *policy.Refusal
	var notReady *kernel.NotReadyError
	var known *reasoned
	switch {
	case errors.As(err, &refusal) && refusal.Known:
		return notice.NotAllowed
	case refusal != nil:
		return notice.UnknownPolicy
	case errors.Is(err, kernel.ErrDrift):
		return notice.Drift
	case errors.As(err, &notReady):
		return reasonOfReadiness(notReady.Readiness)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return notice.Cancelled
	case errors.Is(err, policy.ErrIndex):
		return notice.PolicyUnread
	case errors.Is(err, store.ErrNone) && !errors.Is(err, store.ErrLost):
		return notice.NoPolicy
	case errors.As(err, &known):
		return known.reason
	}
	return notice.OtherReason
}

func reasonOfReadiness(r kernel.Readiness) notice.Reason {
	switch r {
	case kernel.NoRight:
		return notice.NoRight
	case kernel.NoHash:
		return notice.NoHash
	}
	return notice.AppArmorOff
}

// policyReason returns the reason if the applied policy cannot be used.
func policyReason(err error) notice.Reason {
	if errors.Is(err, fs.ErrPermission) {
		return notice.NoRight
	}
	return notice.PolicyUnread
}

// decisionReason returns the reason if a policy decides nothing about a container.
func decisionReason(f *policy.Facts) notice.Reason {
	if f.Misspelt != "" && !f.Sandbox {
		return notice.Annotation
	}
	return notice.Names
}
