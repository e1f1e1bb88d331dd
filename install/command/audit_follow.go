package command

import (
	"fmt"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/audit"
)

// again is how long a repeat is not printed after the one before it.
const again = 10 * time.Second

// repeats prints events as they come, and holds back what was printed a moment ago.
type repeats struct {
	print func(e *audit.Event, count string)
	now   func() time.Time

	groups audit.Groups
	last   map[*audit.Group]time.Time // when each was printed
	held   map[*audit.Group]*audit.Event
	looked time.Time // for what was held back long enough
}

func newRepeats(print func(*audit.Event, string)) *repeats {
	return &repeats{print: print, now: time.Now, last: make(map[*audit.Group]time.Time), held: make(map[*audit.Group]*audit.Event)}
}

// add prints an event, unless it repeats one that was printed within the time of again. Then it is held back until an event
// comes after that time, or until the end.
func (r *repeats) add(e *audit.Event) {
	now := r.now()
	look := now.Sub(r.looked) >= time.Second
	if look && r.groups.Full() {
		r.forget(now.Add(-again))
	}
	g := r.groups.Add(e)
	switch at, repeats := r.last[g]; {
	case g == nil: // there were so many different ones a moment ago that none is found again
		r.print(e, "")
	case repeats && now.Sub(at) < again:
		r.held[g] = e
	default:
		r.show(g, e)
	}
	if look {
		r.looked = now
		r.late(now.Add(-again))
	}
}

// forget forgets groups that were printed before a time and have no repeat that is held back. Another repeat would be printed
// at once, and lacks only their number.
func (r *repeats) forget(before time.Time) {
	r.groups.Forget(func(g *audit.Group) bool {
		old := r.held[g] == nil && r.last[g].Before(before)
		if old {
			delete(r.last, g)
		}
		return old
	})
}

func (r *repeats) show(g *audit.Group, e *audit.Event) {
	count := ""
	if g.Count > 1 {
		count = fmt.Sprintf(" (%d times since %s)", g.Count, clock(g.First))
	}
	r.last[g] = r.now()
	delete(r.held, g)
	r.print(e, count)
}

// late prints what is held back of groups that were printed before a time.
func (r *repeats) late(before time.Time) {
	for _, g := range r.groups.All() {
		if len(r.held) == 0 {
			return
		}
		if e := r.held[g]; e != nil && r.last[g].Before(before) {
			r.show(g, e)
		}
	}
}

// end prints all that is held back.
func (r *repeats) end() { r.late(r.now().Add(time.Nanosecond)) }
