package compare

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// profileOf compiles the rules of a profile "p".
func profileOf(t testing.TB, rules string) *meaning.Profile {
	t.Helper()
	return readAll(t, compiled(t, "abi <abi/3.0>,\ninclude <tunables/global>\nprofile p {\n"+rules+"\n}"))[0]
}

func compiled(t testing.TB, text string) []byte {
	t.Helper()
	return profiletest.Several(t, text)
}

func readAll(t testing.TB, data []byte) []*meaning.Profile {
	t.Helper()
	all, err := meaning.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func compared(t testing.TB, a, b meaning.Stack) *Difference {
	t.Helper()
	d, err := Compare(Side{Stack: a}, Side{Stack: b}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// shownLines are the lines of a difference, as a test has them.
func shownLines(d *Difference) (lines []string) {
	for _, l := range d.Lines {
		text := string(l.Change) + " " + l.What
		if l.Some {
			text = string(l.Change) + " some of " + l.What
		}
		if len(l.Except) > 0 {
			text += " except " + strings.Join(l.Except, " and ")
		}
		if l.Change == Elsewhere || l.Change == Otherwise {
			text += ": " + l.From + " -> " + l.To
		} else if l.From == "" && l.To != "" {
			text += ": " + l.To
		}
		if l.Profile != "" {
			text = l.Profile + ": " + text
		}
		lines = append(lines, text)
	}
	return lines
}

// What people read of a difference between two sets of rules.
func TestPatterns(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want []string
	}{
		{"/srv/** r,", "/srv/** r,", nil},
		{"/srv/{a,b}/** r,", "/srv/a/** r, /srv/b/** r,", nil},
		{"/srv/** r,", "/srv/** rw,", []string{"allowed w /srv/**"}},
		{"/srv/** rw,", "/srv/** r,", []string{"denied w /srv/**"}},
		{"/srv/** r,", "owner /srv/** rw, /srv/** r,", []string{"allowed owner w /srv/**"}},
		{"/srv/** rw,", "/srv/** rw, deny /srv/secret** w,", []string{"denied w /srv/secret**"}},
		{"/srv/** r, deny /srv/x w,", "/srv/** r,", []string{"logged w /srv/x"}},
		{"/srv/** r,", "/srv/** r, audit /srv/x r,", []string{"logged r /srv/x"}},
		{"/usr/bin/* ix,", "/usr/bin/* px -> x,", []string{"denied m /usr/bin/*",
			"elsewhere x /usr/bin/*: under the same profile -> under x"}},
		{"/a ix,", "/a Ux,", []string{"denied m /a", "elsewhere x /a: under the same profile -> unconfined, with its environment scrubbed"}},
		{"/a px -> x,", "/a Pix -> x,", []string{"allowed m /a", "elsewhere x /a: under x -> under x, with its environment scrubbed, or else the same"}},
		{"/a Px -> x,", "/a PUx -> x,", []string{"elsewhere x /a: under x, with its environment scrubbed -> under x, or else unconfined, with its environment scrubbed"}},
		{"/proc/** r,", "/proc/** r, deny /proc/*/attr/** r, deny /proc/sys/kernel/shm* r,",
			[]string{"denied r /proc/*/attr/**", "denied r /proc/sys/kernel/shm*"}},
		{"/etc/** r,", "/etc/** r, /srv/** rw, deny /srv/**/key rw,",
			[]string{"allowed rw /srv/** except /srv/**/key", "quiet rw /srv/**/key"}},
		{"/srv/[0-9]*/stat r,", "/srv/*.conf r,", []string{"allowed r /srv/*.conf", "denied r /srv/[0-9]*/stat"}},
		{"/a r,", "/a r, mount fstype=tmpfs options=(ro,nosuid) tmpfs -> /mnt/**, umount /mnt/**,",
			[]string{"allowed mount fstype=tmpfs options=(ro,nosuid) tmpfs -> /mnt/**", "allowed umount /mnt/**"}},
		{"mount,", "mount, deny mount fstype=proc,", []string{"denied mount fstype=proc"}},
		{"mount options in (nosuid,nodev) -> /x/,", "mount,",
			[]string{"allowed mount except options in (nodev,nosuid) -> /x/"}},
		{"mount options=(rw) -> /x/,", "mount,", []string{"allowed mount except options=(rw) -> /x/"}},
		{"signal,", "signal (receive) peer=unconfined,", []string{"denied signal send",
			"denied signal receive except peer=unconfined"}},
		{"signal (receive) set=(term,kill) peer=a,", "ptrace (read) peer=a, signal (receive) set=(term) peer=a,",
			[]string{"allowed ptrace read peer=a", "denied signal receive set=kill peer=a"}},
		{"network inet,", "network inet stream,", []string{"denied network inet type=dgram,raw,rdm,seqpacket,packet"}},
		{"capability chown,", "capability kill, audit capability chown,",
			[]string{"allowed capability kill", "logged capability chown"}},
		{"capability,", "capability chown,", []string{"denied capability except chown"}},
		{"capability chown,", "capability,", []string{"allowed capability except chown"}},
		{"/a r, capability,", "/a r,", []string{"denied capability"}},
		{"/a r,", "/a r, /q ux, /z Px -> k, /y ix,", []string{"allowed m /y", "allowed x /q: unconfined",
			"allowed x /z: under k, with its environment scrubbed", "allowed x /y: under the same profile"}},
		{"set rlimit nofile <= 100,", "set rlimit nofile <= 200, set rlimit core <= 0,",
			[]string{"allowed set rlimit nofile, limit 200", "denied set rlimit core, limit 0"}},
		{"link /a/** -> /b/**,", "link subset /a/* -> /b/**,", []string{"denied l /a/**/{,**} -> /b/**"}},
		{"change_profile -> a,", "change_profile -> {b,a},", []string{"allowed change_profile -> b"}},
		{"change_profile -> {a,b},", "change_profile -> **,", []string{"allowed change_profile -> ** except -> [ab]",
			"allowed change_profile -> &**"}},
		{"change_profile /bin/a -> b,", "change_profile -> b,", []string{"allowed change_profile /** -> b except /bin/a -> **"}},
		{"change_profile safe /bin/a -> b,", "change_profile unsafe /bin/a -> b,", []string{
			"elsewhere change_profile /bin/a -> b: with its environment scrubbed -> with its environment as it is"}},
		{"ptrace peer=unconfined,", "ptrace tracedby peer=unconfined,", []string{"denied ptrace trace+read peer=unconfined"}},
		{"signal receive,", "signal receive set=term,", []string{`denied signal receive set="any but term"`}},
		{"file, audit deny /etc/** w,", "file, audit deny /etc/{a,b}** w,", []string{"allowed w /etc/[^/ab]**",
			"allowed owner l /** -> /etc/[^/ab]** except /etc/** -> /**", "denied owner l /etc/[^/ab]** -> /etc/[ab]**"}},
		{"/a cx -> kid, profile kid { /x r, }", "/a cx -> kid, profile kid { /x rw, } ^hat { }",
			[]string{"allowed change_hat hat", "other hat hat: not there -> new", "p//kid: allowed w /x"}},
		{"/a cx, profile one /a { /x r, } profile two /b { }", "/a cx, profile other /{a,a} { /x rw, } profile three /c { }",
			[]string{"hidden change_hat one", "hidden change_hat two", "shown change_hat other", "shown change_hat three",
				"other name of the child that attaches to the same programs: one -> other", "other child two: there -> gone",
				"other child three: not there -> new", "p//one: allowed w /x"}},
		{"file,", "", []string{"denied rwkmx /**", "denied l /** -> /**"}},
	} {
		got := shownLines(compared(t, meaning.Stack{profileOf(t, test.a)}, meaning.Stack{profileOf(t, test.b)}))
		if strings.Join(got, "\n") != strings.Join(test.want, "\n") {
			t.Errorf("%s\n to %s:\n%s\nwant\n%s", test.a, test.b, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}

// various are profiles of all kinds: generated, shipped, of other parsers, and with rules of each class.
func various(t testing.TB) (all []*meaning.Profile) {
	text, err := templates.Text("docker-default", "docker-default", templates.Target{})
	if err != nil {
		t.Fatal(err)
	}
	old, err := templates.FindVariant("docker-default", "2015")
	if err != nil {
		t.Fatal(err)
	}
	all = append(all, readAll(t, compiled(t, string(text)))[0], readAll(t, compiled(t, string(old.Text)))[0])
	for _, data := range profiletest.Files(t, "../meaning/testdata/*.permissions?", "../testdata/*.blob") {
		all = append(all, readAll(t, data)...)
	}
	shipped, err := filepath.Glob("/etc/apparmor.d/usr.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range shipped[:min(2, len(shipped))] {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, readAll(t, compiled(t, string(data)))[0])
	}
	for _, rules := range []string{"", "file, capability, network, mount, umount, pivot_root, signal, ptrace, change_profile,",
		"/srv/** rw, deny /srv/secret/** w, owner /home/** rwkl, /usr/bin/* ix, /usr/sbin/* px, audit /var/log/** a,",
		"/srv/** rwl, link subset /srv/a/* -> /srv/b/**, change_profile -> {a,b}, signal (send) peer={a,b//&c},",
		"mount fstype=tmpfs options in (ro,nosuid) -> /mnt/**, mount options=(bind) /srv/** -> /mnt/*/, umount /mnt/*/,",
		"network inet stream, network netlink raw, deny network inet6, ptrace (read) peer=a*, set rlimit nofile <= 10,",
		"change_profile /usr/bin/* -> c, audit change_profile -> a//&b, capability chown, deny capability sys_admin,"} {
		all = append(all, profileOf(t, rules))
	}
	for _, flags := range []string{"complain", "kill", "unconfined", "audit"} {
		all = append(all, readAll(t, compiled(t, "abi <abi/3.0>,\nprofile p flags=("+flags+
			") {\n/srv/** r, deny /srv/secret/** w, signal (receive) peer=a,\n}"))[0])
	}
	return all
}

// times returns how often something is tried: few times, or often where nothing is left out.
func times(few, often int) int {
	if os.Getenv("OCI_APPARMOR_EVERYTHING") == "yes" {
		return often
	}
	return few
}

// No profile differs from itself, also where that is not seen at once since its tables are the same.
func TestNothingDiffersFromItself(t *testing.T) {
	for _, p := range various(t) {
		c := comparison{}
		for _, topic := range meaning.Topics() {
			if lines, err := c.topic(newPair(topic, meaning.Stack{p}, meaning.Stack{p}, new(int))); err != nil || len(lines) > 0 {
				t.Errorf("%s, %s: %+v, %v", p.Name, topic.Name, lines, err)
			}
		}
		if d := compared(t, meaning.Stack{p}, meaning.Stack{p, p}); len(d.Lines) != 1 || d.Lines[0].Change != Otherwise {
			t.Errorf("%s is not the same twice: %v", p.Name, shownLines(d)) // but for the count of profiles
		}
	}
}

// Whatever differs for an access is in a line whose pattern has the access, and nothing else is; witnesses are such
// accesses; and globs match what is meant by them.
func TestDifferencesAreDecisions(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 9))
	all := various(t)
	checked, differing := 0, 0
	for range times(8, 60) {
		a, b := meaning.Stack{all[random.IntN(len(all))]}, meaning.Stack{all[random.IntN(len(all))]}
		if random.IntN(4) == 0 {
			b = append(b, all[random.IntN(len(all))])
		}
		name := fmt.Sprintf("%s to %s", names(a), names(b))
		c := comparison{}
		for _, topic := range meaning.Topics() {
			p := newPair(topic, a, b, new(int))
			lines, err := c.topic(p)
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range lines {
				checkWitness(t, name, a, b, l)
			}
			shape := topic.Shape()
			x, err := p.explore(shape, false, nil)
			if err != nil {
				t.Fatal(err)
			}
			for range 150 {
				key := someKey(random, x)
				for i, ask := range topic.Asks {
					access := topic.Access(key, ask)
					if access == nil || !isKey(shape, key) {
						continue
					}
					checked++
					was, is := outcomeOf(a, access), outcomeOf(b, access)
					for _, change := range Changes() {
						differs := false
						for _, one := range changed(was, is) {
							differs = differs || one == change
						}
						if differs {
							differing++
						}
						inExact, inSome := covered(lines, change, key, i)
						switch {
						case differs && !inExact && !inSome && !stacked(topic, key):
							t.Fatalf("%s: %s: %q (%+v) becomes %s, and no line says so: %v", name, topic.Name, key, access, change, whats(lines))
						case !differs && inExact && !stacked(topic, key) && change != Elsewhere:
							t.Fatalf("%s: %s: %q (%+v) does not become %s, and a line says so: %v", name, topic.Name, key, access, change,
								whats(lines))
						}
					}
				}
			}
		}
	}
	t.Logf("%d accesses, %d changes", checked, differing)
	if differing < 500 {
		t.Errorf("only %d changes of %d accesses", differing, checked)
	}
}

func names(s meaning.Stack) string {
	var all []string
	for _, p := range s {
		all = append(all, p.Name+" "+p.Mode.String())
	}
	return strings.Join(all, "//&")
}

func whats(lines []Line) (all []string) { return shownLines(&Difference{Lines: lines}) }

// checkWitness decides a line's witness by both sides.
func checkWitness(t *testing.T, name string, a, b meaning.Stack, l Line) {
	t.Helper()
	if l.Witness == nil {
		return
	}
	was, is := outcomeOf(a, l.Witness), outcomeOf(b, l.Witness)
	for _, one := range changed(was, is) {
		if one == l.Change {
			return
		}
	}
	if l.Change == Elsewhere && was.Allowed && is.Allowed {
		return
	}
	t.Errorf("%s: %s %s: the witness %+v shows nothing: %+v, %+v", name, l.Change, l.What, l.Witness, was, is)
}

// covered reports whether a line has a key: as one of which all keys change, or as one of which some do.
func covered(lines []Line, change Change, key string, ask int) (exact, some bool) {
	for _, l := range lines {
		if l.Change != change || l.of.asks>>ask&1 == 0 || !l.of.matches(key) {
			continue
		}
		if l.Some {
			some = true
		} else {
			exact = true
		}
	}
	return exact, some
}

func isKey(shape *meaning.Shape, key string) bool {
	s := shape.Start()
	for i := range len(key) {
		s = shape.Step(s, key[i])
	}
	return shape.Whole(s)
}

// stacked reports whether a key has a label of several parts, for which lines about labels of one speak as well.
func stacked(topic *meaning.Topic, key string) bool {
	for _, f := range topic.Fields {
		if f == meaning.LabelField {
			return strings.Contains(key, "//&")
		}
	}
	return false
}

// someKey returns a key that leads somewhere in a product, often with some bytes changed.
func someKey(random *rand.Rand, x *product) string {
	key := []byte(x.key(int32(random.IntN(x.nodes.Len()))))
	for range random.IntN(4) {
		const bytes = "/abcrs019.-_\x00\x01\x02\x03"
		at := random.IntN(len(key) + 1)
		b := bytes[random.IntN(len(bytes))]
		switch random.IntN(3) {
		case 0:
			key = append(key, b)
		case 1:
			key = append(key[:at:at], append([]byte{b}, key[at:]...)...)
		default:
			if at < len(key) {
				key[at] = b
			}
		}
	}
	return string(key)
}

// The globs of lines about files match what their patterns match.
func TestGlobsMean(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	all := various(t)
	globs := 0
	for _, a := range all {
		b := all[random.IntN(len(all))]
		c := comparison{}
		topic := meaning.Topics()[0]
		p := newPair(topic, meaning.Stack{a}, meaning.Stack{b}, new(int))
		lines, err := c.topic(p)
		if err != nil {
			t.Fatal(err)
		}
		shape := topic.Shape()
		x, err := p.explore(shape, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range lines {
			if strings.Contains(l.What, `\0`) || strings.Contains(l.What, `\1`) || strings.Contains(l.What, `\2`) || len(l.Except) > 0 ||
				l.of.shown.any[0] {
				continue // NewGlob knows no numbers of bytes
			}
			glob, err := automaton.NewGlob(l.of.shown.fields[0])
			if err != nil {
				t.Fatalf("%s: %v", l.What, err)
			}
			globs++
			for range 200 {
				key := someKey(random, x)
				if !isKey(shape, key) {
					continue
				}
				s := glob.Start()
				for i := range len(key) {
					s = glob.Step(s, key[i])
				}
				if glob.Accepts(s) != l.of.matches(key) {
					t.Errorf("%s: %q: the glob matches: %v", l.What, key, glob.Accepts(s))
				}
			}
		}
	}
	if globs < 20 {
		t.Errorf("only %d globs", globs)
	}
}

// Of what has no key, all there is to say is whether it changes.
func TestNoKey(t *testing.T) {
	for _, topic := range meaning.Topics() {
		if len(topic.Fields) > 0 {
			continue
		}
		l := &language{values: []value{in, free}, next: []int32{1, 1}, bytes: [][]byte{automaton.Readable()}}
		d := describer{topic: topic, work: new(int)}
		c := d.describe(l, func() *language { return &language{values: []value{free}, next: []int32{0}, bytes: l.bytes} })
		if !c.exact || len(c.patterns) != 1 || len(d.show(c.patterns[0], c.patterns[0].pattern).fields) != 0 {
			t.Errorf("%s: %+v", topic.Name, c)
		}
		if access := topic.Access(c.patterns[0].text, topic.Asks[0]); access == nil {
			t.Errorf("%s: no example", topic.Name)
		}
	}
}

// Where a wider pattern stands for several languages, each line has an example of its own.
func TestExamplesOfWiderPatterns(t *testing.T) {
	const scattered = "/q/{a,bc,cde,dfgh,eijkl}[^x]*/[^ab]{m,no}*/[^z]*q** "
	for _, test := range [][2]string{
		{"/q/** r, deny owner /q/zz/** r,", scattered + "w, owner /q/[^a]*[^b]/[^cd]?[^e]*/f*g** w, /q/** r,"},
		{"/q/** rw, owner " + scattered + "k,", "/q/** r, owner /q/[^a]*[^b]/[^cd]?[^e]*/f*g** w, " + scattered + "k,"},
	} {
		a, b := meaning.Stack{profileOf(t, test[0])}, meaning.Stack{profileOf(t, test[1])}
		d := compared(t, a, b)
		for _, l := range d.Lines {
			checkWitness(t, "scattered", a, b, l)
		}
		back := compared(t, b, a)
		for _, l := range back.Lines {
			checkWitness(t, "scattered", b, a, l)
		}
		if len(d.Lines) == 0 || len(back.Lines) == 0 {
			t.Error("nothing differs")
		}
	}
}
