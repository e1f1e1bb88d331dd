package access_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

func TestMountsAndNetworks(t *testing.T) {
	p := profiles(t, `abi <abi/3.0>,
profile some {
  network inet stream,
  network netlink raw,
  mount fstype=tmpfs options=(ro,nosuid) tmpfs -> /mnt/**,
  umount /mnt/**,
  pivot_root oldroot=/new/old/ /new/,
  set rlimit nofile <= 1024,
}
profile binds { mount options=(rw,bind) /srv/ -> /mnt/*/, }
profile moves { mount options=(move) /a/ -> /b/, }
profile again { remount options=(ro) /mnt/, }
profile shares { mount options=(rw,rslave) -> /, }
profile all { network, mount, umount, pivot_root, }
profile none { }
`)
	for _, v := range []verdict{
		{"some", "tcp", "network inet stream bind protocol=6", "network inet6 stream bind protocol=6"},
		{"some", "tcp connect", "network inet stream connect protocol=6", "network inet6 stream connect protocol=6"},
		{"some", "inet tcp", "network inet stream bind protocol=6", ""},
		{"some", "inet stream bind", "network inet stream bind protocol=0", ""},
		{"some", "udp", "", "network inet dgram bind protocol=17"},
		{"some", "netlink", "network netlink raw create protocol=0", "network netlink stream create protocol=0"},
		{"some", "unix stream connect", "", "owner unix stream connect protocol=0 addr=none peer=(addr=none, label=a)"},
		{"all", "network", "owner unix stream create protocol=0", ""},
		{"all none", "network", "", "owner unix stream create protocol=0"},
		{"moves", "mount options=move", "mount options=move /a/ -> /b/", "mount options=move / -> /"},
		{"all", "mount", "mount options=slave -> /", ""},
		{"some", "mount fstype=tmpfs", `mount fstype=tmpfs options=(ro, nosuid) data="" tmpfs -> /mnt/a`, `mount fstype=tmpfs options=rw data="" "" -> /`},
		{"some", "mount fstype=tmpfs options=(ro,nosuid) tmpfs -> /mnt/**", `mount fstype=tmpfs options=(ro, nosuid) data="" tmpfs -> /mnt/a`, ""},
		{"binds", "mount options=(ro,bind) /srv/ -> /mnt/x/", "mount options=bind /srv/ -> /mnt/x/", ""}, // ro is not asked about
		{"binds", "bind /srv/ -> /mnt/x/", "mount options=bind /srv/ -> /mnt/x/", "mount options=rbind /srv/ -> /mnt/x/"},
		{"shares", "mount options=(rslave)", "mount options=rslave -> /", "mount options=rslave -> /a"},
		{"again", "remount /mnt/", `remount options=ro data="" -> /mnt/`, `remount options=rw data="" -> /mnt/`},
		{"again", "remount options=ro -> /mnt/", `remount options=ro data="" -> /mnt/`, ""},
		{"some", "mount options in (ro, nosuid) fstype=proc", "", `mount fstype=proc options=rw data="" "" -> /`},
		{"some", "umount /mnt/**", "umount /mnt/a", ""},
		{"some", "umount", "umount /mnt/a", "umount /"},
		{"some", "pivot_root", "pivot_root oldroot=/new/old/ /new/", "pivot_root oldroot=/ /"},
		{"some", "pivot_root oldroot=/new/* /new/", "", "pivot_root oldroot=/new/a /new/"},
		{"some", "rlimit nofile", "rlimit nofile = 0", "rlimit nofile = 1025"},
		{"some", "rlimit nofile <= 1024", "rlimit nofile = 0", ""},
		{"some", "rlimit nofile <= 4096", "rlimit nofile = 0", "rlimit nofile = 1025"},
		{"some", "set rlimit nofile=infinity", "", "rlimit nofile = infinity"},
		{"some", "rlimit", "rlimit as = 0", "rlimit nofile = 1025"},
		{"none", "mount", "", "mount options=slave -> /"},
	} {
		v.check(t, p)
	}
}

// Rules about addresses of sockets, message buses and queues are in what parser 5.0.2 makes for Linux 7.2.
func TestAddressesAndQueues(t *testing.T) {
	data, err := os.ReadFile("../meaning/testdata/sockets.permissions5")
	if err != nil {
		t.Fatal(err)
	}
	all, err := meaning.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	p := map[string]*meaning.Profile{"sockets": all[0]}
	for _, v := range []verdict{
		{"sockets", "unix stream connect peer=(addr=@peer, label=a)", "owner unix stream connect protocol=0 addr=none peer=(addr=@peer, label=a)", ""},
		{"sockets", "unix stream connect peer=(addr=@peer)", "owner unix stream connect protocol=0 addr=none peer=(addr=@peer, label=a)",
			"owner unix stream connect protocol=0 addr=none peer=(addr=@peer, label=b)"},
		{"sockets", "unix stream connect peer=(addr=@p*)", "owner unix stream connect protocol=0 addr=/ peer=(addr=@p, label=a)",
			"owner unix stream connect protocol=0 addr=none peer=(addr=@p, label=a)"},
		{"sockets", "unix connect addr=none peer=(addr=@never)", "", "owner unix stream connect protocol=0 addr=none peer=(addr=@never, label=a)"},
		{"sockets", "unix stream (bind listen accept) addr=@srv*", "owner unix stream bind protocol=0 addr=@srv", ""},
		{"sockets", "unix stream listen addr=@x", "", "owner unix stream listen protocol=0 addr=@x backlog=24929"},
		{"sockets", "unix bind", "owner unix stream bind protocol=0 addr=/", "owner unix stream bind protocol=0 addr=none"},
		{"sockets", "unix bind addr=/**", "owner unix stream bind protocol=0 addr=/a", ""},
		{"sockets", "unix seqpacket setopt addr=none", "owner unix seqpacket setopt protocol=0 addr=none opt=24929", ""},
		{"sockets", "network inet stream", "network inet stream create protocol=0", ""},
		{"sockets", "dbus send bus=session", "dbus send bus=session path=/org/x interface=org.x member=Get peer=(name=org.x, label=a)",
			`dbus send bus=session path="" interface="" member="" peer=(name="", label=a)`},
		{"sockets", "dbus bind name=org.*", "dbus bind bus=session name=org.mine", "dbus bind bus=a name=org."},
		{"sockets", "dbus eavesdrop bus={session,system}", "dbus eavesdrop bus=system", "dbus eavesdrop bus=session"},
		{"sockets", "mqueue", `mqueue create label="" /a`, ""}, // which this kernel does not ask about
		{"sockets", "userns", "userns create", ""},
		{"sockets", "io_uring", "io_uring sqpoll", "io_uring override_creds label=a"},
	} {
		v.check(t, p)
	}
}

// Each form is read, and each word that a line can begin with has a form.
func TestForms(t *testing.T) {
	for _, form := range Forms {
		if p, err := Parse(form.Example); err != nil || p.String() != form.Example {
			t.Errorf("%s: %s, %v", form.Example, p, err)
		}
	}
	_, err := Parse("nothing")
	if err == nil {
		t.Fatal("a line begins with nothing")
	}
	_, heads, _ := strings.Cut(err.Error(), ") or ")
	for _, word := range strings.FieldsFunc(heads, func(r rune) bool { return r == ',' || r == ' ' }) {
		if !slices.ContainsFunc(Forms, func(f Form) bool {
			return slices.Contains(strings.FieldsFunc(f.Syntax, func(r rune) bool { return strings.ContainsRune(" []|", r) }), word)
		}) &&
			word != "or" && word != "link" {
			t.Errorf("%s has no form", word)
		}
	}
}

// The manual page of tests has each form.
func TestThePageHasEachForm(t *testing.T) {
	page, err := os.ReadFile("../../policyfile/oci-apparmor-tests.yaml.5")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(`\-`, "-").Replace(string(page))
	for _, form := range Forms {
		if !strings.Contains(text, "\n.B "+form.Example+"\n") || !strings.Contains(text, ": "+form.Syntax+".\n") {
			t.Errorf("the page lacks %s, %s", form.Example, form.Syntax)
		}
	}
}
