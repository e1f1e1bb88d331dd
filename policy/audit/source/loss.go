package source

import "slices"

// losses counts losses, one for each who lost.
type losses []Loss

// add notes a loss.
func (l *losses) add(by string, records uint64, unknown bool) {
	for i := range *l {
		if have := &(*l)[i]; have.By == by {
			have.Records += records
			have.Unknown = have.Unknown || unknown
			return
		}
	}
	*l = append(*l, Loss{By: by, Records: records, Unknown: unknown})
}

// all returns the losses, as the caller's own.
func (l losses) all() []Loss { return slices.Clone(l) }
