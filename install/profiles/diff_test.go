package profiles

import "testing"

// That one text lacks the newline at its end is no difference, and neither are equal texts.
func TestDiffText(t *testing.T) {
	for _, test := range []struct{ a, b, want string }{
		{"x {\n}\n", "x {\n}", ""},
		{"", "\n", ""},
		{"x {\n}\n", "x {\n  file,\n}\n", "--- a\n+++ b\n@@ -1,2 +1,3 @@\n x {\n+  file,\n }\n"},
	} {
		got := diffText(side{is: "a", text: []byte(test.a)}, side{is: "b", text: []byte(test.b)})
		if got != test.want {
			t.Errorf("%q, %q: %q, want %q", test.a, test.b, got, test.want)
		}
	}
}
