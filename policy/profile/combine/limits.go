package combine

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// limits takes the rules about limits of resources out, and returns those that the block is to have: a merged profile
// sets a limit that all set, and the highest of them; what several profiles allow together is bounded by the lowest.
func (m *making) limits(ctx context.Context, parts [][]rule) (lines []string, without [][]rule, err error) {
	type limit struct {
		value uint64
		line  string
	}
	found := make([]map[int]limit, len(parts))
	for i, rules := range parts {
		found[i] = make(map[int]limit)
		var others []rule
		for _, r := range rules {
			if r.kind != "set" {
				others = append(others, r)
				continue
			}
			r.deny, r.audit = false, false
			compiled, err := m.compile(ctx, m.head+"profile limits { "+r.text()+" }\n")
			if err != nil {
				return nil, nil, err
			}
			for resource, value := range compiled[0].Rlimits {
				found[i][resource] = limit{value, r.text()}
			}
		}
		without = append(without, others)
		for resource, value := range m.want.Profiles[i].Rlimits {
			if l, ok := found[i][resource]; !ok || l.value != value {
				return nil, nil, fmt.Errorf("which rule sets limit %d of %s cannot be told", resource, m.want.Profiles[i].Name)
			}
		}
	}
	for resource := range 16 { // RLIM_NLIMITS
		var set []limit
		for _, f := range found {
			if l, ok := f[resource]; ok {
				set = append(set, l)
			}
		}
		if len(set) == 0 || !m.all && len(set) < len(found) {
			continue
		}
		chosen := slices.MaxFunc(set, func(a, b limit) int {
			if (a.value < b.value) == m.all {
				return 1
			}
			return -1
		})
		lines = append(lines, strings.Replace(chosen.line, `"<="`, "<=", 1))
	}
	return lines, without, nil
}
