package source

import "errors"

// A Status is what the kernel says of its audit subsystem (struct audit_status, include/uapi/linux/audit.h).
type Status struct {
	Enabled      uint32 // 0: only AppArmor's and other security modules' records are made; 1: all; 2: all, and locked
	Auditd       uint32 // the process that takes the records; 0 if there is none
	RateLimit    uint32 // messages a second; 0 for no limit
	BacklogLimit uint32
	Lost         uint32 // since the boot, or since somebody set it back
	Backlog      uint32 // how many wait
}

// ReadStatus asks the kernel.
func ReadStatus() (Status, error) { return Status{}, errors.ErrUnsupported }
