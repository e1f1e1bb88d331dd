package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// want returns the profile that a blob defines, as an applied policy asks for it.
func want(tb testing.TB, blob []byte) kernel.Profile {
	tb.Helper()
	parsed, err := profile.Parse(blob)
	if err != nil {
		tb.Fatal(err)
	}
	return kernel.Profile{
		Name:     parsed.Profiles[0].Name,
		Compiled: parsed.Profiles,
		Blob:     func() ([]byte, error) { return blob, nil },
	}
}

// ensure is Ensure of one profile that must succeed.
func ensure(tb testing.TB, k *kernel.Kernel, p kernel.Profile) kernel.Loaded {
	tb.Helper()
	loaded, err := k.Ensure(context.Background(), []kernel.Profile{p})
	if err != nil {
		tb.Fatal(err)
	}
	if len(loaded) != 1 || loaded[0].Name != p.Name {
		tb.Fatalf("asked for %q, got %+v", p.Name, loaded)
	}
	return loaded[0]
}

// refused is Ensure of one profile that must fail, saying words.
func refused(tb testing.TB, k *kernel.Kernel, p kernel.Profile, words ...string) error {
	tb.Helper()
	loaded, err := k.Ensure(context.Background(), []kernel.Profile{p})
	if err == nil {
		tb.Fatalf("no error, but %+v", loaded)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			tb.Errorf("the error does not say %q: %v", word, err)
		}
	}
	return err
}

func TestMissingProfileIsLoadedOnceAndThenVerified(t *testing.T) {
	m := kerneltest.New(t)
	p := want(t, kerneltest.Blob("1", "web", "web//kid", "web//kid//deep"))
	first := ensure(t, m.Kernel(), p)
	if first.Done != kernel.Added || first.Warning != "" {
		t.Errorf("first: %+v", first)
	}
	path, _ := m.Path("web")
	if first.Dir != filepath.Base(path) {
		t.Errorf("Dir is %q, the kernel made %s", first.Dir, path)
	}
	if again := ensure(t, m.Kernel(), p); again.Done != kernel.Verified || again.Dir != first.Dir {
		t.Errorf("again: %+v", again)
	}
	if n := m.Writes(t); n != 1 {
		t.Errorf("%d writes to .replace, want 1", n)
	}
}

func TestUnchangedKernelIsNotLookedAt(t *testing.T) {
	m := kerneltest.New(t)
	p := want(t, kerneltest.Blob("1", "web", "web//kid"))
	p.Blob = nil
	m.Load(t, kerneltest.Blob("1", "web", "web//kid"))
	first := ensure(t, m.Kernel(), p)

	// Only the revision, the boot id, the global mode and the verdict stay.
	for _, name := range []string{"fs/policy/profiles", "fs/policy/raw_data", "fs/.replace", "fs/features", "module/enabled",
		"module/lock_policy", "module/hash_policy"} {
		if err := os.RemoveAll(filepath.Join(m.Dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if again := ensure(t, m.Kernel(), p); again != first {
		t.Errorf("first %+v, then %+v", first, again)
	}
	// The same state with another revision needs what is gone: the test can fail.
	m.Write(t, "fs/policy/revision", "77\n")
	refused(t, m.Kernel(), p)
}

func TestVerdictHoldsForOneBootRevisionAndContent(t *testing.T) {
	for name, change := range map[string]func(m kerneltest.Machine, p *kernel.Profile){
		"another boot":     func(m kerneltest.Machine, _ *kernel.Profile) { m.Write(t, "boot_id", "another\n") },
		"another revision": func(m kerneltest.Machine, _ *kernel.Profile) { m.Write(t, "fs/policy/revision", "9\n") },
		"another content":  func(_ kerneltest.Machine, p *kernel.Profile) { *p = want(t, kerneltest.Blob("2", "web")) },
		"another child": func(_ kerneltest.Machine, p *kernel.Profile) {
			*p = want(t, kerneltest.Blob("1", "web", "web//kid"))
		},
		"a verdict of another format": func(m kerneltest.Machine, _ *kernel.Profile) {
			files, _ := filepath.Glob(filepath.Join(m.Dir, "state/verdict.*"))
			for _, f := range files {
				text, _ := os.ReadFile(f)
				os.WriteFile(f, []byte(strings.Replace(string(text), "verdict 2", "verdict 1", 1)), 0o600)
			}
		},
		"a verdict cut short": func(m kerneltest.Machine, _ *kernel.Profile) {
			files, _ := filepath.Glob(filepath.Join(m.Dir, "state/verdict.*"))
			for _, f := range files {
				text, _ := os.ReadFile(f)
				os.WriteFile(f, text[:len(text)-1], 0o600)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t)
			p := want(t, kerneltest.Blob("1", "web"))
			ensure(t, m.Kernel(), p)
			change(m, &p)
			p.OnDrift = profile.RefuseDrift

			// What the kernel has is made to differ: only a look at it can tell.
			path, _ := m.Path("web")
			if err := os.WriteFile(path+"/sha256", []byte(strings.Repeat("0", 64)+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := refused(t, m.Kernel(), p); !errors.Is(err, kernel.ErrDrift) {
				t.Error(err)
			}
		})
	}
}

func TestRevisionMovedAndContentIsTheSame(t *testing.T) {
	m := kerneltest.New(t)
	p := want(t, kerneltest.Blob("1", "web"))
	first := ensure(t, m.Kernel(), p)
	m.Load(t, kerneltest.Blob("1", "other"))
	if again := ensure(t, m.Kernel(), p); again != (kernel.Loaded{Name: "web", Dir: first.Dir, Since: first.Since}) {
		t.Errorf("%+v", again)
	}
	// And that was kept: with the profiles gone it still holds.
	if err := os.RemoveAll(filepath.Join(m.Dir, "fs/policy/profiles")); err != nil {
		t.Fatal(err)
	}
	ensure(t, m.Kernel(), p)
}

func TestKernelWithSHA1(t *testing.T) {
	m := kerneltest.New(t)
	p := want(t, kerneltest.Blob("1", "web", "web//kid"))
	m.Load(t, kerneltest.Blob("1", "web", "web//kid"))
	for i, name := range []string{"web", "web//kid"} {
		path, _ := m.Path(name)
		os.Remove(path + "/sha256")
		if err := os.WriteFile(path+"/sha1", fmt.Appendf(nil, "%x\n", p.Compiled[i].SHA1), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if found, err := m.Kernel().Check(p); err != nil || found.Status != kernel.Matches {
		t.Errorf("%+v, %v", found, err)
	}
	p.Compiled[1].SHA1[0]++
	found, err := m.Kernel().Check(p)
	drifted := found.Status == kernel.Drifted && found.Part == "web//kid" && strings.HasPrefix(found.Have, "sha1:")
	if err != nil || !drifted {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestDrift(t *testing.T) {
	ours := kerneltest.Blob("1", "web", "web//kid")
	// A profile with a main profile that is ours, and a child that is not.
	child := append(kerneltest.Blob("1", "web"), kerneltest.Blob("2", "web//kid")...)
	for _, test := range []struct {
		name    string
		onDrift profile.Drift
		oursWas bool // loaded before by us
		theirs  []byte
		replace bool
		part    string
	}{
		{"ours loosened", profile.ReplaceOwn, true, kerneltest.Blob("2", "web", "web//kid"), true, ""},
		{"a child of ours loosened", profile.ReplaceOwn, true, child, true, ""},
		{"somebody else's", profile.ReplaceOwn, false, kerneltest.Blob("2", "web"), false, `profile web`},
		{"somebody else's child", profile.ReplaceOwn, false, child, false, `"web//kid"`},
		{"somebody else's without our child", profile.ReplaceOwn, false, kerneltest.Blob("1", "web"), false, `"web//kid"`},
		{"somebody else's, any to be replaced", profile.ReplaceAny, false, child, true, ""},
		{"ours, none to be replaced", profile.RefuseDrift, true, child, false, `"web//kid"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := kerneltest.New(t)
			p := want(t, ours)
			p.OnDrift = test.onDrift
			if test.oursWas {
				ensure(t, m.Kernel(), p)
			}
			m.Load(t, test.theirs)
			if test.replace {
				if got := ensure(t, m.Kernel(), p); got.Done != kernel.Replaced {
					t.Errorf("%+v", got)
				}
				if found, err := m.Kernel().Check(p); err != nil || found.Status != kernel.Matches {
					t.Errorf("%+v, %v", found, err)
				}
				return
			}
			before := m.Writes(t)
			err := refused(t, m.Kernel(), p, test.part, "onDrift", "sha256:")
			if !errors.Is(err, kernel.ErrDrift) {
				t.Errorf("no ErrDrift: %v", err)
			}
			if m.Writes(t) != before {
				t.Error("something was loaded")
			}
		})
	}
}

// A new policy's content in place of an earlier one's is planned. It is not if somebody else brought the earlier one back.
func TestReplacementOfAnEarlierPolicysContentIsPlanned(t *testing.T) {
	first, second := kerneltest.Blob("1", "web", "web//kid"), kerneltest.Blob("2", "web", "web//kid")
	child := append(kerneltest.Blob("1", "web"), kerneltest.Blob("3", "web//kid")...)
	for _, test := range []struct {
		name   string
		before [][]byte // what is loaded after ours, before the second policy
		second bool     // the second policy's content was in force before
		want   bool
	}{
		{"the earlier policy's", nil, false, true},
		{"somebody else's", [][]byte{kerneltest.Blob("3", "web")}, false, false},
		{"the earlier policy's, with another child", [][]byte{child}, false, false},
		{"the earlier policy's, brought back", [][]byte{first}, true, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := kerneltest.New(t)
			was, p := want(t, first), want(t, second)
			p.Earlier = func() [][]profile.Compiled {
				return [][]profile.Compiled{want(t, kerneltest.Blob("0", "web")).Compiled, was.Compiled}
			}
			ensure(t, m.Kernel(), was)
			if test.second {
				ensure(t, m.Kernel(), p)
			}
			for _, b := range test.before {
				m.Load(t, b)
			}
			if got := ensure(t, m.Kernel(), p); got.Done != kernel.Replaced || got.Planned != test.want {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestAProfileFoundLoadedIsNotOurs(t *testing.T) {
	m := kerneltest.New(t)
	p := want(t, kerneltest.Blob("1", "web"))
	m.Load(t, kerneltest.Blob("1", "web"))
	ensure(t, m.Kernel(), p)
	m.Load(t, kerneltest.Blob("2", "web"))
	refused(t, m.Kernel(), p, "not by oci-apparmor")
}

func TestOwnershipEndsWithTheBoot(t *testing.T) {
	m := kerneltest.New(t)
	p := want(t, kerneltest.Blob("1", "web"))
	ensure(t, m.Kernel(), p)
	m.Load(t, kerneltest.Blob("2", "web"))
	m.Write(t, "boot_id", "another\n")
	refused(t, m.Kernel(), p, "not by oci-apparmor")
}

func TestOwnershipEndsWithTheProfile(t *testing.T) {
	m := kerneltest.New(t)
	p := want(t, kerneltest.Blob("1", "web"))
	ensure(t, m.Kernel(), p)
	m.Remove(t, "web")
	m.Load(t, kerneltest.Blob("2", "web")) // it is somebody else's now
	refused(t, m.Kernel(), p, "not by oci-apparmor")
}

// A process enters a hat without any rule that allows it, and replacing a profile leaves its hats.
func TestChildThatIsNotOursIsDrift(t *testing.T) {
	for name, loaded := range map[string][]string{
		"beside ours":      {"web", "web//kid", "web//evil"},
		"below ours":       {"web", "web//kid", "web//kid//evil"},
		"named as null-":   {"web", "web//kid", "web//null-evil"},
		"beside the drift": {"web", "web//evil"},
	} {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t)
			p := want(t, kerneltest.Blob("1", "web", "web//kid"))
			p.OnDrift = profile.ReplaceAny
			content := "1"
			if name == "beside the drift" {
				content = "2"
			}
			m.Load(t, kerneltest.Blob(content, loaded...))
			err := refused(t, m.Kernel(), p, "profile unload "+loaded[len(loaded)-1], "change_hat")
			done := kernel.Verified
			if content != "1" {
				done = kernel.Replaced
			}
			var left *kernel.LeftChildError
			if !errors.As(err, &left) || left.Child != loaded[len(loaded)-1] || left.Done != done || !errors.Is(err, kernel.ErrDrift) {
				t.Errorf("%#v", err)
			}
			m.Remove(t, loaded[len(loaded)-1])
			ensure(t, m.Kernel(), p)
		})
	}
	t.Run("complain mode makes its own", func(t *testing.T) {
		m := kerneltest.New(t)
		p := want(t, kerneltest.Blob("1", "web"))
		p.Compiled[0].Mode = profile.Complain
		m.Load(t, kerneltest.Blob("1", "web", "web//null-x"))
		ensure(t, m.Kernel(), p)
		if m.Writes(t) != 0 {
			t.Error("loaded what was there")
		}
	})
}

func TestRemovedProfileIsLoadedIntoAnotherDirectory(t *testing.T) {
	m := kerneltest.New(t)
	p := want(t, kerneltest.Blob("1", "web"))
	first := ensure(t, m.Kernel(), p)
	same := func(want bool) {
		t.Helper()
		if got, err := m.Kernel().Same(first); err != nil || got != want {
			t.Errorf("Same: %v, %v; want %v", got, err, want)
		}
	}
	same(true)
	m.Load(t, kerneltest.Blob("2", "web"))
	same(true)
	m.Remove(t, "web")
	same(false)
	second := ensure(t, m.Kernel(), p)
	same(false)
	if second.Done != kernel.Added || second.Dir == first.Dir {
		t.Errorf("first %+v, then %+v", first, second)
	}
}

func TestRemovedAndLoadedBySomebodyElse(t *testing.T) {
	m := kerneltest.New(t)
	p := want(t, kerneltest.Blob("1", "web"))
	m.Load(t, kerneltest.Blob("1", "web"))
	first := ensure(t, m.Kernel(), p)
	m.Remove(t, "web")
	m.Load(t, kerneltest.Blob("1", "web"))
	second := ensure(t, m.Kernel(), p)
	if _, err := os.Stat(filepath.Join(m.Dir, "state/kernel.lock")); err == nil {
		t.Error("took the lock with nothing to load")
	}
	if second.Done != kernel.Verified || second.Dir == first.Dir || second.Dir == "" {
		t.Errorf("first %+v, then %+v", first, second)
	}
}

func TestSameRefusesAPath(t *testing.T) {
	m := kerneltest.New(t)
	for _, dir := range []string{"", "web", "../web.1", "web.1/..", "web.", "web.1x", "other.1"} {
		if same, err := m.Kernel().Same(kernel.Loaded{Name: "web", Dir: dir}); err == nil || same {
			t.Errorf("%q: %v, %v", dir, same, err)
		}
	}
}

func TestNamesThatMangleAlike(t *testing.T) {
	m := kerneltest.New(t)
	plus, plain := want(t, kerneltest.Blob("1", "a+b")), want(t, kerneltest.Blob("2", "ab"))
	m.Load(t, kerneltest.Blob("3", "ab.1"))
	first := ensure(t, m.Kernel(), plus)
	second := ensure(t, m.Kernel(), plain)
	if first.Done != kernel.Added || second.Done != kernel.Added || first.Dir == second.Dir {
		t.Errorf("%+v, %+v", first, second)
	}
	m.Load(t, kerneltest.Blob("1", "moves the revision"))
	for _, p := range []kernel.Profile{plus, plain} {
		if got := ensure(t, m.Kernel(), p); got.Done != kernel.Verified {
			t.Errorf("%+v", got)
		}
	}
}

func TestSeveralProfilesInOneCall(t *testing.T) {
	m := kerneltest.New(t)
	base, web := want(t, kerneltest.Blob("1", "base")), want(t, kerneltest.Blob("1", "web"))
	m.Load(t, kerneltest.Blob("1", "base"))
	loaded, err := m.Kernel().Ensure(context.Background(), []kernel.Profile{base, web, base})
	if err != nil {
		t.Fatal(err)
	}
	if loaded[0].Name != "base" || loaded[0].Done != kernel.Verified || loaded[1].Name != "web" ||
		loaded[1].Done != kernel.Added || loaded[2].Dir != loaded[0].Dir {
		t.Errorf("%+v", loaded)
	}
}

func TestReplacementRightBehindOurLoadIsSeen(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	p := want(t, kerneltest.Blob("1", "web"))
	k.WriteReplace = func(blob []byte) error {
		return errors.Join(m.Replace(blob), m.Replace(kerneltest.Blob("2", "web")))
	}
	refused(t, k, p, "somebody else")
	k.WriteReplace = m.Replace
	if got := ensure(t, k, p); got.Done != kernel.Replaced {
		t.Errorf("%+v", got)
	}
}

// What somebody else changes while we check must not be vouched for: the verdict has the revision from before.
func TestVerdictHasTheRevisionFromBeforeTheCheck(t *testing.T) {
	m := kerneltest.New(t)
	p := want(t, kerneltest.Blob("1", "web"))
	m.Load(t, kerneltest.Blob("1", "web"))

	// The kernel's hash comes through a fifo, so that its reader waits while the kernel changes.
	path, _ := m.Path("web")
	sum, err := os.ReadFile(path + "/sha256")
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(path + "/sha256")
	if err := unix.Mkfifo(path+"/sha256", 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() {
		f, err := os.OpenFile(path+"/sha256", os.O_WRONLY, 0) // until the check reads
		if err != nil {
			done <- err
			return
		}
		err = os.WriteFile(filepath.Join(m.Dir, "fs/policy/revision"), []byte("99\n"), 0o644)
		_, err2 := f.Write(sum)
		done <- errors.Join(err, err2, f.Close())
	}()
	ensure(t, m.Kernel(), p)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	os.Remove(path + "/sha256")
	if err := os.WriteFile(path+"/sha256", []byte(strings.Repeat("0", 64)+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	refused(t, m.Kernel(), p, "sha256:000")
}

func TestFailedLoadLeavesNoVerdictAndNoOwnership(t *testing.T) {
	for name, test := range map[string]struct {
		errno unix.Errno
		words string
	}{
		"compiled for another kernel": {unix.EPROTO, "policy apply"},
		"unknown format":              {unix.EPROTONOSUPPORT, "version"},
		"no memory":                   {unix.ENOMEM, "no room"},
		"something else":              {unix.EIO, "did not take"},
		"name too long":               {unix.ENAMETOOLONG, "apparmor_parser -R"},
	} {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t)
			k := m.Kernel()
			k.SetRights(true, true)
			k.WriteReplace = func([]byte) error { return test.errno }
			p := want(t, kerneltest.Blob("1", "web"))
			if err := refused(t, k, p, `profile web`, test.words); !errors.Is(err, test.errno) {
				t.Errorf("%v is no %v", err, test.errno)
			}
			for _, kind := range []string{"verdict", "owned"} {
				if files, _ := filepath.Glob(filepath.Join(m.Dir, "state", kind+".*")); len(files) > 0 {
					t.Errorf("left: %q", files)
				}
			}
			m.Load(t, kerneltest.Blob("2", "web"))
			refused(t, m.Kernel(), p, "not by oci-apparmor")
		})
	}
}

func TestLoadsNothingThatThePolicyDoesNotMean(t *testing.T) {
	good := kerneltest.Blob("1", "web")
	for name, blob := range map[string]func() ([]byte, error){
		"another content":  func() ([]byte, error) { return kerneltest.Blob("2", "web"), nil },
		"another name":     func() ([]byte, error) { return kerneltest.Blob("1", "other"), nil },
		"one more profile": func() ([]byte, error) { return kerneltest.Blob("1", "web", "web//kid"), nil },
		"a name of 201":    func() ([]byte, error) { return kerneltest.Blob("1", strings.Repeat("n", 201)), nil },
		"no profile":       func() ([]byte, error) { return nil, nil },
		"an error":         func() ([]byte, error) { return good, os.ErrNotExist },
		"nothing":          nil,
	} {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t)
			p := want(t, good)
			p.Blob = blob
			refused(t, m.Kernel(), p)
			if m.Writes(t) != 0 {
				t.Error("something was loaded")
			}
		})
	}
}

func TestRefusesProfilesThatAreNone(t *testing.T) {
	long := strings.Repeat("n", 201)
	for name, p := range map[string]kernel.Profile{
		"nothing compiled": {Name: "web"},
		"other compiled":   {Name: "web", Compiled: []profile.Compiled{{Name: "other"}}},
		"no child of it":   {Name: "web", Compiled: []profile.Compiled{{Name: "web"}, {Name: "webb//kid"}}},
		"child of nothing": {Name: "web", Compiled: []profile.Compiled{{Name: "web"}, {Name: "web//"}}},
		"child on a path":  {Name: "web", Compiled: []profile.Compiled{{Name: "web"}, {Name: "web//../../x"}}},
		"unconfined":       {Name: "u", Compiled: []profile.Compiled{{Name: "u"}}},
		"201 bytes":        {Name: long, Compiled: []profile.Compiled{{Name: long}}},
	} {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t)
			m.Load(t, kerneltest.Blob("1", "web"))
			refused(t, m.Kernel(), p)
			if _, err := m.Kernel().Check(p); err == nil && name != "child on a path" {
				t.Error("Check takes it")
			}
		})
	}
}

func TestLoadRefusesLongNames(t *testing.T) {
	m := kerneltest.New(t)
	for _, name := range []string{strings.Repeat("n", 201), strings.Repeat("n", 300), "web//" + strings.Repeat("n", 201)} {
		if err := m.Kernel().Load(kerneltest.Blob("1", name)); err == nil {
			t.Errorf("a name of %d bytes was loaded", len(name))
		}
	}
	if m.Writes(t) != 0 {
		t.Error("something reached the kernel")
	}
	if err := m.Kernel().Load(kerneltest.Blob("1", strings.Repeat("n", 200))); err != nil {
		t.Error(err)
	}
}

func TestLoadIsOneWriteToReplace(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	k.WriteReplace = nil
	blob := kerneltest.Blob("1", "web")
	if err := k.Load(blob); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(k.FS, ".replace")); err != nil || string(got) != string(blob) {
		t.Errorf(".replace has %q, %v", got, err)
	}
	k.SetRights(true, true)
	os.Remove(filepath.Join(k.FS, ".replace"))
	if err := k.Load(blob); !errors.Is(err, unix.ENOENT) {
		t.Errorf("without .replace: %v", err)
	}
}

func TestHostileKernelFiles(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"huge name":             {"name": strings.Repeat("web\n", 1<<18)},
		"name with more behind": {"name": "web\nweb\n"},
		"name without newline":  {"name": "web"},
		"name with NUL":         {"name": "web\x00\n"},
		"empty name":            {"name": ""},
		"huge hash":             {"sha256": strings.Repeat("0", 1<<20)},
		"hash with NUL":         {"sha256": "\x00" + strings.Repeat("0", 63) + "\n"},
		"hash of no length":     {"sha256": ""},
		"hash cut":              {"sha256": strings.Repeat("a", 63) + "\n"},
		"control characters":    {"sha256": "\x1b[31m\n"},
	} {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t)
			p := want(t, kerneltest.Blob("1", "web"))
			m.Load(t, kerneltest.Blob("1", "web"))
			path, _ := m.Path("web")
			for file, text := range files {
				if err := os.WriteFile(filepath.Join(path, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			found, err := m.Kernel().Check(p)
			if err != nil || found.Status == kernel.Matches {
				t.Errorf("%+v, %v", found, err)
			}
			if len(found.Have) > 80 || strings.ContainsFunc(found.Have, func(r rune) bool { return r < ' ' }) {
				t.Errorf("shows %q", found.Have)
			}
		})
	}
}

func TestRevision(t *testing.T) {
	for text, want := range map[string]int64{"0\n": 0, "17\n": 17, "9223372036854775807\n": 1<<63 - 1} {
		m := kerneltest.New(t)
		m.Write(t, "fs/policy/revision", text)
		if got, err := m.Kernel().Revision(); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{
		"", "\n", "x\n", "-1\n", "1\n2\n", "1\x00", strings.Repeat("1", 1<<16), "9223372036854775808\n",
	} {
		m := kerneltest.New(t)
		m.Write(t, "fs/policy/revision", text)
		if got, err := m.Kernel().Revision(); err == nil {
			t.Errorf("%.40q: %d", text, got)
		}
	}
}

// The kernel answers EAGAIN while no policy was ever loaded; a fifo with a writer and nothing in it does, too.
func TestRevisionDoesNotWait(t *testing.T) {
	m := kerneltest.New(t)
	path := filepath.Join(m.Dir, "fs/policy/revision")
	os.Remove(path)
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	if got, err := m.Kernel().Revision(); err != nil || got != 0 {
		t.Errorf("%d, %v", got, err)
	}
}

// Processes that start at the same moment are this test's own binary.
func TestProcessesLoadOnce(t *testing.T) {
	const env = "KERNEL_TEST_MACHINE"
	blob := kerneltest.Blob("1", "web", "web//kid")
	if dir := os.Getenv(env); dir != "" {
		m := kerneltest.Machine{Dir: dir}
		k := m.Kernel()
		k.WriteReplace = func(blob []byte) error {
			time.Sleep(20 * time.Millisecond) // so that the others come while it lasts
			return m.Replace(blob)
		}
		ensure(t, k, want(t, blob))
		return
	}
	m := kerneltest.New(t)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			cmd := exec.Command(os.Args[0], "-test.run=^TestProcessesLoadOnce$")
			cmd.Env = append(os.Environ(), env+"="+m.Dir)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	all.Wait()
	if n := m.Writes(t); n != 1 {
		t.Errorf("%d loads, want 1", n)
	}
}

func TestGoroutinesLoadOnce(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	p := want(t, kerneltest.Blob("1", "web"))
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := k.Ensure(context.Background(), []kernel.Profile{p}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := m.Writes(t); n != 1 {
		t.Errorf("%d loads, want 1", n)
	}
}

func TestLockIsWaitedForNotForEver(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	p := want(t, kerneltest.Blob("1", "web"))
	if err := os.Mkdir(k.State, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(k.State, "kernel.lock")
	holder, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	fd := int(holder.Fd())
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}

	k.SetLockWait(30 * time.Millisecond)
	if err := refused(t, k, p, path, "lslocks"); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
	k.SetLockWait(time.Minute)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := k.Ensure(ctx, []kernel.Profile{p}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if m.Writes(t) != 0 {
		t.Error("loaded without the lock")
	}
	// Who has nothing to load does not wait.
	m.Load(t, kerneltest.Blob("1", "web"))
	ensure(t, k, p)
	m.Remove(t, "web")
	time.AfterFunc(30*time.Millisecond, func() { unix.Flock(fd, unix.LOCK_UN) })
	if got := ensure(t, k, p); got.Done != kernel.Added {
		t.Errorf("%+v", got)
	}
}

func TestStateDirectoryOfSomebodyElseIsRefused(t *testing.T) {
	attacks := map[string]func(state string) error{
		"symbolic link": func(state string) error {
			return errors.Join(os.Mkdir(state+".real", 0o700), os.Symlink(state+".real", state))
		},
		"dangling link":      func(state string) error { return os.Symlink(state+".real", state) },
		"file":               func(state string) error { return os.WriteFile(state, nil, 0o600) },
		"writable by group":  func(state string) error { return errors.Join(os.Mkdir(state, 0o700), os.Chmod(state, 0o770)) },
		"writable by others": func(state string) error { return errors.Join(os.Mkdir(state, 0o700), os.Chmod(state, 0o702)) },
		"owned by another": func(state string) error {
			return errors.Join(os.Mkdir(state, 0o700), os.Chown(state, 12345, -1))
		},
	}
	if os.Geteuid() != 0 {
		delete(attacks, "owned by another") // only root can give a directory away
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			m := kerneltest.New(t)
			k := m.Kernel()
			p := want(t, kerneltest.Blob("1", "web"))
			m.Load(t, kerneltest.Blob("1", "web"))
			if err := attack(k.State); err != nil {
				t.Fatal(err)
			}
			refused(t, k, p, k.State, "remove it")
			entries, _ := os.ReadDir(k.State + ".real")
			if len(entries) > 0 {
				t.Errorf("wrote into it: %v", entries)
			}
		})
	}
}

func TestStateIsPrivateAndLeavesNoTemporaryFiles(t *testing.T) {
	m := kerneltest.New(t)
	k := m.Kernel()
	for i := range 3 {
		p := want(t, kerneltest.Blob(fmt.Sprint(i), "web"))
		ensure(t, k, p)
	}
	if st, err := os.Stat(k.State); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	entries, err := os.ReadDir(k.State)
	if err != nil || len(entries) != 4 { // lock, verdict, record of ownership, the last replacement
		t.Errorf("%v, %v", entries, err)
	}
	for _, e := range entries {
		if st, err := e.Info(); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), st.Mode(), err)
		}
	}
}

// A rootless engine's process can read the kernel's hashes, and neither keep anything nor load.
func TestWithoutAStateDirectoryContentIsStillVerified(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write everywhere")
	}
	m := kerneltest.New(t)
	k := m.Kernel()
	p := want(t, kerneltest.Blob("1", "web"))
	parent := filepath.Join(m.Dir, "run")
	if err := os.Mkdir(parent, 0o500); err != nil {
		t.Fatal(err)
	}
	k.State = filepath.Join(parent, "state")
	var notReady *kernel.NotReadyError
	if err := refused(t, k, p); !errors.As(err, &notReady) || notReady.Readiness != kernel.NoRight {
		t.Error(err)
	}
	m.Load(t, kerneltest.Blob("1", "web"))
	if got := ensure(t, k, p); got.Done != kernel.Verified {
		t.Errorf("%+v", got)
	}
}
