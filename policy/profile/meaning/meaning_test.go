package meaning_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// compile compiles a text with the machine's parser, for a kernel that has what the features of profile's tests say.
func compile(t testing.TB, text string) []byte {
	t.Helper()
	c := profiletest.Compiler(t, profiletest.Features())
	blob, err := c.CompileText(t.Context(), "text", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return blob.Data
}

func read(t testing.TB, data []byte, name string) *Profile {
	t.Helper()
	all, err := Read(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no profile %s", name)
	return nil
}

// blobs are compilations of testdata/web: by the machine's parser, with permissions in accept words, and by parser 4.1.8
// for kernels that take tables of permissions, in versions 2 and 3.
func blobs(t *testing.T, test func(t *testing.T, data []byte)) {
	text, err := os.ReadFile("testdata/web")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("words", func(t *testing.T) { test(t, compile(t, string(text))) })
	for _, version := range []int{2, 3} {
		t.Run(fmt.Sprintf("permissions %d", version), func(t *testing.T) {
			data, err := os.ReadFile(fmt.Sprintf("testdata/web.permissions%d", version))
			if err != nil {
				t.Fatal(err)
			}
			test(t, data)
		})
	}
}

// letters shows permissions as rules have them.
func letters(perms uint32) string {
	var b strings.Builder
	for i, c := range "xwra" {
		if perms&(1<<i) != 0 {
			b.WriteRune(c)
		}
	}
	for bit, c := range map[uint32]string{MayMmapExec: "m"} {
		if perms&bit != 0 {
			b.WriteString(c)
		}
	}
	return b.String()
}

func TestFile(t *testing.T) {
	blobs(t, func(t *testing.T, data []byte) {
		p := read(t, data, "web")
		for _, test := range []struct{ path, owner, other, audit, quiet string }{
			{"/srv/x", "r", "r", "", ""},
			{"/srv/", "", "", "", ""},
			{"/srv", "", "", "", ""},
			{"/srv/secret/x", "", "", "", "wra"},
			{"/srv/traps/x", "r", "r", "", ""},
			{"/home/me/", "wra", "", "", ""},
			{"/home/me/a/b", "wra", "", "", ""},
			{"/home/me", "", "", "", ""},
			{"/var/log/app", "a", "a", "a", ""},
			{"/var/log/app.7", "a", "a", "a", ""},
			{"/var/log/app.77", "", "", "", ""},
			{"/usr/bin/tool", "xm", "xm", "", ""},
			{"/usr/lib/a/b.so", "rm", "rm", "", ""},
			{"/", "", "", "", ""},
			{"", "", "", "", ""},
		} {
			owner, other := p.File(test.path)
			got := []string{letters(owner.Allow), letters(other.Allow), letters(owner.Audit & owner.Allow), letters(owner.Quiet &^ owner.Allow)}
			want := []string{test.owner, test.other, test.audit, test.quiet}
			// A "w" holds "a", and whether the bit is there is the parser's affair.
			for i := range got {
				if strings.Contains(got[i], "w") {
					got[i] = strings.TrimSuffix(got[i], "a")
				}
				if strings.Contains(want[i], "w") {
					want[i] = strings.TrimSuffix(want[i], "a")
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %q, want %q", test.path, got, want)
			}
		}
		if owner, _ := p.File("/usr/bin/other"); owner.XIndex&XTable == 0 || p.Names[owner.XIndex&XIndexMask] != "other" {
			t.Errorf("/usr/bin/other leads to %#x of %q", owner.XIndex, p.Names)
		}
		if owner, _ := p.File("/usr/bin/tool"); owner.XIndex&XInherit == 0 {
			t.Errorf("/usr/bin/tool leads to %#x", owner.XIndex)
		}
		if owner, _ := p.File("/srv/a\x00/srv/b"); owner.Allow&MayLink == 0 {
			t.Errorf("the link has %#x", owner.Allow)
		}
		if owner, _ := p.File("/srv/a\x00/srv/c"); owner.Allow&MayLink != 0 {
			t.Errorf("another link has %#x", owner.Allow)
		}
	})
}

func TestPeers(t *testing.T) {
	blobs(t, func(t *testing.T, data []byte) {
		p := read(t, data, "web")
		for _, test := range []struct {
			access, signal, peer string
			want                 bool
		}{
			{"receive", "kill", "unconfined", true},
			{"receive", "term", "unconfined", true},
			{"receive", "hup", "unconfined", false},
			{"send", "kill", "unconfined", false},
			{"send", "hup", "web", true},
			{"receive", "hup", "web", true},
			{"receive", "kill", "we", false},
			{"receive", "kill", "webx", false},
			{"send", "stop", "web", false},
			{"receive", "stop", "web", true},
			{"receive", "exists", "web", true},
			{"send", "rtmin+3", "web//&x", true},
			{"send", "rtmin+4", "web//&x", false},
			// Each part of a stack is allowed, and so is the whole.
			{"receive", "kill", "unconfined//&web", true},
			{"receive", "kill", "unconfined//&x", false},
			{"receive", "hup", "unconfined//&web", false},
		} {
			signal, ok := ParseSignal(test.signal)
			if !ok || signal.String() != test.signal {
				t.Fatalf("signal %s is %d, %s", test.signal, signal, signal)
			}
			request := uint32(MayWrite)
			if test.access == "receive" {
				request = MayRead
			}
			if got := p.Allowed(p.Signal(request, signal, test.peer), request); got != test.want {
				t.Errorf("signal (%s) set=%s peer=%s: %v", test.access, test.signal, test.peer, got)
			}
		}
		for _, test := range []struct {
			access uint32
			peer   string
			want   bool
		}{
			{MayRead, "web", true}, {MayCreate, "web", true}, {MayWrite, "web", false}, {MayAppend, "web", false},
			{MayWrite, "a", true}, {MayWrite, "b", true}, {MayWrite, "c", false}, {MayRead, "a", false},
			{MayWrite, "a//&b", true}, {MayWrite, "a//&c", false},
			{MayAppend, "unconfined", true}, {MayRead, "unconfined", false},
		} {
			if got := p.Allowed(p.Ptrace(test.access, test.peer), test.access); got != test.want {
				t.Errorf("ptrace %#x peer=%s: %v", test.access, test.peer, got)
			}
		}
	})
}

func TestCapability(t *testing.T) {
	blobs(t, func(t *testing.T, data []byte) {
		p := read(t, data, "web")
		for number, want := range map[uint]bool{0: true, 10: true, 35: true, 21: false, 1: false, 40: false, 3: false, 63: false,
			64: false, 8000: false} {
			if got := p.Capability(number); p.Allowed(got, 1) != want {
				t.Errorf("capability %d: %+v", number, got)
			}
		}
		if p.Capability(0).Audit == 0 || p.Capability(10).Audit != 0 || p.Capability(21).Quiet == 0 {
			t.Errorf("chown %+v, net_bind_service %+v, sys_admin %+v", p.Capability(0), p.Capability(10), p.Capability(21))
		}
	})
}

func TestModesAndFlags(t *testing.T) {
	blobs(t, func(t *testing.T, data []byte) {
		p, kid := read(t, data, "web"), read(t, data, "web//kid")
		if p.Mode != Enforce || kid.Mode != Complain || p.Mode.String() != "enforce" || kid.Mode.String() != "complain" {
			t.Errorf("modes %s and %s", p.Mode, kid.Mode)
		}
		if p.Path != PathConnect|PathMediateDeleted || p.Attaches || p.Audit {
			t.Errorf("%+v", p)
		}
		for path, want := range map[string]bool{"/kid": true, "/other": true, "/kid/no": false, "/kid/trap": true} {
			owner, _ := kid.File(path)
			if got := kid.Allowed(owner, MayWrite); got != want {
				t.Errorf("in complain mode, writing %s: %v", path, got)
			}
		}
	})
}

func TestWhatIsMediated(t *testing.T) {
	blobs(t, func(t *testing.T, data []byte) {
		p := read(t, data, "web")
		for class, want := range map[Class]bool{File: true, Capabilities: true, Signals: true, PTrace: true, Mount: true, Net: true,
			Namespaces: false, IOUring: false, DBus: false, 200: false} {
			if got := p.Mediates(class); got != want {
				t.Errorf("class %d: %v", class, got)
			}
			if _, got := p.Query(class, ""); got != want && class != Capabilities {
				t.Errorf("class %d is asked: %v", class, got)
			}
		}
		if perms, _ := p.Query(Signals, "\x09unconfined"); perms.Allow&MayRead == 0 || perms.Allow&MayWrite != 0 {
			t.Errorf("%+v", perms)
		}
	})
	for _, text := range []string{"profile none { }", "profile none { capability, }"} {
		p := read(t, compile(t, text), "none")
		if owner, other := p.File("/x"); p.Allowed(owner, MayRead) || p.Allowed(other, MayRead) {
			t.Errorf("without rules: %+v, %+v", owner, other)
		}
		if p.Allowed(p.Signal(MayRead, SIGKILL, "unconfined"), MayRead) {
			t.Error("without rules, signals")
		}
	}
}
