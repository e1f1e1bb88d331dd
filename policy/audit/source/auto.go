package source

import (
	"context"
	"errors"
	"fmt"
)

// openAuto opens the most complete source that is alive.
func (h *Host) openAuto(ctx context.Context, o Options) (Source, error) {
	// The audit socket loses least. auditd's log has all that auditd got, over rotations and boots. The journal has it
	// perhaps, and the kernel's log has what the kernel's limit on messages lets pass.
	names := []string{AuditLog, Journal, Kmsg}
	if o.Follow && !o.past() {
		names = append([]string{Multicast}, names...)
	}
	var why []error
	for _, name := range names {
		_, err := h.alive(ctx, name) // what is missing, the source that is opened then knows
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err == nil {
			s, err := h.Open(ctx, name, o)
			if err == nil {
				return s, nil
			}
			why = append(why, err)
			continue
		}
		why = append(why, err)
		if errors.Is(err, ErrNoAudit) || errors.Is(err, errNoAppArmor) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("no source of records is alive:\n%w", errors.Join(why...))
}

var errNoAppArmor = errors.New("AppArmor is not on in this kernel, so that it denies nothing")
