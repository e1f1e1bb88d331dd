package guesttest

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest"
)

// Where a test runs, and whether it is a long one, is said at its head. It runs
//
//   - in every guest, after Require, EachRuntime or EachContainerd (or a helper that calls one of these);
//   - in every guest that is booted with containerd to itself, where its name begins with TestContainerd, and in the boots of
//     the other guest.Variants where its name matches theirs;
//   - on the host, and in no guest, after Outside;
//   - under make test in some guests only, after EnoughIn: make test-all runs it in all. This is for what a test shows of our
//     own programs, which neither the kernel nor a version of the parser, a runtime or an engine changes;
//   - under make test in part, after Leave, Count, EnoughRuntimes or OldestAndPresent: make test-all runs all of it.
//
// What make test leaves out is listed at its end. make test-all sets EverythingVariable, and so does TestGuests where -run
// names tests in a guest: who asks for a test by name gets it, in the guest that he names.

// EverythingVariable is an environment variable. If it is not empty, tests leave nothing out (make test-all).
const EverythingVariable = "OCI_APPARMOR_EVERYTHING"

// LeftOut is the beginning of a message about a part that a test leaves out: its reason to skip, or a line in its log.
const LeftOut = "left to make test-all: "

// The suites of the guests, for EnoughIn.
const (
	Bookworm = "bookworm"
	Trixie   = "trixie"
	Forky    = "forky"
)

// Everything reports whether tests must leave nothing out.
func Everything() bool { return os.Getenv(EverythingVariable) != "" }

// EnoughIn says that the guests of these suites are enough for the test, since it shows the same in all guests. Under
// make test it skips the test in other guests. It needs at least one suite, which must have what the test needs;
// otherwise the test would never run.
func EnoughIn(t testing.TB, suites ...string) {
	t.Helper()
	if len(suites) == 0 {
		t.Fatal("EnoughIn names no suite: the test would run in none")
	}
	for _, s := range suites {
		if s == "all" {
			t.Fatal("EnoughIn names all suites, which is what a test without it does")
		}
		if _, err := guest.Select(s); err != nil {
			t.Fatal(err)
		}
	}
	if Suite() != "" && !Everything() && !slices.Contains(suites, Suite()) {
		t.Skip(LeftOut + "make test runs it in " + strings.Join(suites, ", "))
	}
	top, _, _ := strings.Cut(t.Name(), "/")
	inFew.Store(top, true)
}

// inFew has the names of the tests that EnoughIn lets run: these have every runtime where they run.
var inFew sync.Map

// runtimes are those that make test has in each guest, so that every kernel and each of the two runtimes are shown, and
// in the newest guest both.
var runtimes = map[string][]string{Bookworm: {"runc"}, Trixie: {"crun"}, Forky: Runtimes}

// EnoughRuntimes is for a part of a test that is about one runtime. Under make test it skips that part in guests in
// which another runtime is enough: a kernel confines alike what any runtime starts, and a runtime behaves alike on
// every kernel. make test-all runs both in every guest. If EnoughIn limits the test to some guests, both run there.
func EnoughRuntimes(t testing.TB, runtime string) {
	t.Helper()
	top, _, _ := strings.Cut(t.Name(), "/")
	if _, few := inFew.Load(top); few {
		return
	}
	if enough := runtimes[Suite()]; enough != nil && !slices.Contains(enough, runtime) {
		Leave(t, "make test has "+strings.Join(enough, " and ")+" here, and "+runtime+" in another guest")
	}
}

// OnHost is the reason to skip for a test that runs on the host, where go and make are.
const OnHost = "is run on the host, and not in guests"

// Outside skips the test in a guest, since it is for the host.
func Outside(t testing.TB) {
	t.Helper()
	if Suite() != "" {
		t.Skip(OnHost)
	}
}

// Leave skips the test or subtest t under make test. The reason says what make test runs instead.
func Leave(t testing.TB, reason string) {
	t.Helper()
	if !Everything() {
		t.Skip(LeftOut + reason)
	}
}

// Count returns how often to do something: few times under make test, and all times under make test-all. It logs what
// is left out. what is a plural, such as "pods in a row".
func Count(t testing.TB, few, all int, what string) int {
	t.Helper()
	if Everything() {
		return all
	}
	t.Log(LeftOut + fmt.Sprintf("%d %s, make test has %d", all, what, few))
	return few
}
