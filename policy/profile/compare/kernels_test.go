package compare

import (
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Of what one text is compiled to for two kernels, what the newer one asks about becomes denied, and not with a kernel that does
// not ask.
func TestChangesThatSomeKernelsDoNotMake(t *testing.T) {
	of := func(kernel string) Side {
		data, err := os.ReadFile("../meaning/testdata/parsers/4.1.8.on-" + kernel + ".blob")
		if err != nil {
			t.Fatal(err)
		}
		all := readAll(t, data)
		for i := range all {
			if all[i].Name == "parsers" {
				return Side{Stack: meaning.Stack{all[i]}}
			}
		}
		t.Fatal("there is no profile")
		return Side{}
	}
	d, err := Compare(of("6.1"), of("6.12"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]string)
	for _, l := range d.Lines {
		if l.Profile == "" {
			said[l.What] = string(l.Change) + ": " + strings.Join(l.Not, "; ")
		}
	}
	for what, want := range map[string]string{
		"userns":          "denied: Linux before 6.7, which asks no profile about user namespaces",
		"io_uring sqpoll": "denied: Linux before 6.7, which asks no profile about io_uring",
	} {
		if said[what] != want {
			t.Errorf("%s is %q, want %q, of %q", what, said[what], want, said)
		}
	}
	const less, more = "/x r, mount fstype=proc,", "/x rw, mount fstype={proc,tmpfs}, signal,"
	for _, l := range compared(t, meaning.Stack{profileOf(t, less)}, meaning.Stack{profileOf(t, more)}).Lines {
		if l.Not != nil {
			t.Errorf("%s: %q", l.What, l.Not)
		}
	}
}
