package kernel

import (
	"slices"
	"time"
)

// SetLockWait changes how long k waits for the lock.
func (k *Kernel) SetLockWait(d time.Duration) { k.lockWait = d }

// SetRights changes what k takes for this process's rights.
func (k *Kernel) SetRights(admin, initial bool) {
	k.rights = func() (bool, bool) { return admin, initial }
}

var (
	CurrentIn = current
	Mangle    = mangle
)

// Walk is List for a process without root.
func (k *Kernel) Walk() ([]Listed, error) {
	var all []Listed
	err := k.walk(k.profiles(), "", &all)
	slices.SortFunc(all, compareListed)
	return all, err
}
