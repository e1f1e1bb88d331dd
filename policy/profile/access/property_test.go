package access

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// A chance makes random accesses, and patterns that they are of.
type chance struct{ *rand.Rand }

func (c chance) of(list ...string) string { return list[c.IntN(len(list))] }
func (c chance) half() bool               { return c.IntN(2) == 0 }

func (c chance) path() string {
	return c.of("/srv", "/home/me", "/usr/bin", "/links", "/mnt", "/etc", "/x y", "/*", "") +
		c.of("/a", "/b/c", "/secret/x", "/plain-a", "/same-a", "/more-b", "/same", "/other", "/kid", "/é\x01", `/"q"\`, "/{a,b}", "/new/old")
}

func (c chance) dir() string { return c.path() + "/" }

func (c chance) label() string {
	name := func() string {
		return c.of("unconfined", "a", "b", "web", "decided", "x/y", "web//kid", ":ns:a", "a b", "(c,d)")
	}
	if c.IntN(3) == 0 {
		return name() + "//&" + name()
	}
	return name()
}

// wide returns a word that matches a text, and often others.
func (c chance) wide(text string) string {
	switch c.IntN(5) {
	case 0, 1:
		return literal(text)
	case 2:
		if at := strings.LastIndexByte(text, '/'); at >= 0 && at+1 < len(text) {
			before := literal(text[:at+1])
			if strings.HasPrefix(before, `"`) {
				return before[:len(before)-1] + `**"`
			}
			return before + "**"
		}
		return "{**,}"
	case 3:
		var b strings.Builder
		for i := range len(text) {
			switch {
			case text[i] != '/' && text[i] > ' ' && c.IntN(3) == 0:
				b.WriteString("?")
			case text[i] > ' ' && text[i] != '"':
				b.WriteString(strings.Trim(literal(text[i:i+1]), `"`))
			default:
				fmt.Fprintf(&b, `\%03o`, text[i])
			}
		}
		if b.Len() == 0 {
			return `""`
		}
		return `"` + b.String() + `"`
	}
	return "{no,**,}"
}

// maybe returns a condition on a text, or often none.
func (c chance) maybe(key, text string) string {
	if c.half() {
		return ""
	}
	return " " + key + "=" + c.wide(text)
}

func (c chance) owner() (bool, string) {
	owner := c.half()
	if c.half() {
		return owner, ""
	}
	return owner, whose(owner)
}

// some returns a permission, and words of which one stands for it.
func (c chance) some(n permissionNames) (uint32, string) {
	one := n[c.IntN(len(n))]
	switch c.IntN(3) {
	case 0:
		return one.Bits, ""
	case 1:
		return one.Bits, " " + one.Word
	}
	return one.Bits, " (" + c.of(n.words()...) + ", " + one.Word + ")"
}

// access returns an access, and a line that it is of.
func (c chance) access() (meaning.Access, string) {
	switch c.IntN(17) {
	case 0, 1, 2:
		return c.file()
	case 3:
		owner, word := c.owner()
		path := c.path()
		way := c.of("x", "ix", "ux", "px", "cx")
		a := meaning.ExecAccess{Path: path, Owner: owner, To: meaning.Destination{Way: ways[way]}}
		line := word + way + " " + c.wide(path)
		if way == "px" || way == "cx" {
			a.To.Label = c.of("elsewhere", "kid", "&elsewhere")
			line += " -> " + a.To.Label
		}
		return a, line
	case 4:
		owner, word := c.owner()
		a := meaning.LinkAccess{Path: c.path(), Target: c.path(), Owner: owner}
		return a, word + "l " + c.wide(a.Path) + c.of("", " -> "+c.wide(a.Target))
	case 5:
		n := c.IntN(len(kernelname.Capabilities))
		return meaning.CapabilityAccess(n), "capability" + c.of("", " "+kernelname.Capabilities[n], " chown "+kernelname.Capabilities[n])
	case 6, 7:
		return c.change()
	case 8:
		a := meaning.ChangeHatAccess{Hat: c.of("hat", "kid", "none", "other-hat")}
		return a, "change_hat" + c.of("", " "+c.wide(a.Hat))
	case 9, 10:
		return c.socket()
	case 11, 12:
		return c.mounted()
	case 13:
		want, words := c.some(signalPermissions)
		a := meaning.SignalAccess{Want: want, Signal: signals[c.IntN(len(signals))], Peer: c.label()}
		return a, "signal" + words + c.of("", " set="+a.Signal.String(), " set=(kill, "+a.Signal.String()+")") + c.maybe("peer", a.Peer)
	case 14:
		want, words := c.some(ptracePermissions)
		a := meaning.PtraceAccess{Want: want, Peer: c.label()}
		return a, "ptrace" + words + c.maybe("peer", a.Peer)
	case 15:
		return c.other()
	}
	return c.message()
}

func (c chance) file() (meaning.Access, string) {
	owner, word := c.owner()
	a := meaning.FileAccess{Path: c.path(), Owner: owner}
	if c.IntN(4) == 0 {
		a.Path = c.dir()
	}
	letter := c.of("r", "w", "a", "k", "m")
	wants := letters[letter[0]]
	a.Want = wants[c.IntN(len(wants))]
	perms := c.of(letter, letter+"r", "x"[:0]+letter+"k")
	if c.IntN(3) == 0 {
		a.Want = 0
		for range 1 + c.IntN(3) {
			a.Want |= filePermissions[c.IntN(len(filePermissions))].Bits
		}
		perms = filePermissions.joined(a.Want)
	}
	return a, word + perms + " " + c.wide(a.Path)
}

func (c chance) change() (meaning.Access, string) {
	a := meaning.ChangeProfileAccess{Label: c.of("elsewhere", "second", "unconfined", c.label()), Stack: c.half()}
	line, stack := "change_profile", " "
	if a.Stack {
		stack = " stack "
	}
	switch c.IntN(4) {
	case 0:
		line += " now" + stack
	case 1:
		a.OnExec = true
		line += " request" + stack
	case 2:
		a.OnExec = true
		var word string
		a.Owner, word = c.owner()
		a.Program = c.path()
		line += " onexec" + stack + word + c.wide(a.Program)
	default:
		if a.Stack {
			return a, line
		}
	}
	return a, line + " -> " + c.wide(a.Label)
}

func (c chance) socket() (meaning.Access, string) {
	want, words := c.some(socketPermissions)
	kind := kernelname.SocketTypes[[]int{0, 1, 4}[c.IntN(3)]]
	if c.IntN(3) == 0 {
		family := kernelname.Families[1+c.IntN(len(kernelname.Families)-1)]
		a := meaning.SocketAccess{Family: family.Number, Type: kind.Number, Protocol: uint16(c.IntN(300)), Want: want}
		return a, "network" + c.of("", " "+family.Word) + c.of("", " "+kind.Word) + words + c.of("", fmt.Sprint(" protocol=", a.Protocol))
	}
	address := func() string { return c.of("", "@srv1", "@srv", "@peer", "@never", "@a/b", "/run/x", "/srv/x") }
	owner, word := c.owner()
	a := meaning.UnixAccess{Type: kind.Number, Protocol: uint16(c.IntN(2)), Want: want, Owner: owner}
	line := word + "unix" + c.of("", " "+kind.Word) + words + c.of("", fmt.Sprint(" protocol=", a.Protocol))
	said := func(key, address string) string {
		if address == "" || c.half() {
			return ""
		}
		return key + c.wide(address)
	}
	only := words == " "+socketPermissions.joined(want)
	if want&unaddress == 0 {
		if a.Address = address(); only {
			line += said(" addr=", a.Address)
		}
	}
	switch {
	case want&peered != 0:
		a.PeerAddress, a.Peer = address(), c.label()
		if only && c.half() {
			line += " peer=(label=" + c.wide(a.Peer) + said(" addr=", a.PeerAddress) + ")"
		}
	case want == meaning.MayListen:
		a.Backlog = uint16(c.IntN(9))
		if only && c.half() {
			line += fmt.Sprint(" backlog=", a.Backlog)
		}
	case want&optional != 0:
		a.Option = uint16(c.IntN(300))
	}
	return a, line
}

// mounted returns what mount(2) does, with flags of which the kernel may take some away.
func (c chance) mounted() (meaning.Access, string) {
	switch c.IntN(8) {
	case 0:
		a := meaning.UmountAccess{Target: c.dir()}
		return a, "umount" + c.of("", " "+c.wide(a.Target))
	case 1:
		a := meaning.PivotRootAccess{New: c.of("/new/", c.dir()), Old: c.of("/new/old/", c.dir())}
		return a, "pivot_root" + c.maybe("oldroot", a.Old) + c.of("", " "+c.wide(a.New))
	}
	a := meaning.MountAccess{Target: c.of("/mnt/x/", "/", "/b/", "/disk/", c.dir()), Data: c.of("", "size=1k", "x")}
	var some, kinds uint32
	for range c.IntN(4) {
		some |= kernelname.MountFlags[c.IntN(len(kernelname.MountFlags))].Flag
	}
	for _, flag := range append([]uint32{kernelname.Remount, kernelname.Bind, kernelname.Move}, changes...) {
		kinds |= flag
	}
	a.Flags = some &^ kinds
	if c.half() {
		a.Flags |= []uint32{kernelname.Remount, kernelname.Bind, kernelname.Bind | kernelname.Rec, kernelname.Move, changes[c.IntN(4)], kernelname.Remount | kernelname.Bind}[c.IntN(6)]
	}
	head := "mount"
	switch {
	case a.Flags&kernelname.Remount != 0:
		head = c.of("mount", "remount")
	case a.Flags&kernelname.Bind != 0:
		a.Source, a.Data = c.of("/srv/", c.path()), ""
	case a.Flags&(changes[0]|changes[1]|changes[2]|changes[3]) != 0:
		a.Data = ""
	case a.Flags&kernelname.Move != 0:
		a.Source, a.Data = c.of("/a/", c.path()), ""
	default:
		a.Source, a.Type = c.of("tmpfs", "/dev/sda", ""), c.of("tmpfs", "proc", "ext4")
	}
	line := head + c.maybe("fstype", a.Type)
	switch c.IntN(3) {
	case 0:
		line += " options=" + formatFlags(a.Flags)
	case 1:
		line += " options in " + formatFlags(a.Flags|kernelname.MountFlags[c.IntN(10)].Flag)
	}
	line += c.maybe("data", a.Data)
	if head == "mount" && c.half() {
		line += " " + c.wide(a.Source)
	}
	if c.half() {
		line += " -> " + c.wide(a.Target)
	}
	return a, line
}

func (c chance) other() (meaning.Access, string) {
	switch c.IntN(4) {
	case 0:
		a := meaning.RlimitAccess{Resource: c.IntN(9), Hard: uint64(c.IntN(3000))}
		name := kernelname.Resources.Word(uint16(a.Resource))
		return a, c.of("set rlimit", "rlimit") + c.of("", " "+name, fmt.Sprint(" ", name, " <= ", a.Hard+uint64(c.IntN(900))), fmt.Sprint(" ", name, "=", a.Hard))
	case 1:
		return meaning.UsernsAccess{}, "userns" + c.of("", " create")
	case 2:
		return meaning.IOUringAccess{}, "io_uring" + c.of("", " sqpoll")
	}
	a := meaning.IOUringAccess{Override: true, Label: c.label()}
	return a, "io_uring" + c.of("", " override_creds") + c.maybe("label", a.Label)
}

func (c chance) message() (meaning.Access, string) {
	if c.half() {
		want, words := c.some(mqueuePermissions)
		a := meaning.MqueueAccess{Want: want, Name: "/" + c.of("q", "r s"), Label: c.of("", c.label())}
		return a, "mqueue" + words + c.maybe("label", a.Label) + c.of("", " "+c.wide(a.Name))
	}
	want, words := c.some(dbusPermissions)
	a := meaning.DBusAccess{Want: want, Bus: c.of("session", "system")}
	line := "dbus" + words + c.maybe("bus", a.Bus)
	switch want {
	case meaning.DBusEavesdrop:
	case meaning.DBusBind:
		if a.Name = c.of("org.mine", "org.yours"); words == " bind" {
			line += c.maybe("name", a.Name)
		}
	default:
		a.Name, a.Label, a.Path = c.of("org.x", "org.y", ""), c.label(), c.of("/org/x", "/org/x/y", "")
		a.Interface, a.Member = c.of("org.x", ""), c.of("Get", "Set")
		if words != "" && !strings.Contains(words, "bind") && !strings.Contains(words, "eaves") {
			line += c.maybe("path", a.Path) + c.maybe("interface", a.Interface) + c.maybe("member", a.Member) +
				c.of("", " peer=(name="+c.wide(a.Name)+" label="+c.wide(a.Label)+")")
		}
	}
	return a, line
}

// What Format writes is read as a pattern of that access and no other.
func TestWhatIsWrittenIsRead(t *testing.T) {
	c := chance{rand.New(rand.NewPCG(2, 11))}
	for range 5000 {
		a, _ := c.access()
		line := Format(a)
		p, err := Parse(line)
		if err != nil {
			t.Fatalf("%#v is written as %s: %v", a, line, err)
		}
		if p.String() != line {
			t.Errorf("%s is printed as %s", line, p)
		}
		got, found, err := p.Allowed(nil)
		if m, ok := a.(meaning.MountAccess); ok {
			a = m.Asked()
		}
		if err != nil || !found || got != a {
			t.Fatalf("%s is read as %#v, not as %#v: %v", line, got, a, err)
		}
		if len(p.questions)+len(p.limits) != 1 {
			t.Fatalf("%s is read as %d questions", line, len(p.questions))
		}
		for _, q := range p.questions {
			if len(q.like) != 1 {
				t.Fatalf("%s is read as %d accesses", line, len(q.like))
			}
			for _, text := range q.texts {
				alone(t, line, text)
			}
		}
	}
}

// alone reports it if there is more than one text of a kind.
func alone(t *testing.T, line string, text texts) {
	t.Helper()
	l, err := text.language()
	if err != nil {
		t.Fatal(err)
	}
	first, _, err := automaton.Some(l, patience)
	if err != nil {
		t.Fatal(err)
	}
	one := automaton.Words(first)
	if more, found, err := automaton.ShortestIn(l, func(s []automaton.State) bool { return !one.Accepts(s[0]) },
		func([]automaton.State) bool { return false }, patience, one); found || err != nil {
		t.Fatalf("%s is read as %q and %q: %v", line, first, more, err)
	}
}

// stacks are stacks of profiles that were compiled by several parsers for several kernels.
func stacks(t *testing.T) (all []meaning.Stack) {
	t.Helper()
	var parts []*meaning.Profile
	add := func(data []byte) {
		profiles, err := meaning.Read(data)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, profiles...)
	}
	for _, file := range []string{"sockets.permissions5", "web.permissions2", "web.permissions3"} {
		data, err := os.ReadFile("../meaning/testdata/" + file)
		if err != nil {
			t.Fatal(err)
		}
		add(data)
	}
	web, err := os.ReadFile("../meaning/testdata/web")
	if err != nil {
		t.Fatal(err)
	}
	add(profiletest.Several(t, string(web)))
	add(profiletest.Several(t, profiletest.Decided))
	for i, p := range parts {
		all = append(all, meaning.Stack{p}, meaning.Stack{p, parts[(i+3)%len(parts)]})
	}
	return append(all, nil)
}

// What a pattern says of a stack is true of random accesses of it, and of what it shows.
func TestPatternsAreDecided(t *testing.T) {
	c := chance{rand.New(rand.NewPCG(5, 1))}
	rounds := 4000
	if testing.Short() {
		rounds = 1000
	}
	said := make(map[string]int)
	all := stacks(t)
	for range rounds {
		a, line := c.access()
		p, err := Parse(line)
		if err != nil {
			t.Fatalf("%s, of %s: %v", line, Format(a), err)
		}
		if m, ok := a.(meaning.MountAccess); ok {
			a = m.Asked()
		}
		s := all[c.IntN(len(all))]
		for _, allowed := range []bool{true, false} {
			witness, found, err := p.example(s, allowed)
			if err != nil {
				t.Fatal(err)
			}
			if found && s.Decide(witness).Allowed != allowed {
				t.Fatalf("%s: %s is not so: allowed %v", line, Format(witness), allowed)
			}
			if is := s.Decide(a).Allowed == allowed; is && !found {
				t.Fatalf("%s of %s: %s is allowed %v, and nothing is found", line, called(s), Format(a), allowed)
			}
			if found {
				said[fmt.Sprintf("%T %v", witness, allowed)]++
			} else {
				said[fmt.Sprintf("none %v", allowed)]++
			}
		}
	}
	t.Log(said)
}

func called(s meaning.Stack) (list []string) {
	for _, p := range s {
		list = append(list, p.Name)
	}
	return list
}
