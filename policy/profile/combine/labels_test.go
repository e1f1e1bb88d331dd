package combine_test

import (
	"slices"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/combine"
)

// Labels of children and stacks have slashes that follow each other, and so has what rules with a program look up.
func TestChangesToChildrenAndStacks(t *testing.T) {
	t.Parallel()
	merge, intersect := merging(t), intersecting(t)
	for _, test := range []struct{ name, a, b, merged, intersected string }{
		{"a child of one of many", "change_profile -> /u/*//b,", "change_profile -> /u/foo//b,",
			"change_profile -> /u/*//b,", "change_profile -> /u/foo//b,"},
		{"a child for a program", "change_profile /b/* -> a//b,", "change_profile /b/x -> a//b,\nchange_profile /b/x -> c//d,",
			"change_profile /b/* -> a//b,\nchange_profile /b/x -> c//d,", "change_profile /b/x -> a//b,"},
		{"children of several", "change_profile -> /u/foo//a,", "/q r,\nchange_profile -> /u/bar//b,",
			"change_profile -> /u/foo//a,\nchange_profile -> /u/bar//b,\n/q r,",
			"! rules that say just this were not found: those that were would not allow write \"/proc/a/attr/exec\" as its owner"}, // which goes with each of them
		{"a stack for a program", "change_profile /b/x -> a//&b,\nchange_profile /b/* -> a//&b,", "owner /b/* rwk,",
			"change_profile /b/* -> a//&b,\nowner /b/* rwk,", ""},
		{"children that two patterns have", "change_profile -> /u/f*//b,", "change_profile -> /u/*o//b,",
			"change_profile -> /u/f*//b,\nchange_profile -> /u/*o//b,", "change_profile -> /u/f*o//b,"},
		{"a profile with a path", "change_profile -> /usr/bin/*,", "change_profile -> /usr/bin/foo,",
			"change_profile -> /usr/bin/*,", "change_profile -> /usr/bin/foo,"},
		{"on top of the present one", "change_profile /b/* -> &a//b,", "change_profile /b/x -> &a//b,",
			"change_profile /b/* -> &a//b,", "change_profile /b/x -> &a//b,"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := source("a", test.a), source("b", test.b)
			for _, order := range []string{"in order", "turned round"} {
				if got := said(t, merge, a, b); sorted(got) != sorted(test.merged) {
					t.Errorf("merged %s:\n%s\nwant\n%s", order, got, test.merged)
				}
				if got := said(t, intersect, a, b); sorted(got) != sorted(test.intersected) {
					t.Errorf("intersected %s:\n%s\nwant\n%s", order, got, test.intersected)
				}
				a, b = b, a
			}
		})
	}
}

// A label that a variable begins keeps its slashes, and a path does not.
func TestLabelsOfVariables(t *testing.T) {
	t.Parallel()
	a := Source{"a", []byte("@{u}=/u/foo\n@{d}=/srv/\nprofile a {\n  @{d}/x r,\n   change_profile -> @{u}//b,\n}\n")}
	const want = "change_profile -> /u/foo//b,\n/srv/x r,"
	if got := said(t, merging(t), a, a); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

// sorted returns lines in an order that does not depend on that of the rules.
func sorted(lines string) string {
	return strings.Join(slices.Sorted(strings.SplitSeq(lines, "\n")), "\n")
}
