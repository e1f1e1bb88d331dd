package meaning_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// The directory testdata/parsers has what the parsers 3.0.8, 4.1.0 and 4.1.8 of Debian 12, 13 and testing write of its
// text, each for the features of the kernels 6.1, 6.12 and 7.2:
//
//	apparmor_parser --config-file /dev/null --kernel-features F --policy-features F --skip-kernel-load --skip-cache --stdout text

// parsed are the profiles "parsers" of these blobs, by the blobs' names.
func parsed(t *testing.T) map[string]*Profile {
	t.Helper()
	files, err := filepath.Glob("testdata/parsers/*.blob")
	if err != nil || len(files) != 9 {
		t.Fatalf("%d blobs: %v", len(files), err)
	}
	all := make(map[string]*Profile)
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".blob")] = read(t, data, "parsers")
	}
	return all
}

// What different parsers write of one text for different kernels means the same.
func TestParsersAgree(t *testing.T) {
	all := parsed(t)
	const first = "3.0.8.on-6.1"
	random := rand.New(rand.NewPCG(6, 12))
	of := func(list ...string) string { return list[random.IntN(len(list))] }
	path := func() string {
		return of("/srv", "/srv/a", "/srv/bc", "/home/me", "/home/me/.ssh", "/var/log", "/usr/lib", "/usr/bin", "/usr/sbin", "/bin", "/opt", "/tmp",
			"/mnt", "/a", "/new", "") + of("/", "/x", "/1a.txt", "/12.txt", "/app", "/app.1", "/secret/y", "/secrets", "/traps/z", "/sh", "/b", "/bd", "/.ssh",
			"/old/", "/b/", "/secret/", "/start")
	}
	label := func() string {
		return of("unconfined", "parsers", "parsers//x", "parsers//kid", "a", "b//&c", "b", "bx", "c", "second")
	}
	bit := func() uint32 {
		return []uint32{MayRead, MayWrite, MayAppend, MayCreate, MayDelete, MayLock, MayMmapExec, MayChmod}[random.IntN(8)]
	}
	peers := func() uint32 { return []uint32{MayRead, MayWrite, MayAppend, MayCreate}[random.IntN(4)] }
	access := func() Access {
		switch random.IntN(14) {
		default:
			return FileAccess{Path: path(), Want: bit(), Owner: random.IntN(2) == 0}
		case 0:
			return LinkAccess{Path: path(), Target: path(), Owner: random.IntN(2) == 0}
		case 1:
			return ExecAccess{Path: path(), Owner: random.IntN(2) == 0}
		case 2:
			return CapabilityAccess(random.IntN(41))
		case 3:
			return RlimitAccess{Resource: random.IntN(16), Hard: uint64(random.IntN(3000))}
		case 4:
			return SocketAccess{Family: uint16(of("\x01", "\x02", "\x0a", "\x10")[0]), Type: uint16(1 + random.IntN(5)), Want: MayCreate}
		case 5:
			return MountAccess{Source: of("x", path()), Target: path(), Type: of("tmpfs", "proc"), Flags: uint32(random.IntN(2) * 4096)}
		case 6:
			return UmountAccess{Target: path()}
		case 7:
			return PivotRootAccess{New: path(), Old: path()}
		case 8:
			return SignalAccess{Want: []uint32{MayRead, MayWrite}[random.IntN(2)], Signal: Signal(1 + random.IntN(31)), Peer: label()}
		case 9:
			return PtraceAccess{Want: peers(), Peer: label()}
		case 10:
			return ChangeProfileAccess{Label: label(), OnExec: random.IntN(2) == 0, Program: of("", "/usr/bin/start", "/x")}
		}
	}
	allowed := 0
	for range 20_000 {
		a := access()
		want := all[first].Decide(a)
		if want.Allowed {
			allowed++
		}
		for name, p := range all {
			got := p.Decide(a)
			if got.Allowed != want.Allowed || got.Logged != want.Logged {
				t.Fatalf("%s: %T%+v: allowed %v, logged %v, and %s says %v, %v", name, a, a, got.Allowed, got.Logged, first, want.Allowed, want.Logged)
			}
			if exec, ok := a.(ExecAccess); ok {
				_, mine := p.Exec(exec)
				if _, theirs := all[first].Exec(exec); mine != theirs {
					t.Fatalf("%s: %+v: %+v, and %s says %+v", name, a, mine, first, theirs)
				}
			}
		}
	}
	if allowed < 2000 || allowed > 18_000 {
		t.Errorf("of 20000 accesses %d are allowed", allowed)
	}
	for name, p := range all {
		var children []string
		for _, c := range p.Children {
			children = append(children, fmt.Sprint(c.Name, " ", c.Mode))
		}
		if !reflect.DeepEqual(children, []string{"parsers//kid complain"}) {
			t.Errorf("%s has the children %q", name, children)
		}
	}
}
