package source

import "fmt"

// A lostCounter is the kernel's own count of records that it dropped before anybody could read them.
type lostCounter struct {
	host  *Host
	first Status
	err   error
	boot  bool // counts from the boot on
}

// newLostCounter begins to count now.
func (h *Host) newLostCounter() lostCounter {
	s, err := h.Status()
	return lostCounter{host: h, first: s, err: err}
}

// sinceBoot returns a counter that began with the boot.
func (h *Host) sinceBoot() lostCounter {
	c := h.newLostCounter()
	c.first.Lost, c.boot = 0, true
	return c
}

// lost returns what the kernel has dropped since.
func (c lostCounter) lost() []Loss {
	now, err := c.host.Status()
	if c.err != nil {
		err = c.err
	}
	if err != nil {
		return []Loss{{By: fmt.Sprintf("the kernel, whose count cannot be read (%v)", err), Unknown: true}}
	}
	if now.Lost == c.first.Lost {
		return nil
	}
	l := Loss{By: fmt.Sprintf("the kernel, which keeps %d records until they are read (`auditctl -b 8192` makes that more)", now.BacklogLimit)}
	switch {
	case c.boot:
		l.Records, l.By = uint64(now.Lost), l.By+", at any time since the boot or the last `auditctl --reset-lost`"
	case now.Lost > c.first.Lost:
		l.Records = uint64(now.Lost - c.first.Lost)
	default: // somebody has set the count back
		l.Records, l.Unknown = uint64(now.Lost), true
	}
	return []Loss{l}
}
