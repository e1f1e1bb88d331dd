package integration

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/compare"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// The kernel confirms the example of each difference between profiles, and each that shows that one does not contain
// another. Examples that .access does not answer for, of links, labels of several parts and programs, are left to
// TestMeaningIsWhatTheKernelDoes.
func TestMeaningDiffIsTheKernels(t *testing.T) {
	guesttest.Require(t)
	version, err := guestCompiler(t).Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	guesttest.RemoveProfilesAtEnd(t)
	var all []*meaning.Profile
	for _, text := range append(ownTexts(t, version), randomTexts(3, version)...) {
		blob := compiledHere(t, text.text)
		profiles, err := meaning.Read(blob)
		if err != nil {
			t.Fatal(err)
		}
		if profiles[0].Mode == meaning.Enforce {
			loadBlob(t, blob)
			all = append(all, profiles[0])
		}
	}
	if len(all) < 12 {
		t.Fatalf("only %d profiles", len(all))
	}
	k := kernelConfirms{accessFile: openAccess(t), has: make(map[string]uint64)}
	others := []int{1, 2, 5}[:guesttest.Count(t, 1, 3, "profiles that each is compared with")]
	for i, a := range all {
		for _, next := range others {
			b := all[(i+next)%len(all)]
			d, err := compare.Compare(compare.Side{Stack: meaning.Stack{a}}, compare.Side{Stack: meaning.Stack{b}}, compare.Options{})
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range d.Lines {
				if l.Profile == "" && l.Witness != nil {
					k.confirm(t, a, b, l)
				}
			}
			beyond, within, err := compare.Within(compare.Side{Stack: meaning.Stack{a}}, compare.Side{Stack: meaning.Stack{b}})
			if err != nil {
				t.Fatal(err)
			}
			if !within && beyond.Profile == "" && beyond.Exec == [2]string{} && !beyond.Unnamed {
				k.confirm(t, a, b, compare.Line{Change: compare.Denied, What: "what is beyond", Witness: beyond.Access})
			}
		}
	}
	t.Logf("%d profiles, %d examples confirmed, %d that .access does not answer for, kernel %s, parser %s", len(all), k.confirmed,
		k.left, release(t), version)
	if k.confirmed < 100*len(others) {
		t.Errorf("only %d examples were confirmed", k.confirmed)
	}
}

// kernelConfirms has the kernel confirm examples of differences.
type kernelConfirms struct {
	accessFile
	has             map[string]uint64 // the capabilities that the kernel leaves a process, by profile
	confirmed, left int
}

// confirm reports an example that the kernel does not confirm.
func (k *kernelConfirms) confirm(t *testing.T, a, b *meaning.Profile, l compare.Line) {
	t.Helper()
	var was, is verdict
	if number, ok := l.Witness.(meaning.CapabilityAccess); ok {
		if l.Change != compare.Allowed && l.Change != compare.Denied || number > 40 {
			k.left++
			return
		}
		was.allowed, is.allowed = k.capability(t, a, number), k.capability(t, b, number)
	} else {
		q, want, ok := asked(a, l.Witness)
		if !ok || !answers(a, q, want, l.Witness) || !answers(b, q, want, l.Witness) {
			k.left++
			return
		}
		ask := func() { was, is = k.verdict(t, a, q, want), k.verdict(t, b, q, want) }
		if q.other {
			asUser(t, ask)
		} else {
			ask()
		}
	}
	right := false
	switch l.Change {
	case compare.Allowed:
		right = !was.allowed && is.allowed
	case compare.Denied:
		right = was.allowed && !is.allowed
	case compare.Logged:
		right = was.allowed == is.allowed && !was.logged && is.logged
	case compare.Quiet:
		right = was.allowed == is.allowed && was.logged && !is.logged
	case compare.Elsewhere:
		right = was.allowed && is.allowed
	default:
		k.left++
		return
	}
	if k.confirmed++; !right {
		t.Errorf("from %s to %s, %s: %s, as in %s: the kernel says %+v, then %+v", a.Name, b.Name, l.Change, l.What,
			access.Format(l.Witness), was, is)
	}
}

// answers reports whether .access answers as the kernel decides. It says nothing of a file that no rule is about, and all is
// allowed to it where there are no rules about labels, while ptrace is denied there.
func answers(p *meaning.Profile, q question, want uint32, a meaning.Access) bool {
	got := evaluated(meaning.Stack{p}, q)
	return (got[0]&want == want) == p.Decide(a).Allowed
}

// verdict is what the kernel says of an access.
type verdict struct{ allowed, logged bool }

func (k *kernelConfirms) verdict(t *testing.T, p *meaning.Profile, q question, want uint32) verdict {
	t.Helper()
	answer := k.ask(t, p.Name, q.class, q.key)
	if answer[0]&want == want {
		return verdict{true, answer[1]&want != 0 || p.Audit}
	}
	return verdict{false, answer[2]&want == 0 || p.Audit}
}

func (k *kernelConfirms) capability(t *testing.T, p *meaning.Profile, number meaning.CapabilityAccess) bool {
	t.Helper()
	has, ok := k.has[p.Name]
	if !ok {
		has = capabilitiesUnder(t, p.Name)
		k.has[p.Name] = has
	}
	return has>>number&1 != 0
}

// asked returns the question at .access that an access is, and the permissions that it asks for.
func asked(p *meaning.Profile, a meaning.Access) (q question, want uint32, ok bool) {
	stacked := func(label string) bool { return strings.Contains(label, "//&") }
	number := func(n uint16) string { return string(binary.BigEndian.AppendUint16(nil, n)) }
	const mount, umount, pivot = 1 << 1, 1 << 2, 1 << 0 // AA_MAY_MOUNT, AA_MAY_UMOUNT, AA_MAY_PIVOTROOT
	switch a := a.(type) {
	case meaning.FileAccess:
		return question{meaning.File, a.Path, !a.Owner}, a.Want, true
	case meaning.ExecAccess:
		return question{meaning.File, a.Path, !a.Owner}, meaning.MayExec, true
	case meaning.ChangeProfileAccess:
		return question{meaning.File, a.Label, false}, meaning.MayChangeProfile, !a.OnExec && !a.Stack && !stacked(a.Label)
	case meaning.SignalAccess:
		return question{meaning.Signals, string([]byte{byte(a.Signal)}) + a.Peer, false}, a.Want, !stacked(a.Peer)
	case meaning.PtraceAccess:
		return question{meaning.Label, "\x09" + a.Peer, false}, a.Want,
			p.Mediates(meaning.PTrace) && !stacked(a.Peer) && a.Peer != "unconfined"
	case meaning.SocketAccess:
		class := meaning.Net
		if p.Compiled(meaning.NetV9) {
			class = meaning.NetV9
		}
		return question{class, number(a.Family) + number(a.Type), false}, a.Want, true
	case meaning.MountAccess:
		key := a.Target + "\x00" + a.Source + "\x00" + a.Type + "\x00"
		for bit := range 32 {
			if a.Flags>>bit&1 != 0 {
				key += string([]byte{byte(bit + 1)})
			}
		}
		return question{meaning.Mount, key, false}, mount, a.Data == ""
	case meaning.UmountAccess:
		return question{meaning.Mount, a.Target, false}, umount, true
	case meaning.PivotRootAccess:
		return question{meaning.Mount, a.New + "\x00" + a.Old, false}, pivot, true
	case meaning.UsernsAccess:
		return question{meaning.Namespaces, "", false}, meaning.MayAppend, true
	}
	return question{}, 0, false
}
