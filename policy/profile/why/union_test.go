package why

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// texts returns profiles as they are in use, by their names: docker-default, the profiles of nginx, and one of each of
// the abstractions that this machine has.
func texts(t testing.TB) map[string]string {
	t.Helper()
	generated, err := templates.Text("docker-default", "docker-default", templates.Target{Senders: []string{"sender"}})
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{"docker-default": string(generated), "web": strings.NewReplacer("abi <abi/3.0>,", "", "include if", "#include if").Replace(web)}
	for _, name := range []string{"docker-nginx", "docker-nginx-today"} {
		text, err := os.ReadFile("../../../integration/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = string(text)
	}
	found, _ := filepath.Glob(profile.BaseDir + "/abstractions/*")
	if testing.Short() || os.Getenv("OCI_APPARMOR_ALL_ABSTRACTIONS") == "" { // all of them take a minute
		found = slices.DeleteFunc(found, func(path string) bool {
			return !slices.Contains([]string{"base", "nameservice", "apache2-common", "php", "opencl-pocl", "snap_browsers",
				"dbus-session-strict", "user-tmp", "ssl_certs", "kde"}, filepath.Base(path))
		})
	}
	for _, path := range found {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			name := filepath.Base(path)
			all[name] = "abi <abi/3.0>,\ninclude <tunables/global>\nprofile x {\n  include <abstractions/" + name + ">\n}\n"
		}
	}
	return all
}

// The answers of the single rules add up to the profile's for random accesses, and all rules together are proven to be
// the profile.
func TestUnion(t *testing.T) {
	c := profiletest.Compiler(t, profiletest.Features())
	if _, err := os.Stat(profile.BaseDir + "/abstractions/base"); err != nil {
		t.Skip("AppArmor's abstractions are not installed")
	}
	r := &Reader{Compiler: c}
	accesses, together, refused := 0, 0, 0
	for name, source := range texts(t) {
		t.Run(name, func(t *testing.T) {
			text, err := r.Read(t.Context(), name, []byte(source))
			if err != nil {
				t.Skipf("this parser does not compile it: %v", err)
			}
			n := 30
			if !strings.HasPrefix(source, "abi <abi/3.0>,\ninclude <tunables/global>\nprofile x") {
				n = 150
			}
			for _, p := range text.compiled {
				_, p, source, err := text.find(p.Name)
				if err != nil {
					t.Fatal(err)
				}
				b, err := text.block(t.Context(), source)
				if err != nil {
					t.Fatal(err)
				}
				everything, err := b.together(t.Context(), "", b.rules)
				if err != nil {
					t.Fatal(err)
				}
				if !equalButForName(everything, p) {
					t.Errorf("all rules of %s together are not the profile", p.Name)
				}
				some := accessesLike(text, p.Name)
				for range n {
					a := some()
					answer := &Answer{Verdict: Unmediated}
					if err := b.explain(t.Context(), answer, p, a); err != nil {
						t.Fatal(err)
					}
					accesses++
					if answer.Doubt != "" || (answer.Verdict == Denied || answer.Verdict == NotAllowed) == p.Decide(a).Allowed {
						t.Errorf("%+v: %d, %s", a, answer.Verdict, answer.Doubt)
					}
					if answer.Together {
						together++
					}
					if answer.Verdict == Denied || answer.Verdict == NotAllowed {
						refused++
					}
				}
			}
		})
	}
	t.Logf("%d accesses, of which %d are refused, and %d by rules together", accesses, refused, together)
}

// patternPart is a part of a pattern that stands for something else.
var patternPart = regexp.MustCompile(`\*+|\?|\[[^]]*\]`)

func equalButForName(p, q *meaning.Profile) bool {
	renamed := *p
	renamed.Name, renamed.Names = q.Name, slices.Clone(p.Names)
	for i := range renamed.Names {
		renamed.Names[i] = strings.Replace(renamed.Names[i], p.Name+"//", q.Name+"//", 1)
	}
	return Equal(&renamed, q)
}

// accessesLike returns a function that returns random accesses like those that a text's rules are about.
func accessesLike(t *Text, name string) func() meaning.Access {
	random := rand.New(rand.NewPCG(1, 2))
	paths := []string{"/", "/x", "/etc/passwd", "/proc/1/mem", "/proc/sysrq-trigger", "/usr/bin/id", "/dev/null"}
	for _, b := range t.read.Blocks {
		for _, r := range b.Rules {
			for _, w := range r.Words {
				if strings.HasPrefix(w, "/") || strings.HasPrefix(w, "@{") {
					expanded := t.read.Expand(w, name)
					for range min(3, len(expanded)) {
						paths = append(paths, patternPart.ReplaceAllString(expanded[random.IntN(len(expanded))], "x"))
					}
				}
			}
		}
	}
	labels := []string{name, "unconfined", "x", "crun", name + "//&x", "x//&" + name, "unconfined//&" + name, "snap.x"}
	of := func(list []string) string { return list[random.IntN(len(list))] }
	path := func() string {
		s := of(paths)
		switch at := random.IntN(len(s)); random.IntN(6) {
		case 0:
			s += "x"
		case 1:
			s += "/"
		case 2:
			s = s[:at+1]
		case 3:
			s = s[:at] + string(rune('!'+random.IntN(90))) + s[at+1:]
		}
		if !strings.HasPrefix(s, "/") {
			s = "/" + s
		}
		return s
	}
	bit := func(n int) uint32 { return 1 << random.IntN(n) }
	owner := func() bool { return random.IntN(2) == 0 }
	return func() meaning.Access {
		switch random.IntN(13) {
		case 0:
			return meaning.ExecAccess{Path: path(), Owner: owner()}
		case 1:
			return meaning.LinkAccess{Path: path(), Target: path(), Owner: owner()}
		case 2:
			return meaning.CapabilityAccess(random.IntN(41))
		case 3:
			return meaning.SocketAccess{Family: uint16(random.IntN(20)), Type: uint16(1 + random.IntN(5)), Want: slices.Max([]uint32{2, bit(8)})}
		case 4:
			return meaning.UnixAccess{Type: uint16(1 + random.IntN(3)), Want: meaning.MayConnect, Address: "@x", Peer: of(labels), PeerAddress: path()}
		case 5:
			return meaning.SignalAccess{Want: 2 << random.IntN(2), Signal: meaning.Signal(1 + random.IntN(31)), Peer: of(labels)}
		case 6:
			return meaning.PtraceAccess{Want: 2 << random.IntN(4), Peer: of(labels)}
		case 7:
			return meaning.MountAccess{Source: path(), Target: path(), Type: of([]string{"tmpfs", "proc", "fuse", "ext4"}), Flags: bit(21)}
		case 8:
			return meaning.UmountAccess{Target: path()}
		case 9:
			return meaning.ChangeProfileAccess{Label: of(labels), OnExec: owner(), Program: path()}
		case 10:
			return meaning.DBusAccess{Want: meaning.DBusSend, Bus: of([]string{"system", "session"}), Name: "org.freedesktop.DBus", Label: of(labels)}
		}
		return meaning.FileAccess{Path: path(), Want: ofFile[random.IntN(len(ofFile))] | meaning.MayRead*uint32(random.IntN(2)), Owner: owner()}
	}
}
