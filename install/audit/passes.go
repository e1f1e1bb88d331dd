package audit

import "slices"

// passes reports whether an event is of a container that is asked for, or may be. It counts those of which that is not known.
func (r *reading) passes(ev *Event) bool {
	q := &r.query
	if !q.names() && q.Policy == "" {
		return true
	}
	may := slices.Clip(ev.Candidates)
	if ev.Container != nil {
		may = append(may, ev.Container)
	}
	passes := slices.ContainsFunc(may, q.of)
	if !passes && r.unplaced(ev) {
		r.result.Unplaced++
	}
	return passes
}

// unplaced reports whether an event may be of a container that is asked for, although none of those is known to be its.
func (r *reading) unplaced(ev *Event) bool {
	switch {
	case ev.Container != nil || ev.OnNode || ev.Notice != nil || ev.Kind == Changed:
		return false
	case ev.Others:
		return r.joiner.may(ev.subject().Profile, r.query.of)
	}
	return len(ev.Candidates) == 0 // nobody looked for its container
}

// names reports whether containers are asked for by their names.
func (q *Query) names() bool { return q.Container != "" || q.Pod != "" }

// of reports whether a container is one that is asked for.
func (q *Query) of(c *Container) bool {
	return (q.Container == "" || c.Is(q.Container) || !q.Whole && c.Begins(q.Container)) && (q.Pod == "" || c.InPod(q.Pod)) && (q.Policy == "" || c.Policy == q.Policy)
}

// knows reports whether a container is known that is asked for.
func (j *Joiner) knows(asked func(*Container) bool) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.known == nil {
		j.look()
	}
	for _, c := range j.known {
		if asked(c) {
			return true
		}
	}
	return false
}

// Meant returns the ids that begin as the query asks for, of containers that it may be about. whole is whether a container has that as its
// id, its name or its pod, and then these do not count.
func (j *Joiner) Meant(q *Query) (ids []string, whole bool) {
	if j.knows(func(c *Container) bool { return c.Is(q.Container) }) {
		return nil, true
	}
	j.knows(func(c *Container) bool {
		if q.of(c) && !slices.Contains(ids, c.ID) {
			ids = append(ids, c.ID)
		}
		return false
	})
	slices.Sort(ids)
	return ids, false
}

// may reports whether a record of which no container is known may be of one that is asked for. It is of none if those that are
// asked for are known, and no process of theirs can be under its profile.
func (j *Joiner) may(profile string, asked func(*Container) bool) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	known := false
	for _, c := range j.known {
		if !asked(c) {
			continue
		}
		if profile == "" || c.under(profile) {
			return true
		}
		known = true
	}
	return !known
}
