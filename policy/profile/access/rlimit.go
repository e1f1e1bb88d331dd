package access

import (
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A limits is hard limits of a resource that a line is about.
type limits struct {
	resource    int
	least, most uint64
}

// rlimit reads "[set] rlimit [RESOURCE [<= NUMBER|= NUMBER]]": to set the hard limit to at most a number, or to that.
// Numbers are the kernel's; with a unit they are as rules have them.
func (p *parser) rlimit() error {
	p.skip("set")
	if !p.skip("rlimit") {
		return fmt.Errorf("set is followed by no rlimit")
	}
	if !p.more() {
		for n := range 16 {
			p.limits = append(p.limits, limits{n, 0, ^uint64(0)})
		}
		return nil
	}
	w := p.words[p.at]
	equal := false
	name := w.text
	if w.key != "" { // RESOURCE=NUMBER
		equal, name = true, w.key
	}
	n, ok := kernelname.Resources.Number(name)
	if !ok || n > 15 || w.quoted || w.listed {
		return fmt.Errorf("%s is no resource: here can stand %s", shown(w), listed(kernelname.Resources.Words()))
	}
	l := limits{int(n), 0, ^uint64(0)}
	if !equal {
		p.at++
		equal = p.skip("=")
		if !equal && !p.skip("<=") {
			p.limits = append(p.limits, l)
			return p.end(`"<=" or "=" and a number`)
		}
		if !p.more() {
			return fmt.Errorf("a number is missing at the end")
		}
		w = p.words[p.at]
	}
	p.at++
	most, err := p.limit(l.resource, w)
	if err != nil {
		return err
	}
	if l.most = most; equal {
		l.least = most
	}
	p.limits = append(p.limits, l)
	return p.end("")
}

// Resources by their numbers that units, or what rules have, are about.
const (
	resourceCPU    = 0
	resourceNice   = 13
	resourceRTTime = 15
)

// sizes are units of resources that are counted in bytes.
var (
	sizes = map[string]uint64{"K": 1 << 10, "KB": 1 << 10, "M": 1 << 20, "MB": 1 << 20, "G": 1 << 30, "GB": 1 << 30}
	sized = []int{1, 2, 3, 4, 5, 8, 9, 12} // fsize, data, stack, core, rss, memlock, as, msgqueue
)

// times are units of time in microseconds.
var times = map[string]uint64{
	"us": 1, "microsecond": 1, "microseconds": 1,
	"ms": 1e3, "millisecond": 1e3, "milliseconds": 1e3,
	"s": 1e6, "sec": 1e6, "second": 1e6, "seconds": 1e6,
	"min": 60e6, "minute": 60e6, "minutes": 60e6,
	"h": 3600e6, "hour": 3600e6, "hours": 3600e6,
	"d": 86400e6, "day": 86400e6, "days": 86400e6,
	"week": 7 * 86400e6, "weeks": 7 * 86400e6,
}

// limit reads a hard limit of a resource, of which the next word may be the unit.
func (p *parser) limit(resource int, w word) (uint64, error) {
	if w.text == "infinity" {
		return ^uint64(0), nil
	}
	end := strings.IndexFunc(w.text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(w.text)
	}
	unit := w.text[end:]
	if unit == "" && p.more() && p.words[p.at].is(p.words[p.at].text) {
		unit = p.words[p.at].text
		p.at++
	}
	if resource == resourceNice {
		if nice, err := strconv.Atoi(w.text); err == nil && nice < 0 && nice >= -20 {
			return 0, fmt.Errorf("%s is not what the kernel has: it counts from 0, for the %[1]s of a rule write %d", shown(w), nice+20)
		}
	}
	n, err := strconv.ParseUint(w.text[:end], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is no number: here can stand one, or infinity", shown(w))
	}
	if unit == "" {
		return n, nil
	}
	many, per := unitOf(resource, unit)
	high, low := bits.Mul64(n, many)
	switch {
	case many == 0:
		return 0, fmt.Errorf("%s is no number of %s: %q is no unit of it", shown(w), kernelname.Resources.Word(uint16(resource)), unit)
	case high != 0 || low%per != 0:
		return 0, fmt.Errorf("%s with its unit is no limit that the kernel has", shown(w))
	}
	return low / per, nil
}

// unitOf returns for how many of what a resource is counted in a unit stands: many/per; many is 0 if it has no such unit.
func unitOf(resource int, unit string) (many, per uint64) {
	switch {
	case slices.Contains(sized, resource):
		return sizes[unit], 1
	case resource == resourceCPU: // in seconds
		return times[unit], times["s"]
	case resource == resourceRTTime:
		return times[unit], 1
	}
	return 0, 1
}

// ask returns the accesses by which a stack decides about all: what is allowed ends at a limit of a part.
func (l limits) ask(s meaning.Stack) (like []meaning.Access) {
	hard := []uint64{l.least, l.most}
	for _, p := range s {
		if limit, set := p.Rlimits[l.resource]; set {
			hard = append(hard, limit, limit+1) // past the greatest number is 0
		}
	}
	slices.Sort(hard)
	for _, n := range slices.Compact(hard) {
		if l.least <= n && n <= l.most {
			like = append(like, meaning.RlimitAccess{Resource: l.resource, Hard: n})
		}
	}
	return like
}

func formatRlimit(a meaning.RlimitAccess) string {
	hard := strconv.FormatUint(a.Hard, 10)
	if a.Hard == ^uint64(0) {
		hard = "infinity"
	}
	return strings.Join([]string{"rlimit", kernelname.Resources.Word(uint16(a.Resource)), "=", hard}, " ")
}
