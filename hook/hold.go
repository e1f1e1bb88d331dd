package hook

import (
	"fmt"
	"os"
)

// Hold stops every container that is about to be created by Prepare before it is remembered, and so before its spec names a
// profile, until release is called. Starts wait: who holds them looks first whether there is a reason to.
func (h *Host) Hold() (release func(), err error) {
	if err := os.MkdirAll(h.Containers, 0o700); err != nil {
		return nil, fmt.Errorf("stopping starts: %w", err)
	}
	release, err = h.lock()
	if err != nil {
		return nil, fmt.Errorf("stopping starts: %w", err)
	}
	return release, nil
}
