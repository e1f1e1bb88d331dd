package integration

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A profileText is the text of a profile and what to call it.
type profileText struct{ name, text string }

// meant are texts whose meaning is compared with the kernel's, beside those of our templates. since is the parser that
// they need, if not the oldest.
var meant = []struct{ name, since, text string }{
	{"m-nothing", "", "abi <abi/3.0>,\nprofile m-nothing {\n}"},
	{"m-all", "", "abi <abi/3.0>,\nprofile m-all { file, capability, network, mount, umount, signal, ptrace, unix, dbus, }"},
	{"m-kernel", "", "abi <kernel>,\nprofile m-kernel { file, capability, network, signal (receive) peer=unconfined, ptrace (read), }"},
	{"m-globs", "", `abi <abi/3.0>,
profile m-globs {
  /srv/** r,
  /srv/*/ rw,
  /srv/{a,b{c,d}}/[0-9][^0-9]?.txt rwk,
  /opt/*.{so,so.*} mr,
  "/with blank/*" rw,
  /usr/bin/* ix,
  /usr/sbin/[a-f]* px,
  /bin/{sh,bash} cx -> kid,
  deny /srv/secret** rwlkx,
  audit deny /srv/audited/** w,
  audit /srv/logged/** w,
  profile kid { /** rix, }
}`},
	{"m-owner", "", `abi <abi/3.0>,
profile m-owner {
  owner /home/*/** rw,
  /home/*/public/** r,
  audit owner /tmp/** rwk,
  deny owner /home/*/.ssh/** rw,
  owner /proc/[0-9]*/** r,
  link /home/a -> /home/b,
  owner link subset /tmp/** -> /home/**,
}`},
	{"m-signals", "", `abi <abi/3.0>,
profile m-signals {
  signal (receive) set=(term,kill,hup) peer=unconfined,
  signal (send) peer=m-signals//**,
  signal (send,receive) set=(exists,rtmin+0,rtmin+32) peer={m-signals,m-other},
  deny signal (send) set=(stop) peer=m-signals,
  audit signal (receive) set=(usr1) peer=runc,
  audit deny signal (receive) set=(usr2),
  signal peer=*//&m-signals,
}`},
	{"m-ptrace", "", `abi <abi/3.0>,
profile m-ptrace {
  ptrace (read) peer=m-ptrace,
  ptrace (trace,tracedby) peer={a,b//&c},
  deny ptrace (readby) peer=m-ptrace,
  audit ptrace (tracedby) peer=unconfined,
  ptrace (readby) peer=x*,
}`},
	{"m-silent", "", `abi <abi/3.0>,
profile m-silent flags=(audit,attach_disconnected) {
  file,
  signal,
  deny /etc/** w,
  deny signal (send) peer=x,
}`},
	{"m-complain", "", "abi <abi/3.0>,\nprofile m-complain flags=(complain) {\n  /srv/** r,\n  deny /etc/** w,\n  signal peer=x,\n}"},
	{"m-kill", "", "abi <abi/3.0>,\nprofile m-kill flags=(kill) {\n  /srv/** r,\n  deny /etc/** w,\n  signal peer=x,\n}"},
	{"m-variables", "", `abi <abi/3.0>,
include <tunables/global>
@{dirs}=/srv/a /srv/b
@{dirs}+=/srv/c
alias /srv/a -> /mnt/a,
$yes = true
profile m-variables {
  include <abstractions/base>
  @{dirs}/** rw,
  @{PROC}/@{pid}/{stat,status} r,
  owner @{HOME}/** w,
  if $yes { /yes/** r, } else { /no/** r, }
  if defined @{dirs} { /defined r, } else { /undefined r, }
  signal (receive) peer=@{profile_name},
}`},
	{"m-network", "", `abi <kernel>,
profile m-network {
  network inet stream,
  network netlink raw,
  deny network inet6,
  mount fstype=tmpfs -> /mnt/**,
  deny mount options=(rw,bind) /a/** -> /b/,
  umount /mnt/**,
  pivot_root /new/,
  change_profile -> m-*,
}`},
	{"m-priority", "4.1", `abi <abi/4.0>,
profile m-priority {
  file,
  priority=-1 deny signal,
  signal (receive) peer={unconfined,runc,crun},
  priority=2 allow /srv/open/** rw,
  deny /srv/** w,
  priority=1 owner /home/*/x w,
}`},
	{"m-everything", "4.0", "abi <abi/4.0>,\nprofile m-everything {\n  allow all,\n  deny /etc/shadow r,\n  audit deny signal (send) peer=x,\n}"},
	{"m-blocks", "4.1", `abi <abi/4.0>,
profile m-blocks {
  audit { /srv/a w, deny /srv/b w, }
  owner { /srv/c rw, }
  deny { /srv/d w, signal (send) peer=x, }
  allow { signal (receive), userns, }
}`},
}

// The evaluator answers as the kernel does, for random questions about profiles of all kinds: ours, random ones, stacks
// of them, Docker's pages, and AppArmor's own.
func TestMeaningIsTheKernels(t *testing.T) {
	guesttest.Require(t)
	version, err := guestCompiler(t).Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	guesttest.RemoveProfilesAtEnd(t)
	texts := slices.Concat(ownTexts(t, version), randomTexts(guesttest.Count(t, 4, 30, "random profiles"), version))
	n := guesttest.Count(t, 800, 12_000, "questions about each profile")
	kernel := openAccess(t)
	asked, profiles := 0, 0
	compare := func(t *testing.T, label, text string, stack meaning.Stack) {
		kernel.compare(t, label, stack, newAsker(uint64(len(text)), text, stack[0].Name).questions(n))
		asked += n
		profiles += len(stack)
	}
	var named []*meaning.Profile
	for _, text := range texts {
		t.Run(text.name, func(t *testing.T) {
			data := compiledHere(t, text.text)
			all, err := meaning.Read(data)
			if err != nil {
				t.Fatal(err)
			}
			loadBlob(t, data)
			for _, p := range all {
				compare(t, p.Name, text.text, meaning.Stack{p})
			}
			if strings.HasPrefix(text.name, "m-random") {
				named = append(named, all[0])
			}
		})
	}
	t.Run("stacks", func(t *testing.T) {
		for i := range named[2:] {
			stack := meaning.Stack(named[i : i+2+i%2])
			label := labelOf(stack)
			running(t, label)
			compare(t, label, texts[len(texts)-len(named)+i].text, stack)
		}
	})
	t.Run("shipped", func(t *testing.T) {
		shipped := shippedTexts(t)
		if few := guesttest.Count(t, 4, len(shipped), "of AppArmor's own texts"); few < len(shipped) {
			rand.Shuffle(len(shipped), func(i, j int) { shipped[i], shipped[j] = shipped[j], shipped[i] })
			shipped = shipped[:few] // others each time
		}
		ns := policyNamespace(t)
		for _, text := range shipped {
			t.Run(text.name, func(t *testing.T) {
				data := compiledHere(t, text.text)
				all, err := meaning.Read(data)
				if err != nil {
					t.Fatal(err)
				}
				ns.load(t, data)
				words := preprocessed(t, text.text)
				for _, p := range all {
					if p.Namespace == "" { // else it is in a namespace within ours
						compare(t, ":"+ns.name+":"+p.Name, words, meaning.Stack{p})
					}
				}
			})
		}
	})
	t.Run("tables", func(t *testing.T) {
		if !takesTables(t) {
			t.Skip("this kernel takes no tables of permissions as parsers write them")
		}
		ns := policyNamespace(t)
		for _, text := range tableTexts(t) {
			data, err := os.ReadFile(text.text)
			if err != nil {
				t.Fatal(err)
			}
			all, err := meaning.Read(data)
			if err != nil {
				t.Fatal(err)
			}
			words, err := os.ReadFile(strings.TrimSuffix(text.text, filepath.Ext(text.text)))
			if err != nil {
				t.Fatal(err)
			}
			ns.load(t, data)
			for _, p := range all {
				compare(t, ":"+ns.name+":"+p.Name, string(words), meaning.Stack{p})
			}
		}
	})
	t.Logf("%d questions, about %d profiles, kernel %s, parser %s", asked, profiles, release(t), version)
	least, of := 20_000, 25
	if guesttest.Everything() {
		least, of = 1_000_000, 40
	}
	if asked < least || profiles < of {
		t.Errorf("fewer than %d questions, or about fewer than %d profiles", least, of)
	}
}

func release(t *testing.T) string { return guesttest.MustRun(t, "uname", "-r") }

// guestCompiler returns a compiler for the running kernel.
func guestCompiler(t *testing.T) *profile.Compiler {
	t.Helper()
	features, err := profile.ReadFeatures(securityfs + "/features")
	if err != nil {
		t.Fatal(err)
	}
	c, err := profile.NewCompiler(features)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// loadBlob loads compiled profiles.
func loadBlob(t *testing.T, data []byte) {
	t.Helper()
	loadInto(t, securityfs+"/.replace", data)
}

// loadInto writes compiled profiles to a file that loads them.
func loadInto(t *testing.T, file string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
}

// The capabilities that the evaluator allows are those that the kernel leaves a process of root.
func TestMeaningOfCapabilities(t *testing.T) {
	guesttest.Require(t)
	guesttest.RemoveProfilesAtEnd(t)
	c := guestCompiler(t)
	for _, rules := range []string{"", "capability,", "capability chown, capability wake_alarm, capability checkpoint_restore,",
		"capability,\n deny capability sys_admin,\n audit deny capability bpf,"} {
		blob, err := c.CompileText(t.Context(), "text", []byte("abi <abi/3.0>,\nprofile m-caps {\n file, signal, "+rules+"\n}"))
		if err != nil {
			t.Fatal(err)
		}
		all, err := meaning.Read(blob.Data)
		if err != nil {
			t.Fatal(err)
		}
		loadBlob(t, blob.Data)
		has := capabilitiesUnder(t, "m-caps")
		for number := range uint(41) {
			if got, want := all[0].Allowed(all[0].Capability(number), 1), has>>number&1 != 0; got != want {
				t.Errorf("%q: capability %d: %v, the kernel leaves %#x", rules, number, got, has)
			}
		}
	}
}

// capabilitiesUnder returns the effective capabilities that capget(2) tells of a process of root under a profile.
func capabilitiesUnder(t *testing.T, name string) uint64 {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3, Pid: int32(running(t, name))}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
	return uint64(sets[1].Effective)<<32 | uint64(sets[0].Effective)
}
