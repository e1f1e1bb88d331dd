package compare

import (
	"errors"
	"maps"
	"slices"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Programs go on under children, under parts of stacks, and from there under others.
func TestReach(t *testing.T) {
	texts := map[string]string{
		"web": `/bin/a px -> one//&two, /bin/b px -> &three, /bin/c px -> four//kid, /bin/d px -> :ns:other, /bin/e px -> unconfined,
			/bin/f px -> gone, /bin/g cx -> kid, profile kid { /bin/a px -> five, }`,
		"one": "/bin/a px -> &six//&two, /bin/b px -> web,", "two": "/x r,", "three": "/x r,", "four": "/x r, profile kid { /bin/a px -> seven, }",
		"five": "/x r,", "six": "/x r,", "seven": "/x r,", "not": "/x r,",
	}
	asked := make(map[string]int)
	read := func(name string) ([]*meaning.Profile, error) {
		asked[name]++
		if texts[name] == "" {
			return nil, nil
		}
		return readAll(t, compiled(t, "profile "+name+" { "+texts[name]+" }\n")), nil
	}
	web := readAll(t, compiled(t, "profile web { "+texts["web"]+" }\n"))
	s := Side{Stack: web[:1]}
	if err := s.Reach(read); err != nil {
		t.Fatal(err)
	}
	want := []string{"five", "four", "four//kid", "one", "seven", "six", "three", "two", "web", "web//kid"}
	if got := slices.Sorted(maps.Keys(s.Others)); !slices.Equal(got, want) {
		t.Errorf("reached %q, want %q", got, want)
	}
	for name, times := range asked {
		if times > 1 || name == "unconfined" || name == "other" {
			t.Errorf("%s is asked for %d times", name, times)
		}
	}
	failure := errors.New("unreadable")
	s = Side{Stack: web[:1]}
	if err := s.Reach(func(string) ([]*meaning.Profile, error) { return nil, failure }); !errors.Is(err, failure) {
		t.Errorf("error %v", err)
	}
}

// What differs under a stack to which programs go on is told, as far as both sides know the stack's profiles.
func TestStacksToWhichProgramsGoOnAreCompared(t *testing.T) {
	side := func(own string, texts map[string]string) Side {
		s := Side{Stack: meaning.Stack{profileOf(t, own+" /bin/a px -> one//&two,")}}
		if err := s.Reach(func(name string) ([]*meaning.Profile, error) {
			if texts[name] == "" {
				return nil, nil
			}
			return readAll(t, compiled(t, "profile "+name+" { "+texts[name]+" }\n")), nil
		}); err != nil {
			t.Fatal(err)
		}
		return s
	}
	before := side("/x r,", map[string]string{"one": "/srv/** rw,", "two": "/srv/** r,"})
	after := side("/y r,", map[string]string{"one": "/srv/** rw, /etc/** rw,", "two": "/srv/** rw,"})
	d, err := Compare(before, after, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var under []string
	for _, l := range d.Lines {
		if l.Profile != "" {
			under = append(under, l.Profile+": "+string(l.Change)+" "+l.What)
		}
	}
	if want := []string{"one//&two: allowed w /srv/**"}; !slices.Equal(under, want) {
		t.Errorf("%q, want %q", under, want)
	}
	d, err = Compare(before, side("/y r,", map[string]string{"one": "/srv/** rw,"}), Options{})
	if err != nil || len(d.Unknown) != 1 {
		t.Errorf("of a stack of which one side knows a part: %q, %v", d.Unknown, err)
	}
}
