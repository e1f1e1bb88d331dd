package why

import "testing"

// Texts that differ about a label of a child or a stack alone are not the same.
func TestEqualKnowsLabels(t *testing.T) {
	t.Parallel()
	r, _ := reader(t, nil)
	for _, test := range []struct {
		a, b  string
		equal bool
	}{
		{"change_profile -> /u/{foo,bar}//b,", "change_profile -> /u/foo//b,\n  change_profile -> /u/bar//b,", true},
		{"change_profile -> /u/*//b,", "change_profile -> /u/foo//b,", false},
		{"change_profile /b/x -> a//b,", "change_profile /b/x -> c//d,", false},
		{"change_profile /b/x -> a//&b,", "change_profile /b/x -> a//&c,", false},
	} {
		a, err := r.Read(t.Context(), "a", []byte("profile web {\n  "+test.a+"\n}\n"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := r.Read(t.Context(), "b", []byte("profile web {\n  "+test.b+"\n}\n"))
		if err != nil {
			t.Fatal(err)
		}
		if equal := Equal(a.compiled[0], b.compiled[0]); equal != test.equal {
			t.Errorf("%s and %s: equal %v", test.a, test.b, equal)
		}
	}
}
