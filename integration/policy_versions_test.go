package integration

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Versions of a policy, many of which have a fault, and a look at which of them is in force.

// configFaults are faults of a ConfigMap with a policy: what is done to its files, and a word of what the Node says then. The first ones
// are faults of a policy in any directory. A directory without policy.yaml has a policy, too, and only a ConfigMap must have one.
var configFaults = []struct {
	damage func(files map[string]string)
	says   string
}{
	{func(f map[string]string) {
		f["policy.yaml"] = strings.Replace(f["policy.yaml"], "[{policy: p", "[{policy: nowhere", 1)
	}, "nowhere"},
	{func(f map[string]string) { f["policy.yaml"], _, _ = strings.Cut(f["policy.yaml"], "profile: web") }, "policy.yaml"},
	{func(f map[string]string) {
		f["policy.yaml"] = strings.Replace(f["policy.yaml"], "policies:", "polices:", 1)
	}, "polices"},
	{func(f map[string]string) { f["web"] = strings.Replace(f["web"], "file,", "file", 1) }, "profiles/web"},
	{func(f map[string]string) { delete(f, "web") }, "profiles/web"},
	{func(f map[string]string) { delete(f, "policy.yaml") }, "no policy.yaml"},
}

const (
	policyFaults = 5
	noFault      = -1
)

// configFiles returns the files of a version of a ConfigMap. The policy has the version's number, and the profile denies to write a
// file of it. If there is a fault, the profile confines nothing.
func configFiles(n, fault int) map[string]string {
	files := map[string]string{
		"policy.yaml": fmt.Sprintf("version: 1\nprofiles: {web: {file: profiles/web}}\npolicies: {p%d: {profile: web}}\nassign: [{policy: p%[1]d}]\n", n),
		"web":         confining("web", fmt.Sprintf("  file,\n  audit deny /etc/** w,\n  audit deny /mnt/v%d w,\n", n)),
	}
	if fault != noFault {
		files["web"] = loose("web")
		configFaults[fault].damage(files)
	}
	return files
}

// configWatch looks all the time at what is in force while versions of a ConfigMap come and go.
type configWatch struct {
	mu      sync.Mutex
	faults  []int          // of the versions by their numbers; noFault for none
	put     int            // the last version that was put, or is just put
	good    map[int]bool   // the versions without a fault
	content map[string]int // these by the kernel's hash of their profile
	digests map[string]int // those that were in force, by the digest that the Node has
	last    int            // in force
	looks   int
	err     error // the first thing that must not be
}

// look looks once. What is in force is a good version that was put, and never an earlier one than before; the kernel's profile is that
// of a good version, too.
func (w *configWatch) look() error {
	g, err := store.Store{Dir: store.Dir}.Current()
	if errors.Is(err, store.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	c, err := g.Index.Config()
	if err != nil {
		return err
	}
	brief, err := g.Brief()
	if err != nil {
		return err
	}
	sums, err := filepath.Glob(securityfs + "/policy/profiles/web.*/sha256")
	if err != nil {
		return err
	}
	var loaded []string
	for _, file := range sums {
		sum, err := os.ReadFile(file)
		if err == nil {
			loaded = append(loaded, strings.TrimSpace(string(sum)))
		} else if !errors.Is(err, os.ErrNotExist) { // it is just replaced
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looks++
	n, err := strconv.Atoi(strings.TrimPrefix(c.Assignments[0].Policy, "p"))
	if err != nil || len(c.Assignments) != 1 || len(c.Profiles) != 1 || !w.good[n] || n > w.put || n < w.last {
		return fmt.Errorf("in force is %+v, after version %d, and when %d was there (%v)", c, w.last, w.put, err)
	}
	w.last, w.digests["sha256:"+brief.Digest] = n, n
	for _, sum := range loaded {
		if of, ok := w.content[sum]; !ok || of > w.put {
			return fmt.Errorf("the kernel's profile has the content %s, of version %d (%v), when %d was there", sum, of, ok, w.put)
		}
	}
	return nil
}

// watchVersions draws the faults of versions 0 to changes+1, of the first ones of configFaults, and compiles the versions without one. The
// first and the last have none. Of the two before the last, the second has one.
func watchVersions(t *testing.T, changes, faults int) *configWatch {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := &configWatch{good: map[int]bool{}, content: map[string]int{}, digests: map[string]int{}}
	for n := range changes + 2 {
		fault := noFault
		if n > 0 && n < changes-1 && random.IntN(10) < 6 || n == changes {
			fault = random.IntN(faults)
		}
		w.faults = append(w.faults, fault)
	}
	features, err := profile.ReadFeatures(kernel.New().Features())
	if err != nil {
		t.Fatal(err)
	}
	compiler, err := profile.NewCompiler(features)
	if err != nil {
		t.Fatal(err)
	}
	for n, fault := range w.faults {
		if fault != noFault {
			continue
		}
		b, err := compiler.Compile(t.Context(), "web", profile.Enforce, "web", []byte(configFiles(n, fault)["web"]))
		if err != nil {
			t.Fatal(err)
		}
		w.good[n], w.content[hex.EncodeToString(b.Profiles[0].SHA256[:])] = true, n
	}
	if len(w.content) != len(w.good) {
		t.Fatal("versions have the same content")
	}
	return w
}

// files returns the files of a version that is put next.
func (w *configWatch) files(n int) map[string]string {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.put = n
	return configFiles(n, w.faults[n])
}

// begin begins to look, and returns what ends that.
func (w *configWatch) begin() (end func()) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	all.Go(func() { w.until(stop) })
	return func() { close(stop); all.Wait() }
}

// until looks until it is told to stop, or sees what must not be.
func (w *configWatch) until(stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		if err := w.look(); err != nil {
			w.mu.Lock()
			w.err = err
			w.mu.Unlock()
			return
		}
	}
}

// is returns a condition: this version is in force. It fails the test where something was seen that must not be.
func (w *configWatch) is(t *testing.T, n int) func() bool {
	return func() bool {
		t.Helper()
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.err != nil {
			t.Fatal(w.err)
		}
		return w.last == n
	}
}

// digest returns the digest of a version that was in force.
func (w *configWatch) digest(n int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for digest, of := range w.digests {
		if of == n {
			return digest
		}
	}
	return "none"
}
