package policyfile

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
)

// The shortest and the longest quiet time. Whoever watches looks once a second at most, and proves each time that nothing
// was missed: in a shorter time than ShortestQuiet it does so only a few times.
const (
	ShortestQuiet = 10 * time.Second
	LongestQuiet  = 366 * 24 * time.Hour
)

// quietForm is how a quiet time is written, as in schema.json.
var quietForm = regexp.MustCompile(`^(?:([0-9]{1,9})d)?(?:([0-9]{1,9})h)?(?:([0-9]{1,9})m)?(?:([0-9]{1,9})s)?$`)

// ParseQuiet reads the value of enforceAfter: numbers with their units d, h, m and s, the largest unit first. A day has 24
// hours. The error says what is wrong with it.
func ParseQuiet(s string) (time.Duration, error) {
	parts := quietForm.FindStringSubmatch(s)
	if s == "" || parts == nil {
		return 0, errors.New("must be a time as 24h, 90m or 1d12h: whole numbers with the units d, h, m and s, the largest first")
	}
	var sum time.Duration
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		n, _ := strconv.Atoi("0" + parts[i+1]) // nine digits at most
		if time.Duration(n) > LongestQuiet/unit {
			return 0, fmt.Errorf("must be %s at most", quiet.Length(LongestQuiet))
		}
		sum += time.Duration(n) * unit
	}
	switch {
	case sum < ShortestQuiet:
		return 0, fmt.Errorf("must be %s at least: in less time nothing is shown", quiet.Length(ShortestQuiet))
	case sum > LongestQuiet:
		return 0, fmt.Errorf("must be %s at most", quiet.Length(LongestQuiet))
	}
	return sum, nil
}

// FormatQuiet returns a time as ParseQuiet reads it; never for 0.
func FormatQuiet(d time.Duration) string {
	if d == 0 {
		return "never"
	}
	return quiet.Length(d)
}

// quietTime reads the value of enforceAfter.
func (p *parser) quietTime(n *yaml.Node) time.Duration {
	if n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float") {
		p.fault(n, "enforceAfter must be a time with its unit, is %s: write 24h, 90m or 1d12h", is(n))
		return 0
	}
	at, ok := p.text(n, "a time as 24h, 90m or 1d12h")
	if !ok {
		return 0
	}
	d, err := ParseQuiet(at.value)
	if err != nil {
		p.fault(n, "enforceAfter %.64q %v", at.value, err)
	}
	return d
}

// after says when a profile is enforced, for a sentence.
func after(d time.Duration) string {
	if d == 0 {
		return "never"
	}
	return "after " + quiet.Length(d)
}
