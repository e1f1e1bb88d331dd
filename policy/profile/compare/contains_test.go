package compare

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// Containment agrees with the differences: it holds where nothing becomes denied, and its example is one that does.
func TestWithin(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	all, again := various(t), various(t) // no profile of the one side is one of the other
	holds := 0
	for range times(5, 50) {
		m, n := random.IntN(len(all)), random.IntN(len(all))
		a, b := all[m], again[n]
		side := func(p ...*meaning.Profile) Side { return Side{Stack: p} }
		beyond, within, err := Within(side(a), side(b))
		if err != nil {
			t.Fatal(err)
		}
		d := compared(t, meaning.Stack{a}, meaning.Stack{b})
		denied := false
		for _, l := range d.Lines {
			denied = denied || (l.Change == Denied || l.Change == Elsewhere) && l.Topic != "attachment"
		}
		if within && denied && !strings.Contains(strings.Join(shownLines(d), "\n"), "elsewhere") {
			t.Errorf("%s is within %s, and %v", a.Name, b.Name, shownLines(d))
		}
		if !within && beyond.Exec == [2]string{} && beyond.Profile == "" && !beyond.Unnamed &&
			(!a.Decide(beyond.Access).Allowed || b.Decide(beyond.Access).Allowed) {
			t.Errorf("%s is not within %s: %+v", a.Name, b.Name, beyond)
		}
		if !within && !denied && beyond.Profile == "" && !beyond.Unnamed {
			t.Errorf("%s is not within %s by %+v, and nothing is denied: %v", a.Name, b.Name, beyond, shownLines(d))
		}
		if within {
			holds++
		}
		for _, i := range []int{m, n} {
			if beyond, within, err := Within(side(all[i]), side(again[i])); !within || err != nil {
				t.Errorf("%s is not within itself: %+v, %v", all[i].Name, beyond, err)
			}
			if all[m].Name == all[n].Name { // no label has two profiles of one name
				continue
			}
			for _, s := range []Side{side(all[m], all[n]), side(all[n], all[m])} {
				if beyond, within, err := Within(s, side(again[i])); err != nil || !within {
					t.Errorf("a stack %s is not within %s: %+v, %v", names(s.Stack), again[i].Name, beyond, err)
				}
			}
		}
	}
	if holds < times(0, 1) {
		t.Errorf("only %d hold", holds)
	}
	for _, test := range []struct {
		a, b   string
		within bool
	}{
		{"/x cx -> kid, profile kid { /a r, }", "/x cx -> kid, profile kid { /a rw, }", true},
		{"/x cx -> kid, profile kid { /a rw, }", "/x cx -> kid, profile kid { /a r, }", false},
		{"/x ux,", "/x cx -> kid, profile kid { /a r, }", false},
		{"link subset /a/* -> /b/*,", "link /a/* -> /b/*,", true},
		{"/x Cx -> kid, profile kid { /a r, }", "/x Cx -> kid, profile kid { /b r, }", false},
		{"/a/* rw, /b/* r, link /a/* -> /b/*,", "/a/* rw, /b/* rl, link subset /a/* -> /b/*,", false},
		{"/a/* r, /b/* r, link /a/* -> /b/*,", "/a/* r, /b/* rl, link subset /a/* -> /b/*,", true},
		{"/x ix,", "/x m, /x Px -> p,", false}, // which scrubs the environment, while a program that inherits keeps it
		{"/x m, /x px -> p,", "/x ix,", true},
		{"/x m, /x Px -> p,", "/x ix,", true},
		{"/x m, /x Pix -> q,", "/x m, /x PUx -> q,", false},
		{"/x m, /x PUx -> q,", "/x m, /x Pix -> q,", false},
		{"/x Pix -> q,", "/x pix -> q,", true},
		{"/x pix -> q,", "/x Pix -> q,", false},
		{"change_profile unsafe /x -> q,", "change_profile safe /x -> q,", false},
		{"change_profile safe /x -> q,", "change_profile unsafe /x -> q,", true},
		{"change_profile unsafe /x -> q,", "change_profile -> q,", false},
		{"change_profile unsafe /x -> a//&b,", "change_profile safe /x -> {a,b},", false},
		{"change_profile unsafe /x -> {a,b},", "change_profile unsafe /x -> {a,b,a//&b},", true},
		{"/x pux -> &q,", "/x px -> q,", false}, // unconfined without q, since Linux 6.17
		{"/x pix -> &q,", "/x px -> q, /x m,", false},
		{"/x px -> &q,", "/x px -> q,", true},
		{"/x pix -> &q,", "/x pix -> &q,", true},
		{"/x pux -> q,", "/x pux -> &q,", false}, // which older kernels deny without q
	} {
		beyond, within, err := Within(Side{Stack: meaning.Stack{profileOf(t, test.a)}}, Side{Stack: meaning.Stack{profileOf(t, test.b)}})
		if err != nil || within != test.within {
			t.Errorf("%s within %s: %v, %+v, %v", test.a, test.b, within, beyond, err)
		}
	}
}

// Where the profile to go to is not loaded, complain mode has a program learn since Linux 6.13, which is to be free.
func TestWithinFollowsLearning(t *testing.T) {
	of := func(flags, rules string) Side {
		return Side{Stack: readAll(t, compiled(t, "abi <abi/3.0>,\nprofile p "+flags+" {\n"+rules+"\n}\n"))}
	}
	for _, test := range []struct {
		a, b   Side
		within bool
	}{
		{of("flags=(complain)", "/x px -> q,"), of("flags=(complain)", "/x px -> q,"), true},
		{of("flags=(complain)", "/x px -> q,"), of("flags=(complain)", "/x pix -> q,"), false},
	} {
		beyond, within, err := Within(test.a, test.b)
		if err != nil || within != test.within {
			t.Errorf("%v, %+v, %v", within, beyond, err)
		}
	}
}

// By its flags, a profile has paths for files for which another one has none, and so denies all accesses to them.
func TestWithinKnowsWhichFilesHavePaths(t *testing.T) {
	const connect, deleted = "flags=(attach_disconnected)", "flags=(attach_disconnected,mediate_deleted)"
	for _, test := range []struct {
		a, b, rules string
		within      bool
	}{
		{connect, "", "/e r,", false},
		{"", connect, "/e r,", true},
		{connect, connect, "/e r,", true},
		{deleted, connect, "/e r,", true},
		{deleted, connect, "/e ix,", false}, // a program that is deleted
		{"", connect, "/e ix,", false},      // without flags of paths, mediate_deleted is what kernels take
		{connect, deleted, "/e r,", true},
		{connect, "", "capability chown,", true}, // which allows nothing that has to do with files
		{"flags=(chroot_relative)", "", "/e r,", false},
		{"", "flags=(chroot_relative)", "/e r,", false},
		{"flags=(attach_disconnected,complain)", "flags=(complain)", "/e r,", false},
	} {
		of := func(flags string) Side {
			return Side{Stack: readAll(t, compiled(t, "abi <abi/3.0>,\nprofile p "+flags+" {\n"+test.rules+"\n}\n"))}
		}
		beyond, within, err := Within(of(test.a), of(test.b))
		if err != nil || within != test.within || !within && !beyond.Unnamed {
			t.Errorf("%s within %s of %s: %v, %s, %v", test.a, test.b, test.rules, within, beyond, err)
		}
	}
}

// execKinds are rules about programs that go on in every way.
var execKinds = []string{"/bin/* ix,", "/bin/* px,", "/bin/* Px,", "/bin/* cx,", "/bin/* Cx,", "/bin/* ux,", "/bin/* Ux,", "/bin/* pix,",
	"/bin/* Pix,", "/bin/* cix,", "/bin/* pux,", "/bin/* cux,", "/bin/* cx -> kid,", "/bin/* cix -> kid,", "/bin/* px -> s1,",
	"/bin/* pix -> s2,", "/bin/* pux -> s1,", "/bin/* px -> gone,", "/bin/* pix -> gone,", "/bin/* px -> &s1,", "/bin/* ix -> &gone,",
	"/bin/* px -> s1//&s2,", "/bin/* px -> s1//kid,", "/bin/* cx -> missing,", "", "/** rwix,", "/bin/sh px, /bin/[^s]* ix,"}

// families returns profiles s0, s1 and so on, each with rules about programs of one kind and with children.
func families(t *testing.T) (all []*meaning.Profile) {
	t.Helper()
	for i, exec := range execKinds {
		flags := []string{"", "", "", "", "flags=(complain)"}[i%5]
		text := fmt.Sprintf("abi <abi/3.0>,\nprofile s%d %s {\n%s\n/srv/%d/** rw, change_profile -> s*, capability %s,\n"+
			"profile kid { /kid/%d r, /bin/* %s, }\nprofile /bin/ps { /ps/%d r, }\n^hat { /hat/%d r, }\n}\n", i, flags, exec, i%3,
			[]string{"chown", "kill"}[i%2], i%4, []string{"ix", "px", "cx -> s1"}[i%3], i%5, i%2)
		all = append(all, readAll(t, compiled(t, text))[0])
	}
	return all
}

// A process under a stack can do no more than under each of its parts, in whatever order they are.
func TestStackIsWithinItsParts(t *testing.T) {
	all, again := families(t), families(t)
	others := func(list []*meaning.Profile) map[string]*meaning.Profile {
		m := make(map[string]*meaning.Profile)
		for _, p := range list[:3] {
			m[p.Name] = p
		}
		return m
	}
	random := rand.New(rand.NewPCG(1, 1))
	apart := 0
	check := func(parts ...int) {
		var stack meaning.Stack
		for _, i := range parts {
			stack = append(stack, all[i])
		}
		for _, i := range parts {
			var known [2]map[string]*meaning.Profile
			if random.IntN(2) == 0 {
				known = [2]map[string]*meaning.Profile{others(all), others(again)}
			}
			beyond, within, err := Within(Side{stack, known[0]}, Side{meaning.Stack{again[i]}, known[1]})
			if err != nil || !within {
				t.Errorf("%s is not within %s (%s): %+v, %v", names(stack), all[i].Name, execKinds[i], beyond, err)
			}
		}
	}
	tried := 0
	for i := 0; i < len(all); i += times(3, 1) {
		tried++
		j := (i + 1 + random.IntN(len(all)-1)) % len(all)
		check(i, j)
		check(j, i)
		if _, within, err := Within(Side{Stack: all[i : i+1]}, Side{Stack: again[j : j+1]}); err == nil && !within {
			apart++
		}
	}
	for range times(3, 30) {
		check(random.Perm(len(all))[:3]...)
	}
	if apart < tried/2 {
		t.Errorf("only %d pairs of profiles are apart", apart)
	}
}

// A program that a process under a stack executes goes on under all that the stack's parts lead to.
func TestExecUnderStack(t *testing.T) {
	text := map[string]string{
		"app":    "file, capability, /bin/* ix,",
		"base":   "/** r, /bin/* ix,",
		"wall":   "/** rw, /bin/* ix,",
		"free":   "/** rw, /bin/* ux,",
		"freer":  "/** rw, /bin/* ux, capability,",
		"loose":  "/** r, /bin/* Px -> app,",
		"tight":  "/** r, /bin/* Px -> base,",
		"other":  "/** r, /bin/* Px -> gone,",
		"any":    "/** r, /bin/* mPx,",
		"sh":     "/** r, /bin/* cx, profile /bin/sh { /a rw, }",
		"strict": "/** r, /bin/* cx, profile /bin/sh { /a r, }",
	}
	read := func(known bool, label string) (s Side) {
		for name := range strings.SplitSeq(label, "//&") {
			s.Stack = append(s.Stack, readAll(t, compiled(t, "abi <abi/3.0>,\nprofile "+name+" {\n"+text[name]+"\n}\n"))[0])
		}
		if known {
			s.Others = make(map[string]*meaning.Profile)
			for name := range text {
				s.Others[name] = readAll(t, compiled(t, "abi <abi/3.0>,\nprofile "+name+" {\n"+text[name]+"\n}\n"))[0]
			}
		}
		return s
	}
	for _, test := range []struct {
		a, b  string
		known bool
		want  string // how it is beyond; empty if it is within
	}{
		{"app//&base", "wall", false, ""},
		{"base//&app", "wall", false, ""},
		{"app//&base", "base//&wall", false, ""},
		{"app", "wall", false, "itself"},
		{"free//&freer", "wall", false, "exec"},
		{"free//&base", "wall", false, ""},
		{"base//&free", "wall", false, ""},
		{"loose", "base", true, "under app"},
		{"loose//&base", "base", true, ""},
		{"base//&loose", "wall", true, ""},
		{"tight", "base", true, ""},
		{"tight", "base", false, ""},
		{"tight", "wall", true, ""},
		{"other", "base", true, "exec"},
		{"other//&base", "base", true, ""},
		{"base//&any", "any", true, ""},
		{"any", "base", true, "exec"},
		{"base", "any", true, "exec"},
		{"strict", "sh", false, ""},
		{"sh", "strict", false, "under sh///bin/sh"},
	} {
		beyond, within, err := Within(read(test.known, test.a), read(test.known, test.b))
		got := ""
		switch {
		case within:
		case beyond.Exec != [2]string{}:
			got = "exec"
		case beyond.Profile != "":
			got = "under " + beyond.Profile
		default:
			got = "itself"
		}
		if err != nil || got != test.want {
			t.Errorf("%s within %s, with others known: %v: %q, want %q: %+v, %v", test.a, test.b, test.known, got, test.want, beyond, err)
		}
	}
}

// Where a process changes its profile, what it may do under the other one counts.
func TestWithinFollowsChanges(t *testing.T) {
	for _, test := range []struct {
		a, b   string
		within bool
	}{
		{"change_profile -> p//k, profile k { /a rw, }", "change_profile -> p//k, profile k { /a r, }", false},
		{"change_profile -> p//k, profile k { /a r, }", "change_profile -> p//k, profile k { /a rw, }", true},
		{"profile k { /a rw, }", "change_profile -> p//k, profile k { /a r, }", true},
		{"change_profile /bin/* -> p//k, profile k { /a rw, }", "change_profile -> p//k, profile k { /a r, }", false},
		{"change_profile -> &p//k, /a rw, profile k { /a rw, }", "change_profile -> &p//k, /a rw, profile k { /a r, }", false},
		{"change_profile -> &p//k, /a r, profile k { /a rw, }", "change_profile -> &p//k, /a r, profile k { /a r, }", true},
		{"^h { /a rw, }", "^h { /a r, }", false},
		{"^h { /a r, } ^i { /b r, }", "^h { /a rw, } ^i { /b r, }", true},
		{"/x cx, profile /x { /a rw, }", "/x cx, profile /x { /a r, }", false},
		{"/x cx, profile /x { /a r, }", "/x cx, profile /x { /a rw, }", true},
		{"/x cx, profile one /x { /a r, }", "/x cx, profile other /x { /a rw, }", true},
		{"/x cx, profile one /x { /a rw, }", "/x cx, profile other /x { /a r, }", false},
		{"/x cx, profile one /x { /a r, }", "/x cx, profile one /y { /a r, }", false}, // so that there is none to go to
		{"/* cx, profile one /[xy] { /a r, }", "/* cx, profile other /{x,y} { /a rw, }", true},
		{"/* cx, profile one /x { /a r, }", "/* cx, profile other /* { /a rw, }", true},
		{"/* cx, profile one /* { /a r, }", "/* cx, profile other /x { /a rw, }", false},
		{"/* cix, /a r, profile one /* { /a r, }", "/* cix, /a r, profile other /x { /a rw, }", true},
		{"/* cx, profile one /* { /a r, } profile two /x { /b r, }", "/* cx, profile three /* { /a rw, } profile four /x { /b rw, }", true},
		{"/* cx, profile one /* { /a r, } profile two /x* { /b r, }", "/* cx, profile three /* { /a rw, } profile four /{x,x}* { /b rw, }", true},
		{"/b/* cx, profile one /b/* { /a r, } profile two /b/x { /b w, }",
			"/b/* cx, profile three /b/* { /a r, } profile four /b/x { /b w, } profile five /zz/q { /b w, }", true},
		{"/b/* cx, profile one /b/* { /a r, } profile two /b/x { /b w, }",
			"/b/* cx, profile three /b/* { /a r, } profile four /b/x { /c w, } profile five /zz/q { /b w, }", false},
		{"/b/* cx, profile one /b/* { /a r, }", "/b/* cx, profile two /b/* { /a r, } profile three /b/[xy] { /a r, }", false}, // none takes /b/x
		{"/x cx, profile one /x { /a r, } profile two /y { /b rw, }", "/x cx, profile three /x { /a r, } profile four /y { /b rw, }", true},
	} {
		beyond, within, err := Within(Side{Stack: meaning.Stack{profileOf(t, test.a)}}, Side{Stack: meaning.Stack{profileOf(t, test.b)}})
		if err != nil || within != test.within {
			t.Errorf("%s within %s: %v, %+v, %v", test.a, test.b, within, beyond, err)
		}
	}
}

// Programs that go on in very many ways are too much, and do not take long.
func TestWithinHasLimits(t *testing.T) {
	text := func(i int) string {
		var b strings.Builder
		b.WriteString("/bin/* cix,")
		for n := range 65 {
			fmt.Fprintf(&b, "profile k%d-%d /bin/{%d-%d,*x} { /a r, }\n", n, i, n, i)
		}
		return b.String()
	}
	_, _, err := Within(Side{Stack: meaning.Stack{profileOf(t, text(1))}}, Side{Stack: meaning.Stack{profileOf(t, text(2))}})
	if !errors.Is(err, automaton.ErrTooLarge) {
		t.Errorf("got %v", err)
	}
}
