// Package compare reports what an engine would read differently after a change of its configuration. It compares what the
// engine's own check prints before and after.
package compare

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Flatten returns each value of tables in tables by the names that lead to it, with dots between. What leave reports to be
// nothing is left out.
func Flatten(table map[string]any, leave func(v any) bool) map[string]string {
	values := map[string]string{}
	var walk func(prefix string, table map[string]any)
	walk = func(prefix string, table map[string]any) {
		for key, v := range table {
			if sub, ok := v.(map[string]any); ok {
				walk(prefix+key+".", sub)
			} else if !leave(v) {
				values[prefix+key] = fmt.Sprint(v)
			}
		}
	}
	walk("", table)
	return values
}

// IsZero reports whether a value is what a key has that is not written.
func IsZero(v any) bool {
	return slices.Contains([]string{"", "0", "false", "[]", "map[]"}, fmt.Sprint(v))
}

// Same returns an error that names all that differs, but for the keys that may.
func Same(was, now map[string]string, but ...string) error {
	var differ []string
	for _, key := range slices.Sorted(maps.Keys(now)) {
		if was[key] != now[key] && !slices.Contains(but, key) {
			differ = append(differ, fmt.Sprintf("%s would be %s, and not %q", key, now[key], was[key]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(was)) {
		if _, ok := now[key]; !ok && !slices.Contains(but, key) {
			differ = append(differ, fmt.Sprintf("%s = %s would be lost", key, was[key]))
		}
	}
	if len(differ) > 0 {
		return errors.New(strings.Join(differ, "; "))
	}
	return nil
}
