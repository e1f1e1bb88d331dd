package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	language "github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/why"
)

// The rules that are named for an access explain what the profile does, in each parser's own words: of our profiles and of
// random ones, with priorities where the parser has them.
func TestWhyExplainsAll(t *testing.T) {
	guesttest.Require(t)
	explainsAll(t, guestCompiler(t), guesttest.Count(t, 3, 20, "random profiles"), guesttest.Count(t, 15, 300, "accesses under each profile"))
}

func explainsAll(t *testing.T, c *profile.Compiler, profiles, accesses int) {
	version, err := c.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	reader := why.Reader{Compiler: c}
	asked, together := 0, 0
	for _, text := range slices.Concat(ownTexts(t, version), randomTexts(profiles, version)) {
		t.Run(text.name, func(t *testing.T) {

			read, err := reader.Read(t.Context(), text.name, []byte(text.text))
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range read.Profiles() {
				enforced, err := read.Enforced(p.Name)
				if err != nil {
					t.Fatal(err)
				}
				a := newAsker(uint64(len(text.text)), text.text, p.Name)
				for range accesses {
					one := a.anAccess()
					answer, err := read.Why(t.Context(), p.Name, one)
					if err != nil {
						t.Fatal(err)
					}
					asked++
					if answer.Together {
						together++
					}
					allowed := answer.Verdict == why.Allowed || answer.Verdict == why.Unmediated
					if answer.Doubt != "" || allowed != enforced.Decide(one).Allowed {
						t.Errorf("%s under %s: %s\n%s", language.Format(one), p.Name, told(answer), text.text)
						return
					}
				}
			}
		})
	}
	t.Logf("%s explains %d accesses, %d of them by rules together", version, asked, together)
}

// told puts an answer into a line.
func told(a *why.Answer) string {
	s := fmt.Sprintf("verdict %d, %s:", a.Verdict, a.Doubt)
	for _, u := range a.By {
		s += fmt.Sprintf(" line %d: %s;", u.Line, u.Text)
	}
	return s
}

// anAccess returns an access of a class that every kernel decides about.
func (a *asker) anAccess() meaning.Access {
	owner := a.IntN(2) == 0
	switch n := a.IntN(100); {
	case n < 35:
		want := chosen(a, []uint32{meaning.MayRead, meaning.MayWrite, meaning.MayAppend, meaning.MayLock, meaning.MayMmapExec,
			meaning.MayRead | meaning.MayWrite, meaning.MayDelete, meaning.MayCreate})
		return meaning.FileAccess{Path: a.path(), Want: want, Owner: owner}
	case n < 45:
		return meaning.ExecAccess{Path: a.path(), Owner: owner}
	case n < 55:
		return meaning.LinkAccess{Path: a.path(), Target: a.path(), Owner: owner}
	case n < 60:
		return meaning.ChangeProfileAccess{Label: strings.Trim(a.mutated(a.labels), "&"), OnExec: owner}
	case n < 70:
		return meaning.SignalAccess{Want: chosen(a, []uint32{meaning.MayRead, meaning.MayWrite}), Signal: meaning.Signal(1 + a.IntN(35)), Peer: chosen(a, a.labels)}
	case n < 78:
		return meaning.PtraceAccess{Want: 2 << a.IntN(4), Peer: chosen(a, a.labels)}
	case n < 84:
		return meaning.MountAccess{Source: a.path(), Target: a.path(), Type: chosen(a, []string{"tmpfs", "proc", "ext4"}), Flags: uint32(a.IntN(1 << 14))}
	case n < 88:
		return meaning.UmountAccess{Target: a.path()}
	case n < 94:
		return meaning.SocketAccess{Family: uint16(a.IntN(18)), Type: uint16(1 + a.IntN(5)), Want: meaning.MayCreate}
	}
	return meaning.CapabilityAccess(a.IntN(41))
}
