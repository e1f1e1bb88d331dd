package learn

import "testing"

// Where one rule would stand for what a home has itself, or for what it hides, each file is named.
func TestWhatHomesHaveIsNamed(t *testing.T) {
	for what, ok := range map[string]bool{
		"@{HOME}/a":              false,
		"@{HOME}/.ssh/a":         false,
		"@{HOME}/site/a":         true,
		"@{HOME}/site/.git/a":    false,
		"/home/me/a":             false,
		"/home/[0-9]*/a":         false,
		"/home/me/.gnupg/keys/a": false,
		"/home/me/site/a":        true,
		"/home/me/site.d/.a":     true, // a file
		"/srv/home/me/.cache/a":  true,
	} {
		one := &rule{key: key{files, what}, path: what}
		if k, got := one.alike(); got != ok {
			t.Errorf("%s: may be one of many of %s: %v", what, k.dir, got)
		}
	}
}
