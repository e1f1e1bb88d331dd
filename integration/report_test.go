package integration

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// reportVariable names a file that TestGuests writes its report to: go test shows what a test prints only where it fails or
// is asked to by -v.
const reportVariable = "OCI_APPARMOR_REPORT"

// A ranBoot is a boot whose tests have run, or as many of them as it lasted for.
type ranBoot struct {
	name   string // the suite and the variant, as trixie-containerd
	result guest.Result
	tests  *guestTest
	again  bool // whether they ran a second time, as the guest had stopped in user mode
}

// slowest is how many tests a report names.
const slowest = 24

// reportOf says where the time went, and what was left out: the boots, the slowest tests of all, and what tests say after
// guesttest.LeftOut.
func reportOf(boots []ranBoot) string {
	type took struct {
		boot, test string
		time.Duration
	}
	type left struct{ test, what string }
	var tests []took
	var report strings.Builder
	leftIn := map[left][]string{}
	shown := map[string]bool{} // by test: whether it ran anywhere
	report.WriteString("boots of guests, with the seconds until the first test, of all tests, and of processor time:\n")
	for _, b := range boots {
		again := ""
		if b.again {
			again = " (ended under QEMU: in user mode it stopped)"
		}
		fmt.Fprintf(&report, "  %6.0f %6.0f %6.0f  %s%s\n", b.result.Boot.Seconds(), b.result.Command.Seconds(), b.result.CPU.Seconds(), b.name, again)
		for _, test := range b.tests.children {
			tests = append(tests, took{b.name, test.name, test.elapsed})
			shown[test.name] = shown[test.name] || test.action != "skip" || strings.Contains(test.output.String(), guesttest.OnHost)
		}
		b.tests.walk("", func(name string, test *guestTest) {
			for line := range strings.Lines(test.output.String()) {
				if _, what, ok := strings.Cut(line, guesttest.LeftOut); ok {
					l := left{name, strings.TrimSpace(what)}
					leftIn[l] = append(leftIn[l], b.name)
				}
			}
		})
	}
	slices.SortStableFunc(tests, func(a, b took) int { return cmp.Compare(b.Duration, a.Duration) })
	report.WriteString("the slowest tests, with their seconds:\n")
	for _, test := range tests[:min(slowest, len(tests))] {
		fmt.Fprintf(&report, "  %6.1f  %s %s\n", test.Seconds(), test.boot, test.test)
	}
	if len(leftIn) > 0 {
		report.WriteString(strings.TrimSuffix(guesttest.LeftOut, " ") + "\n")
		type why struct{ boots, what string }
		leftFor := map[why][]string{} // the tests
		for _, l := range sortedKeys(leftIn, func(l left) string { return l.test + l.what }) {
			w := why{strings.Join(leftIn[l], ", "), l.what}
			leftFor[w] = append(leftFor[w], l.test)
		}
		for _, w := range sortedKeys(leftFor, func(w why) string { return leftFor[w][0] + w.what + w.boots }) {
			fmt.Fprintf(&report, "  in %s (%s): %s\n", w.boots, w.what, strings.Join(leftFor[w], ", "))
		}
	}
	for _, name := range sortedKeys(shown, func(name string) string { return name }) {
		if !shown[name] {
			fmt.Fprintf(&report, "NOT SHOWN: %s has skipped in every guest\n", name)
		}
	}
	return report.String()
}

// sortedKeys returns a map's keys in the order of what by makes of them.
func sortedKeys[K comparable, V any](m map[K]V, by func(K) string) (keys []K) {
	for k := range m {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b K) int { return strings.Compare(by(a), by(b)) })
	return keys
}

// walk calls visit for every test below g, with its full name.
func (g *guestTest) walk(above string, visit func(name string, test *guestTest)) {
	for _, c := range g.children {
		visit(above+c.name, c)
		c.walk(above+c.name+"/", visit)
	}
}

func TestReportTellsWhereTimeWentAndWhatIsLeft(t *testing.T) {
	tests := func(children ...*guestTest) *guestTest { return &guestTest{children: children} }
	test := func(name, action string, seconds float64, output string, children ...*guestTest) *guestTest {
		g := &guestTest{name: name, ran: true, action: action, elapsed: time.Duration(seconds * float64(time.Second)), children: children}
		g.output.WriteString(output)
		return g
	}
	boots := []ranBoot{
		{name: "bookworm", result: guest.Result{Boot: 6 * time.Second, Command: 90 * time.Second, CPU: 88 * time.Second}, tests: tests(
			test("TestQuick", "pass", 0.2, ""),
			test("TestOurs", "skip", 0, "    ours_test.go:7: "+guesttest.LeftOut+"make test runs it in trixie\n"),
			test("TestNowhere", "skip", 0, "    x_test.go:1: no criu\n"),
			test("TestOutside", "skip", 0, "    x_test.go:1: "+guesttest.OnHost+"\n"),
		)},
		{name: "trixie", result: guest.Result{Boot: 5 * time.Second, Command: 70 * time.Second, CPU: 60 * time.Second}, tests: tests(
			test("TestOurs", "pass", 41.3, ""),
			test("TestPods", "pass", 12, "", test("in a row", "pass", 12, "    pods_test.go:9: "+guesttest.LeftOut+"100 pods in a row, make test has 20\n")),
			test("TestNowhere", "skip", 0, "    x_test.go:1: no criu\n"),
		)},
		{name: "forky", tests: tests(
			test("TestOurs", "skip", 0, "    ours_test.go:7: "+guesttest.LeftOut+"make test runs it in trixie\n"),
		)},
	}
	const want = `boots of guests, with the seconds until the first test, of all tests, and of processor time:
       6     90     88  bookworm
       5     70     60  trixie
       0      0      0  forky
the slowest tests, with their seconds:
    41.3  trixie TestOurs
    12.0  trixie TestPods
     0.2  bookworm TestQuick
     0.0  bookworm TestOurs
     0.0  bookworm TestNowhere
     0.0  bookworm TestOutside
     0.0  trixie TestNowhere
     0.0  forky TestOurs
left to make test-all:
  in bookworm, forky (make test runs it in trixie): TestOurs
  in trixie (100 pods in a row, make test has 20): TestPods/in a row
NOT SHOWN: TestNowhere has skipped in every guest
`
	if got := reportOf(boots); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}
