package audit

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/install/status"
)

// Basis is how it is known which container a record is of.
type Basis string

const (
	ByProcess Basis = "process" // its process is in the container, or was one of those that its engine started there
	ByProfile Basis = "profile" // its process has ended, and only the container had the record's profile at that time
	NotKnown  Basis = ""        // it is of one of several containers, or of none

	// Its engine started a process of that pid in the container, and nobody saw when that one ended: before the container
	// did, a process of another one that had the profile may have got the pid. These are the other candidates.
	ByPID Basis = "pid"
)

// Joined is the result for a record.
type Joined struct {
	By         Basis
	Container  *Container   // nil if it is not known, or if it is none
	Candidates []*Container // if it is of one of several: those; with ByPID also the container
	OnNode     bool         // its process is in no container
	Others     bool         // it may also be of a container that has ended and of which nothing is left

	where string // the keys of the candidates
}

// Subject is what a record says of its process.
type Subject struct {
	Time    time.Time
	PID     int    // 0 if it says none
	Profile string // empty if it is not a profile of the node's own namespace
	Other   bool   // PID is of the process that does something to the one under Profile
}

// Joiner finds the containers of records. It looks at a process when it is asked about it, and at all containers when a
// record may be of one that came since the last look.
type Joiner struct {
	Node  *status.Node
	Begun Begun         // nil if nobody notes processes
	Least time.Duration // between two looks at all containers; 0 stands for a second

	past   bool // the records are of what has been: a process that a look does not find had ended before it
	mu     sync.Mutex
	census *status.Census
	looked time.Time
	known  map[string]*Container // all that were seen
	since  time.Time             // see hook.Host.Ended
	kept   map[int]kept
	found  map[question]found // since the last look
	unread []string
}

// Begun is what knows the control groups of processes that have begun, also of those that have ended: a procevents.Watch.
type Begun interface {
	Group(pid int, at time.Time) (path string, ok bool)
}

// question is what the containers of a record depend on, beside its time.
type question struct {
	pid     int // -1 for all
	profile string
	other   bool
	group   string
}

// found is the answer to a question for all times in a span.
type found struct {
	Joined
	span
}

// mostFound bounds the answers that are kept.
const mostFound = 1 << 15

// span is the time from a moment to before another one.
type span struct{ from, to time.Time }

func (s span) has(t time.Time) bool { return !t.Before(s.from) && t.Before(s.to) }

// cut makes the span end at a moment on that side of t on which the moment is.
func (s *span) cut(t, moment time.Time) {
	switch {
	case moment.After(t) && moment.Before(s.to):
		s.to = moment
	case !moment.After(t) && moment.After(s.from):
		s.from = moment
	}
}

// ever is a span of all times of records.
func ever() span { return span{to: time.Unix(1<<40, 0)} }

// kept is where a process was at a moment.
type kept struct {
	at        status.Place
	container *Container
	start     time.Time
	looked    time.Time
}

// fresh is how long the place of a process is believed. A pid is taken again only after all others were.
const fresh = time.Second

// Sight is what a look at a record's process showed.
type Sight struct {
	at        status.Place
	container *Container
	group     string // of a process that has ended: its control group, if that is known
	again     bool   // Join has to look again, after another look at all containers
	elsewhere bool   // there was nothing to look at: the record is of another node, or nobody vouches for it
}

// Look looks at a record's process while it may still be there. Join takes what Look returns.
func (j *Joiner) Look(s Subject) Sight {
	if s.PID <= 0 {
		return Sight{}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.past && j.census != nil && !j.census.There(s.PID) && s.Time.Before(j.looked) {
		return j.gone(s)
	}
	now := time.Now()
	if j.census == nil && now.Sub(j.looked) > j.least() {
		j.look()
	}
	k, ok := j.kept[s.PID]
	if !ok || now.Sub(k.looked) > fresh {
		if len(j.kept) > 4096 {
			clear(j.kept)
		}
		k = kept{looked: now}
		if j.census != nil {
			k = j.where(s.PID, now)
		}
		j.kept[s.PID] = k
	}
	if k.at == status.Gone || k.start.After(s.Time.Add(clocks)) { // it has ended, and another one has its pid
		return j.gone(s)
	}
	if k.at == status.Outside && !j.looked.After(s.Time) {
		return Sight{again: true} // its container may have come after the last look
	}
	return Sight{at: k.at, container: k.container}
}

// gone is what is seen of a process that has ended.
func (j *Joiner) gone(s Subject) (seen Sight) {
	if j.Begun != nil && !s.Other {
		seen.group, _ = j.Begun.Group(s.PID, s.Time)
	}
	return seen
}

// clocks is how much later than a record a process may seem to have started that wrote it: its start is known to a hundredth
// of a second, and the kernel's clocks differ a little.
const clocks = 50 * time.Millisecond

func (j *Joiner) where(pid int, now time.Time) kept {
	at, c, start := j.census.Where(pid)
	k := kept{at: at, start: start, looked: now}
	if c != nil {
		k.container = j.add(of(c))
	}
	return k
}

// look looks at all containers.
func (j *Joiner) look() {
	if j.known == nil {
		j.known, j.kept = make(map[string]*Container), make(map[int]kept)
	}
	now := time.Now()
	j.found = make(map[question]found)
	clear(j.kept)
	census, err := j.Node.Census()
	j.looked = now
	if err != nil {
		j.note(err.Error())
		return
	}
	for _, problem := range census.Unread {
		j.note(problem)
	}
	j.census = census
	groups := make(map[*status.Container]string, len(census.Containers))
	for group, c := range census.Groups() {
		groups[c] = group
	}
	there := make(map[string]bool, len(census.Containers))
	for i := range census.Containers {
		c := of(&census.Containers[i])
		c.group = groups[&census.Containers[i]]
		if c.From.IsZero() {
			if start, ok := j.Node.Started(census.Containers[i].PID); ok {
				c.From = start.Round(time.Second) // the clock's steps would make another container of it
			}
		}
		there[j.add(c).key()] = true
	}
	ended, since, err := j.Node.Host.Ended()
	if err != nil {
		j.note(err.Error())
	}
	j.since = since
	for _, e := range ended {
		c := j.add(ofEnded(e))
		there[c.key()] = true
	}
	for key, c := range j.known { // one that no program of ours started leaves nothing when it ends
		switch {
		case !there[key] && c.To.IsZero():
			c.To, c.Ended = now, true
		case !there[key] && now.Sub(c.To) > longestGone:
			delete(j.known, key)
		case there[key] && !c.decided:
			c.To, c.Ended = time.Time{}, false
		}
	}
}

// longestGone is how long a container is kept of which nothing else is left.
const longestGone = time.Hour

// add adds a container, or what is new of one.
func (j *Joiner) add(c *Container) *Container {
	old, ok := j.known[c.key()]
	if !ok {
		c.ident = c.key()
		j.known[c.ident] = c
		return c
	}
	profiles := append(slices.Clone(old.profiles), c.profiles...)
	slices.Sort(profiles)
	old.profiles, old.any = slices.Compact(profiles), c.any && old.any
	if c.Ended {
		old.To, old.Ended, old.ran = c.To, true, c.ran
	}
	old.Name, old.group = cmp.Or(c.Name, old.Name), cmp.Or(c.group, old.group)
	return old
}

func (j *Joiner) note(problem string) {
	if !slices.Contains(j.unread, problem) {
		j.unread = append(j.unread, problem)
	}
}

// Unread returns sentences about containers that could not be read.
func (j *Joiner) Unread() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.Clone(j.unread)
}

func (j *Joiner) least() time.Duration {
	if j.Least == 0 {
		return time.Second
	}
	return j.Least
}

// Join finds the container of a record, by what a look at its process showed. If it takes a look at all containers, it waits
// until the last one is as old as Least says.
func (j *Joiner) Join(s Subject, seen Sight) Joined {
	j.mu.Lock()
	defer j.mu.Unlock()
	if seen.again {
		seen = j.lookAgain(s)
	}
	switch {
	case seen.at == status.Inside && !s.Other:
		return Joined{By: ByProcess, Container: seen.container}
	case seen.at == status.Outside && !s.Other:
		return Joined{OnNode: true}
	}
	j.lookAfter(s.Time)
	q := question{-1, s.Profile, s.Other, seen.group}
	if known, ok := j.found[q]; ok && known.has(s.Time) {
		return known.Joined
	}
	q.pid = s.PID
	if known, ok := j.found[q]; ok && known.has(s.Time) {
		return known.Joined
	}
	answer, valid, ofAll := j.find(s, seen.group)
	if ofAll {
		q.pid = -1
	}
	if len(j.found) >= mostFound {
		clear(j.found)
	}
	j.found[q] = found{answer, valid}
	return answer
}

// lookAgain is Look after a look at all containers that is younger than the record.
func (j *Joiner) lookAgain(s Subject) Sight {
	j.lookAfter(s.Time)
	if j.census == nil {
		return Sight{}
	}
	k := j.where(s.PID, time.Now())
	if k.at == status.Gone || k.start.After(s.Time.Add(clocks)) {
		return j.gone(s)
	}
	return Sight{at: k.at, container: k.container}
}

// find is Join for a process that is not there, and also returns at which times the answer is the same, and whether that is so for all
// processes. group is the process's control group, if that is known.
func (j *Joiner) find(s Subject, group string) (answer Joined, valid span, ofAll bool) {
	by, in, valid := j.candidates(s)
	ofAll = s.Other || !slices.ContainsFunc(by, func(c *Container) bool { return len(c.ran) > 0 })
	valid.cut(s.Time, j.since)
	if group != "" {
		outside := func(c *Container) bool { return !c.in(group) }
		if in := slices.DeleteFunc(slices.Clone(by), outside); len(in) == 1 {
			return Joined{By: ByProcess, Container: in[0]}, valid, ofAll
		}
	}
	return j.judged(s, by, in), valid, ofAll
}

// judged returns which of the candidates it is, if that is known. in are those in which the record's process may have been started.
func (j *Joiner) judged(s Subject, by []*Container, in started) Joined {
	others, certain := s.Time.Before(j.since), len(in.seen) > 0
	if certain {
		by = in.seen
	}
	for _, c := range by {
		others = others || !c.decided // others like it may have been there, and leave no record
	}
	switch {
	case len(by) == 0:
		return Joined{Others: true}
	case len(by) == 1 && certain:
		return Joined{By: ByProcess, Container: by[0]}
	case len(by) == 1 && !others && !by[0].any:
		return Joined{By: ByProfile, Container: by[0]}
	}
	var where strings.Builder
	for _, c := range by {
		where.WriteString(c.key())
		where.WriteByte(0)
	}
	joined := Joined{Candidates: by, Others: others && !certain, where: where.String()}
	if !certain && len(in.unseen) == 1 {
		joined.By, joined.Container = ByPID, in.unseen[0]
	}
	return joined
}

// lookAfter takes a look at all containers if the last one was before a record: a container that came after it may be the
// one. It waits until the last look is as old as Least says. A time that is still to come is no kernel's.
func (j *Joiner) lookAfter(t time.Time) {
	if j.looked.After(t) {
		return
	}
	now := time.Now()
	if t.After(now.Add(clocks)) {
		return
	}
	if wait := j.least() - now.Sub(j.looked); wait > 0 && j.census != nil {
		j.mu.Unlock()
		time.Sleep(wait)
		j.mu.Lock()
	}
	j.look()
}

// started are containers in which their engines started a process of a pid.
type started struct {
	seen   []*Container // that was there at that time
	unseen []*Container // that may have been: nobody saw when it ended
}

// candidates returns the containers that a record may be of, which are those of its profile, and in which of these its
// process may have been started by the engine. They are the same at all times that are valid.
func (j *Joiner) candidates(s Subject) (by []*Container, in started, valid span) {
	valid = ever()
	if s.Profile == "" {
		return nil, in, valid
	}
	for _, c := range j.known {
		if !c.under(s.Profile) {
			continue
		}
		lived := c.lived()
		valid.cut(s.Time, lived.from)
		valid.cut(s.Time, lived.to)
		if !lived.has(s.Time) {
			continue
		}
		by = append(by, c)
		for _, p := range c.ran {
			if p.PID != s.PID || s.Other {
				continue
			}
			where := &in.seen
			if p.To.IsZero() {
				where, p.To = &in.unseen, c.To
			}
			there := there(p)
			valid.cut(s.Time, there.from)
			valid.cut(s.Time, there.to)
			if there.has(s.Time) && !slices.Contains(*where, c) {
				*where = append(*where, c)
			}
		}
	}
	slices.SortFunc(by, byTitle)
	slices.SortFunc(in.seen, byTitle)
	return by, in, valid
}

// there returns when a process may have been there.
func there(p hook.Ran) span { return span{p.From.Add(-clocks), p.To.Add(clocks)} }
