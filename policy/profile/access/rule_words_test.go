package access_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// inRule compiles a profile of one rule.
func inRule(t *testing.T, rule string) *meaning.Profile {
	t.Helper()
	return profiles(t, "abi <abi/3.0>,\nprofile p { "+rule+", }\n")["p"]
}

// A limit of a line is the one that the parser takes a rule with these words for.
func TestLimitsAreThoseOfRules(t *testing.T) {
	for _, words := range []string{
		"as <= 1G", "as <= 7", "data <= 1KB", "core <= 5 MB", "stack <= 3M", "rss <= 2K", "memlock <= 1GB", "msgqueue <= 1K",
		"fsize <= infinity", "cpu <= 2", "cpu <= 2min", "cpu <= 3000ms", "cpu <= 1h", "cpu <= 2 days", "cpu <= 1week", "rttime <= 3",
		"rttime <= 5us", "rttime <= 5ms", "rttime <= 3 sec", "nofile <= 2048", "rtprio <= 3",
	} {
		pattern, err := Parse("rlimit " + strings.Replace(words, "<=", "=", 1))
		if err != nil {
			t.Error(err)
			continue
		}
		limits := inRule(t, "set rlimit "+words).Rlimits
		resources := slices.Collect(maps.Keys(limits))
		if len(resources) != 1 {
			t.Fatalf("%s: %v", words, limits)
		}
		want := meaning.RlimitAccess{Resource: resources[0], Hard: limits[resources[0]]}
		if got, _, err := pattern.Allowed(nil); got != want || err != nil {
			t.Errorf("%s: %+v, and a rule is about %+v: %v", words, got, want, err)
		}
	}
}

func TestLimitsThatNoResourceHas(t *testing.T) {
	for words, says := range map[string]string{
		"nofile <= 1K":                `"1K" is no number of nofile: "K" is no unit of it`,
		"as <= 1min":                  `"1min" is no number of as`,
		"rttime <= 1G":                `"1G" is no number of rttime`,
		"cpu <= 2ms":                  `"2ms" with its unit is no limit that the kernel has`,
		"as <= 9999999999999999999 G": "with its unit is no limit",
		"as <= G":                     `"G" is no number`,
		"nice <= -5":                  `"-5" is not what the kernel has: it counts from 0, for the "-5" of a rule write 15`,
		"as <= 1 K M":                 `"M" is too much`,
	} {
		if _, err := Parse("rlimit " + words); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", words, err, says)
		}
	}
}

// The words that rules have for flags of mounts stand for the same in a line.
func TestFlagsAreThoseOfRules(t *testing.T) {
	for _, word := range []string{"r", "ro", "read-only", "w", "rw", "B", "R", "M", "make-shared", "make-rshared", "make-private",
		"make-rprivate", "make-slave", "make-rslave", "make-unbindable", "make-runbindable"} {
		p := inRule(t, fmt.Sprintf("mount options=(%s)", word))
		pattern, err := Parse(fmt.Sprintf("mount options=(%s)", word))
		if err != nil {
			t.Error(err)
			continue
		}
		if _, found, err := pattern.Allowed(meaning.Stack{p}); !found || err != nil {
			t.Errorf("a rule for mounts with %s allows nothing that a line with it is about: %v", word, err)
		}
		if denied, found, err := pattern.Denied(meaning.Stack{p}); found || err != nil {
			t.Errorf("a rule for mounts with %s does not allow %s: %v", word, Format(denied), err)
		}
	}
}
