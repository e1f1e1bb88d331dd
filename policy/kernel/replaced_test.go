package kernel_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

var (
	never   = kernel.Steps{Exact: true}
	once    = kernel.Steps{Least: 1, Exact: true}
	atLeast = kernel.Steps{Least: 1}
	often   = kernel.Steps{Least: 2}
)

func replaced(t *testing.T, k *kernel.Kernel, l kernel.Loaded, want kernel.Steps) {
	t.Helper()
	if have, err := k.Replaced(l, time.Time{}); err != nil || have != want {
		t.Errorf("replaced %+v, %v, want %+v", have, err, want)
	}
}

func TestReplacedIsCounted(t *testing.T) {
	loose, ours, newer := kerneltest.Blob("loose", "web"), kerneltest.Blob("1", "web"), kerneltest.Blob("2", "web")
	for name, test := range map[string]struct {
		then func(t *testing.T, m kerneltest.Machine)
		want kernel.Steps
	}{
		"not": {func(t *testing.T, m kerneltest.Machine) { ensure(t, m.Kernel(), want(t, ours)) }, never},
		"other profiles were": {func(t *testing.T, m kerneltest.Machine) {
			m.Load(t, kerneltest.Blob("1", "other"))
			m.Load(t, kerneltest.Blob("2", "other"))
			ensure(t, m.Kernel(), want(t, ours))
		}, never},
		"the same was loaded again": {func(t *testing.T, m kerneltest.Machine) {
			m.Load(t, ours)
			ensure(t, m.Kernel(), want(t, ours))
		}, never},
		"once by us": {func(t *testing.T, m kerneltest.Machine) { ensure(t, m.Kernel(), want(t, newer)) }, once},
		"twice by us": {func(t *testing.T, m kerneltest.Machine) {
			ensure(t, m.Kernel(), want(t, newer))
			ensure(t, m.Kernel(), want(t, ours))
		}, often},
		"by somebody else": {func(t *testing.T, m kerneltest.Machine) { m.Load(t, loose) }, atLeast},
		"by somebody else, twice, and it is ours again": {func(t *testing.T, m kerneltest.Machine) {
			m.Load(t, loose)
			m.Load(t, ours)
			ensure(t, m.Kernel(), want(t, ours))
		}, atLeast},
		"by somebody else, and put right by us": {func(t *testing.T, m kerneltest.Machine) {
			m.Load(t, loose)
			ensure(t, m.Kernel(), want(t, ours))
		}, often},
		"by us, and by somebody else": {func(t *testing.T, m kerneltest.Machine) {
			ensure(t, m.Kernel(), want(t, newer))
			m.Load(t, loose)
		}, atLeast},
	} {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t)
			l := ensure(t, m.Kernel(), want(t, ours))
			if l.Since == 0 {
				t.Fatalf("%+v", l)
			}
			test.then(t, m)
			replaced(t, m.Kernel(), l, test.want)
		})
	}
}

// Somebody else replaces a profile in the moment in which we do: then nobody knows how often it was.
func TestReplacedTogetherIsNotOnce(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	l := ensure(t, k, want(t, kerneltest.Blob("1", "web")))
	k.WriteReplace = func(blob []byte) error {
		m.Load(t, kerneltest.Blob("loose", "web"))
		return m.Replace(blob)
	}
	ensure(t, k, want(t, kerneltest.Blob("2", "web")))
	replaced(t, k, l, atLeast)
}

// Where our replacement is not known for certain, it does not count for one.
func TestReplacedWithoutWhatWasWrittenDown(t *testing.T) {
	for name, spoil := range map[string]func(m kerneltest.Machine, path, text string){
		"lost":        func(_ kerneltest.Machine, path, _ string) { os.Remove(path) },
		"cut short":   func(_ kerneltest.Machine, path, text string) { os.WriteFile(path, []byte(text[:len(text)-2]), 0o600) },
		"in parts":    func(_ kerneltest.Machine, path, text string) { os.WriteFile(path, []byte(text+text), 0o600) },
		"of a device": func(_ kerneltest.Machine, path, _ string) { os.Remove(path); os.Symlink("/dev/zero", path) },
		"of another boot": func(m kerneltest.Machine, _, _ string) {
			m.Write(t, "boot_id", "00000000-0000-0000-0000-000000000000\n")
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t)
			l := ensure(t, m.Kernel(), want(t, kerneltest.Blob("1", "web")))
			ensure(t, m.Kernel(), want(t, kerneltest.Blob("2", "web")))
			replaced(t, m.Kernel(), l, once)
			files, _ := filepath.Glob(filepath.Join(m.Dir, "state/replaced.*"))
			if len(files) != 1 {
				t.Fatalf("files %q", files)
			}
			text, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			spoil(m, files[0], string(text))
			replaced(t, m.Kernel(), l, atLeast)
		})
	}
}

// A verdict that is kept knows the date, too: the hundredth start is as good as the first.
func TestSinceComesWithTheVerdict(t *testing.T) {
	m := kerneltest.New(t)
	p := want(t, kerneltest.Blob("1", "web"))
	first := ensure(t, m.Kernel(), p)
	if err := os.RemoveAll(filepath.Join(m.Dir, "fs/policy/profiles")); err != nil {
		t.Fatal(err)
	}
	if again := ensure(t, m.Kernel(), p); again.Since != first.Since || first.Since == 0 {
		t.Errorf("%+v, and then %+v", first, again)
	}
}

func TestReplacedOfWhatIsNotThere(t *testing.T) {
	m := kerneltest.New(t)
	l := ensure(t, m.Kernel(), want(t, kerneltest.Blob("1", "web")))
	m.Remove(t, "web")
	for _, l := range []kernel.Loaded{l, {Name: "web"}, {Name: "web", Dir: "../web.1"}, {Name: "web", Dir: "other.1", Since: 1}} {
		if _, err := m.Kernel().Replaced(l, time.Now()); !errors.Is(err, kernel.ErrNotLoaded) {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

// Of a profile whose date nobody kept it counts since when it had been there for certain.
func TestReplacedSinceATime(t *testing.T) {
	m := kerneltest.New(t)
	m.Load(t, kerneltest.Attached("1", "crun", "/usr/bin/crun"))
	path, _ := m.Path("crun")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	for after, want := range map[time.Duration]kernel.Steps{0: never, time.Hour: never, -time.Nanosecond: atLeast} {
		if have, err := m.Kernel().Replaced(kernel.Loaded{Name: "crun"}, info.ModTime().Add(after)); err != nil || have != want {
			t.Errorf("%v after: %+v, %v, want %+v", after, have, err, want)
		}
	}
}

func TestStepsAdd(t *testing.T) {
	for _, tc := range []struct{ a, b, want kernel.Steps }{
		{never, never, never}, {never, once, once}, {once, once, often}, {atLeast, never, atLeast}, {atLeast, once, often},
		{often, never, often}, {often, often, often},
	} {
		if have := tc.a.Add(tc.b); have != tc.want {
			t.Errorf("%+v and %+v: %+v", tc.a, tc.b, have)
		}
		if have := tc.b.Add(tc.a); have != tc.want {
			t.Errorf("%+v and %+v: %+v", tc.b, tc.a, have)
		}
	}
}

// A profile that is removed takes what is known of its replacements with it.
func TestRemoveForgetsReplacements(t *testing.T) {
	m := kerneltest.New(t)
	ensure(t, m.Kernel(), want(t, kerneltest.Blob("1", "web")))
	ensure(t, m.Kernel(), want(t, kerneltest.Blob("2", "web")))
	if err := m.Kernel().Remove(t.Context(), "web", func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if files, _ := filepath.Glob(filepath.Join(m.Dir, "state/replaced.*")); len(files) > 0 {
		t.Errorf("left: %q", files)
	}
}

// A name that is long or odd is written down like any other.
func TestReplacedOfLongNames(t *testing.T) {
	m := kerneltest.New(t)
	name := strings.Repeat("n", profile.MaxName)
	l := ensure(t, m.Kernel(), want(t, kerneltest.Blob("1", name)))
	ensure(t, m.Kernel(), want(t, kerneltest.Blob("2", name)))
	replaced(t, m.Kernel(), l, once)
}
