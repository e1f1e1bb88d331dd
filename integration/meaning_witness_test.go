package integration

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// witnessed are patterns of which accesses are shown that profiles allow and deny, beside such with the globs of a text.
var witnessed = []string{
	"r /**", "w /**", "a /**", "k /**", "m /**", "x /**", "owner rw /srv/**", "other w /home/**", "w /etc/passwd", "read+write /**",
	"w /proc/sysrq-trigger", "r /proc/**", "create /srv/**", "l /**", "l /srv/** -> /home/**", "link /home/* -> /**",
	"change_profile", "change_profile -> unconfined", "change_profile onexec /srv/* -> *",
	"signal", "signal send", "signal receive set=(kill, term) peer=unconfined", "signal send set=rtmin+3", "signal send peer=x*",
	"ptrace", "ptrace trace", "ptrace (read readby) peer=m-*", "ptrace tracedby peer=unconfined",
	"network", "tcp", "inet stream connect", "inet6 udp", "netlink", "unix stream create", "packet raw",
	"mount", "mount fstype=tmpfs", "mount fstype=proc -> /proc/", "mount options=(rw,bind)", "bind /srv/** -> /mnt/**", "remount",
	"mount options in (ro, nosuid, nodev)", "mount options=(rslave)", "mount options=move", "umount", "umount /mnt/**", "pivot_root",
	"userns", "io_uring sqpoll",
}

// Each access that a pattern shows of a profile, the kernel allows or denies as is said.
func TestWitnessesAreTheKernels(t *testing.T) {
	guesttest.Require(t)
	guesttest.EnoughIn(t, guesttest.Forky) // make test-all has it on each kernel
	version, err := guestCompiler(t).Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	guesttest.RemoveProfilesAtEnd(t)
	kernel := openAccess(t)
	shown := map[bool]int{}
	for _, text := range slices.Concat(ownTexts(t, version), randomTexts(guesttest.Count(t, 10, 30, "random profiles"), version)) {
		t.Run(text.name, func(t *testing.T) {
			data := compiledHere(t, text.text)
			all, err := meaning.Read(data)
			if err != nil {
				t.Fatal(err)
			}
			loadBlob(t, data)
			for _, p := range all {
				if p.Mode == meaning.Complain { // of which the kernel tells what it would deny
					continue
				}
				for _, line := range slices.Concat(witnessed, patternsOf(text.text)) {
					for allowed, a := range patternShows(t, line, meaning.Stack{p}) {
						shown[allowed] += kernel.shows(t, p, a, allowed)
					}
				}
			}
		})
	}
	t.Logf("%d accesses that are allowed, %d that are denied, kernel %s", shown[true], shown[false], release(t))
	if shown[true] < 500 || shown[false] < 500 {
		t.Error("too few")
	}
}

// patternsOf returns patterns with paths of a text.
func patternsOf(text string) (lines []string) {
	a := newAsker(1, text)
	for range 40 {
		path := chosen(a, a.paths)
		if !strings.HasPrefix(path, "/") || strings.ContainsAny(path, "@^\"") {
			continue
		}
		for _, line := range []string{"r " + path, "w " + path, "x " + path, "owner a " + path, "l " + path, "umount " + path} {
			if _, err := access.Parse(line); err == nil {
				lines = append(lines, line)
			}
		}
	}
	return lines
}

// patternShows returns what a pattern shows of a stack, by whether it is allowed.
func patternShows(t *testing.T, line string, s meaning.Stack) map[bool]meaning.Access {
	t.Helper()
	p, err := access.Parse(line)
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[bool]meaning.Access)
	for allowed, find := range map[bool]func(meaning.Stack) (meaning.Access, bool, error){true: p.Allowed, false: p.Denied} {
		a, found, err := find(s)
		if err != nil {
			t.Fatal(err)
		}
		if found {
			all[allowed] = a
		}
		if found && s.Decide(a).Allowed != allowed {
			t.Errorf("%s is shown of %s as allowed: %v, and that is not what is decided", access.Format(a), s[0].Name, allowed)
		}
	}
	if len(all) == 0 {
		t.Errorf("%s is neither allowed nor denied", line)
	}
	return all
}

// shows asks the kernel about an access under a profile, and reports it if the answer is another one. It returns how many
// accesses the kernel was asked about: 0 if it can not be asked about this one.
func (k accessFile) shows(t *testing.T, p *meaning.Profile, a meaning.Access, allowed bool) int {
	t.Helper()
	asks, ok := asksOf(p, a)
	if !ok {
		return 0
	}
	is := true
	ask := func() {
		for _, one := range asks {
			is = is && k.ask(t, p.Name, one.class, one.key)[0]&one.want == one.want
		}
	}
	if asks[0].other {
		asUser(t, ask)
	} else {
		ask()
	}
	if is != allowed {
		t.Errorf("%s: %s is shown as allowed: %v; the kernel says %v to %+v", p.Name, access.Format(a), allowed, is, asks)
	}
	return 1
}

// wanted is a question, and what must be allowed.
type wanted struct {
	question
	want uint32
}

// asksOf returns what the kernel is asked about an access: each must be allowed. It reports whether that is all.
func asksOf(p *meaning.Profile, a meaning.Access) ([]wanted, bool) {
	one := func(c meaning.Class, key string, want uint32) ([]wanted, bool) {
		return []wanted{{question{class: c, key: key}, want}}, p.Compiled(c) || c == meaning.File
	}
	file := func(key string, want uint32, owner bool) wanted {
		return wanted{question{meaning.File, key, !owner}, want}
	}
	switch a := a.(type) {
	case meaning.FileAccess:
		// Where no rule matches, the kernel looks into its table, and says nothing of that here: a table may have MayLock, as
		// TestKernelsAnswerAsIsSaid shows.
		perms, _ := p.Query(meaning.File, a.Path)
		return []wanted{file(a.Path, a.Want, a.Owner)}, a.Want != meaning.MayLock || perms != (meaning.Perms{})
	case meaning.ExecAccess:
		return []wanted{file(a.Path, meaning.MayExec, a.Owner)}, a.To.Way == meaning.WayAny
	case meaning.LinkAccess:
		owner, other := p.File(a.Path + "\x00" + a.Target)
		subset := (owner.Allow|other.Allow)&meaning.MayLock != 0 // of which the kernel does not tell what comes of it
		return []wanted{file(a.Path, meaning.MayLink, a.Owner), file(a.Path+"\x00"+a.Target, meaning.MayLink, a.Owner)}, !subset
	case meaning.ChangeProfileAccess:
		label := a.Label
		if a.Stack {
			label = "&" + label
		}
		switch {
		case strings.Contains(a.Label, "//&"):
			return nil, false
		case !a.OnExec:
			return []wanted{file(label, meaning.MayChangeProfile, false)}, true
		case a.Program == "" || a.Owner: // labels are asked about as of others
			return []wanted{file(label, meaning.MayOnExec, false)}, a.Program == ""
		}
		return []wanted{file(label, meaning.MayOnExec, false), file(a.Program, meaning.MayOnExec, false),
			file(a.Program+"\x00"+label, meaning.MayOnExec, false)}, true
	case meaning.SignalAccess:
		asks, ok := one(meaning.Signals, string([]byte{byte(a.Signal)})+a.Peer, a.Want)
		return asks, ok && !strings.Contains(a.Peer, "//&")
	case meaning.PtraceAccess:
		asks, _ := one(meaning.Label, "\x09"+a.Peer, a.Want)
		return asks, p.Mediates(meaning.PTrace) && p.Compiled(meaning.Label) && a.Peer != "unconfined" && !strings.Contains(a.Peer, "//&")
	case meaning.SocketAccess:
		if p.Mediates(meaning.NetV9) {
			return nil, false
		}
		key := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, a.Family), a.Type)
		return one(meaning.Net, string(key), a.Want)
	case meaning.UnixAccess:
		if p.Mediates(meaning.NetV9) {
			return nil, false
		}
		return one(meaning.Net, string([]byte{0, 1, byte(a.Type >> 8), byte(a.Type)}), a.Want)
	case meaning.MountAccess:
		key := a.Target + "\x00" + a.Source + "\x00" + a.Type + "\x00"
		for bit := range 32 {
			if a.Flags>>bit&1 != 0 {
				key += string([]byte{byte(bit + 1)})
			}
		}
		asks, ok := one(meaning.Mount, key, mayMount)
		return asks, ok && a.Data == ""
	case meaning.UmountAccess:
		return one(meaning.Mount, a.Target, mayUmount)
	case meaning.PivotRootAccess:
		return one(meaning.Mount, a.New+"\x00"+a.Old, mayPivotRoot)
	case meaning.UsernsAccess:
		return one(meaning.Namespaces, "", meaning.MayAppend)
	case meaning.IOUringAccess:
		return one(meaning.IOUring, a.Label, meaning.MayCreate)
	}
	return nil, false
}

// Permissions of mounts (security/apparmor/include/mount.h).
const (
	mayPivotRoot = 1 << 0
	mayMount     = 1 << 1
	mayUmount    = 1 << 2
)
