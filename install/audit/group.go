package audit

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Group is events that differ in nothing but their time and their process's id.
type Group struct {
	*Event      // the first one
	Count       int
	First, Last time.Time
	PIDs        int // how many processes, at least
	pid         int // of the latest
	key         repeated
}

// Groups groups events, and keeps the groups in the order in which they began. It bounds what it keeps: what does not fit is
// counted.
type Groups struct {
	all    map[repeated]*Group
	order  []*Group
	size   int // of the first events of all groups, in bytes of records
	Beyond int // events that fit no group, as there are too many
}

// mostGroups bounds the groups, and mostGroupsSize their bytes. A workload that tries a thousand paths a second would fill the
// memory, and sooner with long ones.
const (
	mostGroups     = 20000
	mostGroupsSize = 16 << 20
)

// Full reports whether there are too many groups for another one.
func (g *Groups) Full() bool { return len(g.all) >= mostGroups || g.size >= mostGroupsSize }

// Forget takes groups out. An event like those of one begins a new group.
func (g *Groups) Forget(which func(*Group) bool) {
	g.order = slices.DeleteFunc(g.order, func(one *Group) bool {
		forgotten := which(one)
		if forgotten {
			delete(g.all, one.key)
			g.size -= len(one.content)
		}
		return forgotten
	})
}

// Add adds an event, and returns its group. It returns nil if there are too many groups.
func (g *Groups) Add(e *Event) *Group {
	key := repeated{e.content, e.of()}
	one, ok := g.all[key]
	if !ok {
		if g.Full() {
			g.Beyond++
			return nil
		}
		if g.all == nil {
			g.all = make(map[repeated]*Group)
		}
		one = &Group{Event: e, First: e.Time, Last: e.Time, key: key}
		g.size += len(e.content)
		g.all[key] = one
		g.order = append(g.order, one)
	}
	one.Count++
	if one.pid != e.PID {
		one.pid = e.PID
		one.PIDs++
	}
	if e.Time.Before(one.First) {
		one.First = e.Time
	}
	if e.Time.After(one.Last) {
		one.Last = e.Time
	}
	return one
}

// All returns the groups in the order in which they began.
func (g *Groups) All() []*Group { return g.order }

// repeated is what the events of a group have in common.
type repeated struct{ content, where string }

// of returns what tells events apart by their containers.
func (e *Event) of() string {
	switch {
	case e.Container != nil:
		return e.Container.key()
	case e.OnNode:
		return "node"
	}
	return e.Joined.where
}

// Summary counts what happened to one container, or to several of which one was meant.
type Summary struct {
	Of     string     // its title, or those of several, fit for a line
	One    *Container // nil if it is several or none
	Policy string
	Counts map[Kind]int
	First  time.Time
	Last   time.Time
	Most   []Tally // what was tried, the most frequent first

	tallies map[attempt]int // where each stands in Most
}

// Tally is how often something was tried.
type Tally struct {
	What string // fit for a line
	Kind Kind
	N    int
}

// Summarise counts groups for each container and for each policy, those with the most denials first.
func Summarise(groups []*Group) (containers, policies []Summary) {
	byContainer, byPolicy := make(map[string]*Summary), make(map[string]*Summary)
	add := func(in map[string]*Summary, key string, fresh Summary, g *Group) {
		s := in[key]
		if s == nil {
			s = &fresh
			s.Counts, s.First, s.Last, s.tallies = make(map[Kind]int), g.First, g.Last, make(map[attempt]int)
			in[key] = s
		}
		s.Counts[g.Kind] += g.Count
		if g.First.Before(s.First) {
			s.First = g.First
		}
		if g.Last.After(s.Last) {
			s.Last = g.Last
		}
		s.tally(g)
	}
	for _, g := range groups {
		policy := g.Policy()
		of, key := g.Whose(), g.Whose()
		if g.Container != nil {
			key = g.Container.key()
		}
		add(byContainer, key, Summary{Of: of, One: g.Container, Policy: policy}, g)
		if policy != "" {
			add(byPolicy, policy, Summary{Of: oneline.Word(policy), Policy: policy}, g)
		}
	}
	return sorted(byContainer), sorted(byPolicy)
}

func (s *Summary) tally(g *Group) {
	one := attempt{g.what(), g.Kind}
	i, ok := s.tallies[one]
	if !ok {
		i = len(s.Most)
		s.tallies[one] = i
		s.Most = append(s.Most, Tally{What: one.what, Kind: one.kind})
	}
	s.Most[i].N += g.Count
}

// attempt is what tells tallies apart.
type attempt struct {
	what string
	kind Kind
}

// what returns what was tried, in the language of accesses if it can be said in it.
func (e *Event) what() string {
	switch all := e.Accesses(); {
	case e.Notice != nil:
		return e.Sentence()
	case len(all) == 0:
		return e.Tried()
	default:
		return all[0]
	}
}

// Denials returns how many denials a summary has, with what complain mode let pass.
func (s *Summary) Denials() int { return s.Counts[Denied] + s.Counts[Killed] + s.Counts[Complain] }

func sorted(in map[string]*Summary) (all []Summary) {
	for _, s := range in {
		slices.SortStableFunc(s.Most, func(a, b Tally) int { return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.What, b.What)) })
		all = append(all, *s)
	}
	slices.SortFunc(all, func(a, b Summary) int {
		return cmp.Or(cmp.Compare(b.Denials(), a.Denials()), cmp.Compare(a.Of, b.Of), a.First.Compare(b.First))
	})
	return all
}

// Policy returns the policy of the event's container, also if the container may be one of several that all have it.
func (e *Event) Policy() string {
	switch {
	case e.Container != nil:
		return e.Container.Policy
	case len(e.Candidates) == 0 || e.Others:
		return ""
	}
	policy := e.Candidates[0].Policy
	if slices.ContainsFunc(e.Candidates, func(c *Container) bool { return c.Policy != policy }) {
		return ""
	}
	return policy
}

// Whose returns which container an event is of, fit for a line: its title, "a or another", "one of a, b",
// "the node" or "-".
func (e *Event) Whose() string {
	switch {
	case e.By == ByPID:
		return e.Container.Title() + " or another"
	case e.Container != nil:
		return e.Container.Title()
	case e.OnNode:
		return "the node"
	case len(e.Candidates) == 0:
		return "-"
	}
	titles := make([]string, 0, len(e.Candidates))
	for _, c := range e.Candidates {
		if title := c.Title(); !slices.Contains(titles, title) {
			titles = append(titles, title)
		}
	}
	s := strings.Join(titles, ", ")
	if e.Others {
		s += " or another"
	}
	if len(titles) == 1 && !e.Others {
		return s + ", one of " + itoa(len(e.Candidates))
	}
	return "one of " + s
}
