package combine_test

import (
	"strings"
	"testing"
)

// The environment of a program is scrubbed by what is merged if all that let it go on scrub it, and by what is intersected if one
// does.
func TestEnvironments(t *testing.T) {
	t.Parallel()
	merge, intersect := merging(t), intersecting(t)
	for _, test := range []struct{ name, a, b, merged, intersected string }{
		{"changes", "change_profile safe /b/x -> q,", "change_profile unsafe /b/x -> q,",
			"change_profile unsafe /b/x -> q,", "change_profile safe /b/x -> q,"},
		{"changes, one without a word", "change_profile /b/x -> q,", "change_profile unsafe /b/x -> q,",
			"change_profile unsafe /b/x -> q,", "change_profile /b/x -> q,"},
		{"changes, of one program", "change_profile safe /b/* -> q,", "change_profile unsafe /b/x -> q,",
			"change_profile safe /b/* -> q,\nchange_profile unsafe /b/x -> q,", "change_profile safe /b/x -> q,"},
		{"changes, of many programs", "change_profile unsafe /b/* -> q,", "change_profile safe /b/x -> q,",
			"change_profile unsafe /b/* -> q,", "change_profile safe /b/x -> q,"},
		{"changes, of many labels", "change_profile safe /b/* -> {q,r},", "change_profile unsafe /b/x -> q,",
			"change_profile safe /b/* -> {q,r},\nchange_profile unsafe /b/x -> q,", "change_profile safe /b/x -> q,"},
		{"changes, of all programs", "change_profile -> q,", "change_profile unsafe /b/x -> q,",
			"change_profile -> q,\nchange_profile unsafe /b/x -> q,", "change_profile /b/x -> q,"},
		{"changes, that overlap", "change_profile unsafe /b/a* -> q,", "change_profile safe /b/*b -> q,",
			"!", "change_profile safe /b/a*b -> q,"},
		{"changes, to labels of which one is the same", "change_profile unsafe /b/x -> q,", "change_profile safe /b/x -> {q,r},",
			"!", "change_profile safe /b/x -> q,"},
		{"execs", "/bin/* Ux,", "/bin/x ux,", "/bin/* Ux,\n/bin/x ux,", "/bin/x Ux,"},
		{"execs of many", "/bin/* ux,", "/bin/x Ux,", "/bin/* ux,", "/bin/x Ux,"},
		{"children", "/bin/* Cx -> kid,\nprofile kid {\n/x r,\n}", "/bin/x cx -> kid,\nprofile kid {\n/x r,\n}",
			"/bin/* Cx -> kid,\n/bin/x cx -> kid,\n\nprofile kid {\n/x r,\n}", "/bin/x Cx -> kid,\n\nprofile kid {\n/x r,\n}"},
		{"execs that overlap", "/bin/*b px,", "/bin/a* Px,", "!", "/bin/a*b Px,"},
		{"an exec that another rule has otherwise", "/bin/* px,\n/bin/x Px,", "/bin/x Px,", "/bin/* px,\n/bin/x Px,", "/bin/x Px,"},
		{"an exec that one has otherwise", "/bin/* px,\n/bin/x Px,", "/bin/* px,", "/bin/* px,", "/bin/* px,\n/bin/x Px,"},
		{"an exec that both scrub", "/bin/* px,\n/bin/x Px,", "/bin/* Px,", "/bin/* px,\n/bin/x Px,", "/bin/* Px,"},
		{"an exec among few", "/bin/* px,\n/bin/x Px,", "/bin/[x-z] px,", "/bin/* px,", "/bin/[x-z] px,\n/bin/x Px,"},
		{"a change that another rule has otherwise", "change_profile unsafe /b/* -> *,\nchange_profile safe /b/x -> q,",
			"change_profile unsafe /b/x -> r,", "change_profile unsafe /b/* -> *,\nchange_profile safe /b/x -> q,", "change_profile unsafe /b/x -> r,"},
		{"a change that both scrub", "change_profile unsafe /b/* -> *,\nchange_profile safe /b/x -> q,", "change_profile safe /b/* -> *,",
			"change_profile unsafe /b/* -> *,\nchange_profile safe /b/x -> q,", "change_profile safe /b/* -> *,"},
		{"execs that go on in another way than is wanted", "/bin/* px,\n/bin/{x,y} Px,", "/bin/? Px,",
			`! rules that say just this were not found: those that were have "/bin/x" go on under the profile that attaches to it, and of it `,
			"/bin/? Px,"},
		{"an exec that one denies", "/bin/* px,\ndeny /bin/a* x,", "/bin/ab Px,",
			"/bin/* px,\n/bin/ab Px,\ndeny /bin/a{,[^/b]*,b?*} x,", "/bin/ab Px,\ndeny /bin/a* x,"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a, b := source("a", test.a), source("b", test.b)
			for _, order := range []string{"in order", "turned round"} {
				if got := said(t, merge, a, b); sorted(got) != sorted(test.merged) && !(strings.HasPrefix(test.merged, "!") && strings.HasPrefix(got, test.merged)) {
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

// Rules that contradict each other are named with their files and lines.
func TestContradictions(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ a, b, says string }{
		{"change_profile unsafe /b/a* -> q,", "/y r,\nchange_profile safe /b/*b -> q,",
			`a:3: "change_profile unsafe /b/a* -> q" and b:4: "change_profile safe /b/*b -> q"`},
		{"change_profile unsafe /b/x -> q,", "change_profile safe /b/x -> {q,r},",
			`a:3: "change_profile unsafe /b/x -> q" and b:3: "change_profile safe /b/x -> {q,r}"`},
		{"/bin/*b px,", "/y r,\n/bin/a* Px,", `a:3: "/bin/*b px" and b:4: "/bin/a* Px"`},
	} {
		if got := said(t, merging(t), source("a", test.a), source("b", test.b)); !strings.HasPrefix(got, "! ") || !strings.Contains(got, test.says) {
			t.Errorf("%s and %s: %s, want %s", test.a, test.b, got, test.says)
		}
	}
}
