package meaning_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// ask puts each kind of question to each profile of a blob.
func ask(data []byte) {
	all, err := Read(data)
	if err != nil {
		return
	}
	for _, p := range all {
		p.File("/srv/secret/x")
		p.File("/home/me/\x00/srv/b")
		for _, peer := range []string{"unconfined", "web//&x", ""} {
			p.Signal(MayRead, SIGKILL, peer)
			p.Ptrace(MayWrite, peer)
		}
		for class := range 256 {
			p.Mediates(Class(class))
			p.Query(Class(class), "\x09unconfined")
		}
		for _, number := range []uint{0, 40, 1 << 20} {
			p.Capability(number)
		}
		_ = p.Mode.String()
		p.Exec(ExecAccess{Path: "/usr/bin/other"})
	}
	for _, a := range accesses {
		Stack(all).Decide(a)
		Stack(all).Kernels(a)
	}
}

// accesses has one of each kind, with text that hostile rules may be about.
var accesses = []Access{
	FileAccess{Path: "/srv/secret/x", Want: ^uint32(0)},
	LinkAccess{Path: "/srv/a", Target: "/srv/b", Owner: true},
	ExecAccess{Path: "/usr/bin/other", Owner: true},
	ChangeProfileAccess{Label: "a//&b", Stack: true},
	ChangeProfileAccess{Label: ":ns:x", OnExec: true, Program: "/x"},
	ChangeHatAccess{Hat: "kid"},
	CapabilityAccess(21),
	RlimitAccess{Resource: 7, Hard: 1 << 40},
	SocketAccess{Family: 2, Type: 1, Protocol: 6, Want: MayCreate},
	UnixAccess{Type: 1, Want: MayConnect, PeerAddress: "@x", Peer: "a//&b"},
	UnixAccess{Type: 1, Want: MayListen, Address: "@x"},
	UnixAccess{Type: 1, Want: MayListen, Address: "/run/x"},
	UnixAccess{Type: 1, Want: MaySetOpt},
	MountAccess{Source: "x", Target: "/mnt/", Type: "tmpfs", Flags: ^uint32(0), Data: "x"},
	MountAccess{Source: "x", Target: "/mnt/", Type: "tmpfs", Data: "x"},
	UmountAccess{Target: "/mnt/"},
	PivotRootAccess{New: "/", Old: "/"},
	SignalAccess{Want: MayRead, Signal: SIGTERM, Peer: ""},
	PtraceAccess{Want: MayRead, Peer: "x"},
	UsernsAccess{},
	IOUringAccess{},
	IOUringAccess{Override: true, Label: "x"},
	MqueueAccess{Name: "/q", Label: "x", Want: MayRead},
	DBusAccess{Want: DBusSend, Bus: "system"},
	DBusAccess{Want: DBusBind, Bus: "system"},
}

func seeds(t testing.TB) [][]byte {
	return profiletest.Files(t, "testdata/*.permissions?", "../testdata/*.blob")
}

func FuzzRead(f *testing.F) {
	for _, data := range seeds(f) {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { ask(data) })
}

// TestContradictions reads tables of permissions that the kernel refuses.
func TestContradictions(t *testing.T) {
	const allow, deny, subtree, cond, kill, complain, prompt, hide, xindex = 1, 2, 3, 4, 5, 6, 7, 10, 11
	data, err := os.ReadFile("testdata/web.permissions3")
	if err != nil {
		t.Fatal(err)
	}
	// The last table is the one of files: a struct, its version, and the count of the entries of 14 numbers each.
	table := bytes.LastIndex(data, []byte("\x04\x06\x00perms\x00\x07\x04\x08\x00version\x00\x02"))
	if table < 0 {
		t.Fatal("no table of permissions")
	}
	last := table + 26 + 3 + 14*5
	for _, test := range []struct {
		says  string
		words map[int]uint32
	}{
		{"", map[int]uint32{allow: 1, deny: 2, subtree: 1, cond: 4, kill: 2, complain: 8, prompt: 16, hide: 2, xindex: 0}},
		{"permissions 1 contradict", map[int]uint32{allow: 1, deny: 1}},
		{"permissions 1 contradict", map[int]uint32{allow: 1, subtree: 2}},
		{"permissions 1 contradict", map[int]uint32{allow: 1, cond: 1}},
		{"permissions 1 contradict", map[int]uint32{allow: 1, kill: 1}},
		{"permissions 1 contradict", map[int]uint32{allow: 1, complain: 1}},
		{"permissions 1 contradict", map[int]uint32{allow: 1, prompt: 1}},
		{"permissions 1 contradict", map[int]uint32{complain: 1, prompt: 1}},
		{"permissions 1 contradict", map[int]uint32{allow: 1, hide: 1}},
		{"an exec leads to label 77 of", map[int]uint32{allow: 1, xindex: XTable | 77}},
	} {
		changed := bytes.Clone(data)
		for i := range 14 {
			if changed[last+i*5] != 2 {
				t.Fatalf("no number at %d", last+i*5)
			}
			binary.LittleEndian.PutUint32(changed[last+i*5+1:], test.words[i])
		}
		_, err := Read(changed)
		if (err != nil) != (test.says != "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: %v, want %q", test.words, err, test.says)
		}
	}
}

// TestCutAndChanged reads blobs that are cut off at each byte, and such with each byte changed.
func TestCutAndChanged(t *testing.T) {
	for _, data := range seeds(t) {
		if _, err := Read(data); err != nil {
			t.Error(err)
		}
		step := 1
		if testing.Short() || len(data) > 4<<10 {
			step = 7
		}
		for i := 0; i < len(data); i += step {
			if all, err := Read(data[:i]); err == nil && len(all) == 0 {
				t.Fatalf("nothing is read from %d bytes without an error", i)
			}
			for _, change := range []byte{0x01, 0x80, 0xff} {
				changed := bytes.Clone(data)
				changed[i] ^= change
				ask(changed)
			}
		}
	}
}
