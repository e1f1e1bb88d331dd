package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// Level is the result of a check for monitoring. Its number is the exit code of a plugin of Nagios.
type Level int

const (
	LevelOK Level = iota
	LevelWarning
	LevelCritical
	LevelUnknown
)

// String returns the word with which the line of a check begins.
func (l Level) String() string {
	return []string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[l]
}

// Summary returns the number of containers, and how many have each verdict: "3 containers: 2 confined, 1 stale".
func Summary(all []Container) string {
	numbers := make(map[Verdict]int)
	for i := range all {
		numbers[all[i].Verdict]++
	}
	var parts []string
	for _, v := range Verdicts {
		if numbers[v] > 0 {
			parts = append(parts, fmt.Sprint(numbers[v], " ", v))
		}
	}
	switch len(all) {
	case 0:
		return "0 containers"
	case 1:
		return "1 container: " + parts[0]
	}
	return fmt.Sprintf("%d containers: %s", len(all), strings.Join(parts, ", "))
}

// maxChecked is how many containers the line of a check names.
const maxChecked = 8

// Check reports whether every container is as decided. Its line names the containers that are not, the worst first. A
// container that a policy leaves as its engine chose, or lets only complain, is as decided. A container without a decision
// is so, too, unless nothing confines it. That a policy is recorded is worth a warning.
func (s *Status) Check() (Level, string) {
	worst := LevelOK
	var some []*Container
	if len(s.Recorded) > 0 {
		worst = LevelWarning
	}
	if len(s.Problems) > 0 {
		worst = LevelUnknown
	}
	for i := range s.Containers {
		c := &s.Containers[i]
		if l := c.level(); l != LevelOK {
			some = append(some, c)
			if rank(l) > rank(worst) {
				worst = l
			}
		}
	}
	slices.SortStableFunc(some, func(a, b *Container) int { return cmp.Compare(rank(b.level()), rank(a.level())) })
	line := Summary(s.Containers)
	var named []string
	for _, c := range some[:min(len(some), maxChecked)] {
		named = append(named, fmt.Sprintf("%s: %s", oneline.Whole(c.title()), c.Verdict))
	}
	if more := len(some) - len(named); more > 0 {
		named = append(named, fmt.Sprintf("and %d more", more))
	}
	for _, policy := range s.Recorded {
		named = append(named, Recorded(policy))
	}
	named = append(named, s.Problems...)
	if len(named) > 0 {
		line += "; " + strings.Join(named, ", ")
	}
	return worst, strings.ReplaceAll(line, "|", "/") // monitoring takes the text after a bar for numbers
}

// rank returns the place of a level in the order of urgency.
func rank(l Level) int {
	return slices.Index([]Level{LevelOK, LevelWarning, LevelUnknown, LevelCritical}, l)
}

func (c *Container) level() Level {
	switch c.Verdict {
	case Differs, Drifted, Stale:
		return LevelCritical
	case Unverified:
		return LevelUnknown
	case Unconfined:
		if !c.Decided {
			return LevelWarning
		}
	}
	return LevelOK
}

// title returns the name of a container for a sentence.
func (c *Container) title() string {
	id := c.ID
	if len(id) == 64 {
		id = id[:12] // as engines show them
	}
	name := cmp.Or(c.Name, id)
	if c.Namespace != "" && c.Pod != "" {
		name = c.Namespace + "/" + c.Pod + "/" + name
	}
	return name
}
