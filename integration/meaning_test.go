package integration

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

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

// The evaluator answers as the kernel does, for random questions about profiles of all kinds.
func TestMeaningIsTheKernels(t *testing.T) {
	guesttest.Require(t)
	c := guestCompiler(t)
	version, err := c.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type text struct{ name, text string }
	var texts []text
	for _, name := range []string{"docker-default"} {
		made, err := templates.Text(name, "m-"+name, templates.Target{})
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, text{"m-" + name, string(made)})
	}
	for _, m := range meant {
		if m.since > version {
			t.Logf("%s needs parser %s, this is %s", m.name, m.since, version)
			continue
		}
		texts = append(texts, text{m.name, m.text})
	}
	guesttest.RemoveProfilesAtEnd(t)
	asked := 0
	for _, text := range texts {
		t.Run(text.name, func(t *testing.T) {
			blob, err := c.CompileText(t.Context(), text.name, []byte(text.text))
			if err != nil {
				t.Fatal(err)
			}
			all, err := meaning.Read(blob.Data)
			if err != nil {
				t.Fatal(err)
			}
			loadBlob(t, blob.Data)
			for _, p := range all {
				asked += compareWithKernel(t, p, text.text)
			}
		})
	}
	t.Logf("%d questions about %d texts, kernel %s, parser %s", asked, len(texts), release(t), version)
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
	f, err := os.OpenFile(securityfs+"/.replace", os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		t.Fatal(err)
	}
}

// compareWithKernel puts random questions about a profile to the evaluator and to the kernel, and returns how many.
func compareWithKernel(t *testing.T, p *meaning.Profile, text string) int {
	t.Helper()
	random := rand.New(rand.NewPCG(8, uint64(len(text))))
	access := openAccess(t)
	paths, labels := words(text), []string{"unconfined", "runc", "crun", "x", "a", "b//&c", p.Name, p.Name + "//&x", "x//&" + p.Name,
		"x//&" + p.Name + "//&y", p.Name + "//kid", ""}
	mutated := func(list []string) string {
		s := globPart.ReplaceAllStringFunc(list[random.IntN(len(list))], func(glob string) string { return chosen(random, glob) })
		for range random.IntN(4) {
			const bytes = "/abcrs019.-_ ^*{}\x01\x80\xff"
			at := random.IntN(len(s) + 1)
			switch b := bytes[random.IntN(len(bytes))]; random.IntN(4) {
			case 0:
				s = s[:at] + string([]byte{b}) + s[at:]
			case 1:
				s = s[:at]
			case 2:
				s = s[:at] + string([]byte{b}) + s[min(at+1, len(s)):]
			default:
				s += string([]byte{b})
			}
		}
		return s
	}
	asked, wrong := 0, 0
	compare := func(class meaning.Class, key string, other bool) {
		perms, mediated := p.Query(class, key)
		mask := ^uint32(0)
		if other {
			// .access leaves out what is allowed for each file where no rule matches at all.
			mask &^= meaning.MayGetAttr
			if perms.Allow|perms.Audit|perms.Quiet == 0 {
				mask &^= meaning.MayLock
			}
			_, perms = p.File(key)
		}
		if class != meaning.File && mediated {
			mask &^= meaning.MayLock // kernels since 6.4 add it to each answer about another class
		}
		want := access.ask(t, p.Name, class, key, other)
		got := [3]uint32{perms.Allow &^ perms.Deny & mask, perms.Audit & perms.Allow & mask, perms.Quiet &^ perms.Allow & mask}
		if !mediated {
			got[1], got[2] = 0, ^uint32(0)
		}
		for i := range want {
			want[i] &= mask
		}
		if asked++; got != want && wrong < 20 {
			wrong++
			t.Errorf("%s, class %d, key %q, other %v: allow, audit, quiet %08x, the kernel says %08x", p.Name, class, key, other,
				got, want)
		}
	}
	for range 300 {
		path := "/" + strings.TrimLeft(mutated(paths), "/")
		compare(meaning.File, path, false)
		compare(meaning.File, path, true)
		compare(meaning.File, path+"\x00/"+strings.TrimLeft(mutated(paths), "/"), false)
	}
	for range 300 {
		signal := random.IntN(40)
		if random.IntN(4) == 0 {
			signal = 126 + random.IntN(40)
		}
		compare(meaning.Signals, string([]byte{byte(signal)})+mutated(labels), false)
		compare(meaning.Label, "\x09"+mutated(labels), false)
	}
	for class := range 40 {
		if class == int(meaning.File) || class == int(meaning.DBus) {
			continue // the kernel decides on no dbus, and answers by other rules on each version
		}
		for _, key := range []string{"", "\x00", "\x00\x02\x00\x01", "\x00\x0a", "/mnt/x", mutated(paths), mutated(labels)} {
			compare(meaning.Class(class), key, false)
		}
	}
	return asked
}

// words returns what in a profile's text may be a path.
func words(text string) (list []string) {
	list = []string{"/", "/etc/shadow", "/proc/1/mem", "/srv/a/b"}
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\n\",;()", r) }) {
		if strings.ContainsAny(w, "/") {
			list = append(list, w)
		}
	}
	return list
}

// globPart is a part of a glob that stands for something else.
var globPart = regexp.MustCompile(`\*+|\?|\[[^]]*\]|@\{[^}]*\}|\{[^{}]*\}`)

// chosen returns something that a part of a glob may match.
func chosen(random *rand.Rand, glob string) string {
	switch {
	case strings.HasPrefix(glob, "@{"):
		return map[string]string{"@{PROC}": "/proc", "@{pid}": "7", "@{HOME}": "/home/me", "@{dirs}": "/srv/b"}[glob]
	case strings.HasPrefix(glob, "{"):
		options := strings.Split(strings.Trim(glob, "{}"), ",")
		return options[random.IntN(len(options))]
	case strings.HasPrefix(glob, "["):
		return string([]byte{glob[1+random.IntN(len(glob)-2)]})
	}
	return []string{"", "a", "0", "b/c", ".x", "ab"}[random.IntN(6)]
}

// access is the kernel's file for questions.
type access int

func openAccess(t *testing.T) access {
	t.Helper()
	fd, err := unix.Open(securityfs+"/.access", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return access(fd)
}

// ask returns what is allowed, logged where it is allowed, and not logged where it is not. With other, whoever asks does not
// own the file.
func (a access) ask(t *testing.T, name string, class meaning.Class, key string, other bool) (said [3]uint32) {
	t.Helper()
	if other {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(1000); err != nil {
			t.Fatal(err)
		}
		defer unix.Setfsuid(0)
	}
	question := fmt.Appendf(nil, "label\x00%s\x00%c%s", name, class, key)
	if _, err := unix.Pwrite(int(a), question, 0); err != nil {
		t.Fatalf("%q: %v", question, err)
	}
	var answer [256]byte
	n, err := unix.Pread(int(a), answer[:], 0)
	if err != nil {
		t.Fatal(err)
	}
	var deny uint32
	if _, err := fmt.Fscanf(bytes.NewReader(answer[:n]), "allow 0x%x\ndeny 0x%x\naudit 0x%x\nquiet 0x%x\n", &said[0], &deny,
		&said[1], &said[2]); err != nil {
		t.Fatalf("%q: %v", answer[:n], err)
	}
	return said
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
	cmd := exec.Command("/bin/sleep", "60")
	started := make(chan error)
	go func() {
		// It is never unlocked, so that the thread ends: whatever else it started would begin under this profile, too,
		// or, when that is removed, unconfined, whatever profile is attached to its program.
		runtime.LockOSThread()
		err := os.WriteFile("/proc/thread-self/attr/exec", []byte("exec "+name), 0)
		if err == nil {
			err = cmd.Start()
		}
		started <- err
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill() // by an unconfined process, of which ptrace and signals are asked
		cmd.Wait()
	}()
	waitFor(t, "the process to be confined", func() bool {
		return guesttest.Label(t, cmd.Process.Pid) == name+" (enforce)"
	})
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3, Pid: int32(cmd.Process.Pid)}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		t.Fatal(err)
	}
	return uint64(sets[1].Effective)<<32 | uint64(sets[0].Effective)
}
