package access

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

const (
	afUnix  = 1
	afInet  = 2
	afInet6 = 10
)

// protocols are the words that stand for a protocol of Internet addresses: types of sockets, and the numbers of the
// protocol for AF_INET and for AF_INET6. A socket that is made with protocol 0 gets the type's usual protocol.
var protocols = map[string]struct {
	types       []uint16
	inet, inet6 uint16
	usual       bool
}{
	"tcp":  {[]uint16{1}, 6, 6, true},
	"udp":  {[]uint16{2}, 17, 17, true},
	"icmp": {[]uint16{2, 3}, 1, 58, false},
}

var socketPermissions = named(meaning.SocketPermissions, fileLetters)

// network reads "[network] [FAMILY] [TYPE|tcp|udp|icmp] [PERMISSION] [protocol=NUMBER]". Sockets of AF_UNIX belong to it.
func (p *parser) network() error {
	p.skip("network")
	var family, kind []uint16
	if n, ok := p.numberOf(kernelname.Families); ok {
		family = []uint16{n}
	}
	protocol := p.protocolWord()
	if protocol == "" {
		if n, ok := p.numberOf(kernelname.SocketTypes); ok {
			kind = []uint16{n}
		}
	}
	before := p.at
	wants, err := p.permissions(socketPermissions)
	if err != nil {
		return err
	}
	if p.more() && p.words[p.at].key == "" {
		expected := "a permission (" + listed(socketPermissions.words()) + ") or protocol="
		if before == p.at && kind == nil && protocol == "" {
			expected = "a type of sockets (" + listed(kernelname.SocketTypes.Words()) + "), tcp, udp, icmp, " + expected
		}
		if family == nil {
			expected = "a family (" + listed(kernelname.Families.Words()) + "), " + expected
		}
		return p.end(expected)
	}
	var numbers fixed
	if err := p.conditions(map[string]func(word) error{"protocol": func(w word) error {
		n, err := strconv.ParseUint(w.text, 10, 16)
		if err != nil || protocol != "" {
			return fmt.Errorf("%s is wrong: a protocol is a number up to 65535, and none stands behind tcp, udp and icmp", shown(w))
		}
		numbers = fixed{twoBytes(uint16(n))}
		return nil
	}}); err != nil {
		return err
	}
	if protocol != "" {
		return p.internet(protocol, family, wants)
	}
	if family == nil {
		family = slices.DeleteFunc(kernelname.Families.Numbers(), func(n uint16) bool { return n == afUnix })
		p.unixSockets(unixWords{wants: wants, types: kind, numbers: numbers})
	}
	if family[0] == afUnix {
		p.unixSockets(unixWords{wants: wants, types: kind, numbers: numbers})
		return nil
	}
	if kind == nil {
		kind = kernelname.SocketTypes.Numbers()
	}
	p.sockets(family, kind, numbers, wants)
	return nil
}

// protocolWord reads tcp, udp or icmp.
func (p *parser) protocolWord() string {
	if p.more() {
		if w := p.words[p.at]; w.is(w.text) && protocols[w.text].types != nil {
			p.at++
			return w.text
		}
	}
	return ""
}

// numberOf reads a word that stands for a number, or the number itself.
func (p *parser) numberOf(n kernelname.Numbers) (uint16, bool) {
	if !p.more() {
		return 0, false
	}
	w := p.words[p.at]
	number, ok := n.Number(w.text)
	if ok = ok && w.is(w.text); ok {
		p.at++
	}
	return number, ok
}

// internet asks about a protocol of Internet addresses.
func (p *parser) internet(word string, family []uint16, wants []uint32) error {
	protocol := protocols[word]
	if family == nil {
		family = []uint16{afInet, afInet6}
	}
	for _, f := range family {
		number := protocol.inet
		switch f {
		case afInet:
		case afInet6:
			number = protocol.inet6
		default:
			return fmt.Errorf("%s is wrong behind %s: only inet and inet6 have it", word, kernelname.Families.Word(f))
		}
		numbers := fixed{twoBytes(number)}
		for _, want := range wants {
			if want == meaning.MayCreate && protocol.usual {
				p.sockets([]uint16{f}, protocol.types, append(numbers, twoBytes(0)), []uint32{want})
			} else {
				p.sockets([]uint16{f}, protocol.types, numbers, []uint32{want})
			}
		}
	}
	return nil
}

// sockets asks about sockets that are of none but other families than AF_UNIX.
func (p *parser) sockets(family, kind []uint16, protocols fixed, wants []uint32) {
	var like []meaning.Access
	for _, want := range wants {
		like = append(like, meaning.SocketAccess{Want: want})
	}
	p.asks(like, fixedOf(family), fixedOf(kind), protocols)
}

func twoBytes(n uint16) string { return string([]byte{byte(n >> 8), byte(n)}) }

func fixedOf(numbers []uint16) (f fixed) {
	for _, n := range numbers {
		f = append(f, twoBytes(n))
	}
	return f
}

func formatSocket(a meaning.SocketAccess) string {
	return "network " + kernelname.Families.Word(a.Family) + " " + kernelname.SocketTypes.Word(a.Type) + " " + socketPermissions.joined(a.Want) +
		" protocol=" + strconv.Itoa(int(a.Protocol))
}

// unixWords are what a line says of unix sockets.
type unixWords struct {
	wants          []uint32
	types          []uint16 // nil for all
	numbers        fixed    // of protocols
	whose          []bool   // who owns the socket's file; nil for all
	own            *glob    // the address; nil for any
	peers          *glob    // the other side's address
	label          *glob    // the other side's label
	backlog, optio fixed
}

// Permissions of unix sockets by what they are about: the other side, the socket's own address, or none.
const (
	peered    = meaning.MayConnect | meaning.MaySend | meaning.MayReceive
	unaddress = meaning.MayCreate
	optional  = meaning.MaySetOpt | meaning.MayGetOpt
)

// unix reads "[owner|other] unix [TYPE] [PERMISSION] [type=TYPE] [protocol=NUMBER] [addr=ADDRESS] [peer=LABEL]
// [peer=(label=LABEL, addr=ADDRESS)] [backlog=NUMBER] [opt=NUMBER]".
func (p *parser) unix() error {
	u := unixWords{}
	if whose, said := p.whose(); said {
		u.whose = whose
	}
	p.at++
	if n, ok := p.numberOf(kernelname.SocketTypes); ok {
		u.types = []uint16{n}
	}
	at := p.at
	var err error
	if u.wants, err = p.permissions(socketPermissions); err != nil {
		return err
	}
	said := p.at > at
	if n, ok := p.numberOf(kernelname.SocketTypes); ok && u.types == nil {
		u.types = []uint16{n}
	}
	number := func(into *fixed) func(word) error {
		return func(w word) error {
			n, err := strconv.ParseUint(w.text, 10, 16)
			if err != nil {
				return fmt.Errorf("%s is wrong: here can stand a number up to 65535", shown(w))
			}
			*into = fixed{twoBytes(uint16(n))}
			return nil
		}
	}
	if p.more() && p.words[p.at].key == "" {
		return p.end("a type of sockets (" + listed(kernelname.SocketTypes.Words()) + "), a permission (" + listed(socketPermissions.words()) +
			"), type=, addr= or peer=")
	}
	if err := p.conditions(map[string]func(word) error{
		"type": func(w word) error {
			n, ok := kernelname.SocketTypes.Number(w.text)
			if !ok {
				return fmt.Errorf("%s is no type of sockets: here can stand %s", shown(w), listed(kernelname.SocketTypes.Words()))
			}
			u.types = []uint16{n}
			return nil
		},
		"addr": func(w word) (err error) {
			u.own, err = address(w)
			return err
		},
		"peer":     u.peer,
		"protocol": number(&u.numbers), "backlog": number(&u.backlog), "opt": number(&u.optio),
	}); err != nil {
		return err
	}
	if err := u.fit(said); err != nil {
		return err
	}
	p.unixSockets(u)
	return nil
}

// peer reads what is said of the other side.
func (u *unixWords) peer(w word) error {
	if !w.listed || !slices.ContainsFunc(w.list, func(w word) bool { return w.key != "" }) {
		label, err := globOf(labels, w)
		u.label = &label
		return err
	}
	for _, one := range w.list {
		switch one.key {
		case "label":
			label, err := globOf(labels, one)
			if err != nil {
				return err
			}
			u.label = &label
		case "addr":
			peers, err := address(one)
			if err != nil {
				return err
			}
			u.peers = peers
		default:
			return fmt.Errorf("%s is wrong: of a peer here can stand label= and addr=", shown(one))
		}
	}
	return nil
}

// address reads an address: none, auto, a path, or "@" and a name.
func address(w word) (*glob, error) {
	g := glob{kind: addresses}
	switch {
	case w.text == "none" && !w.quoted && !w.listed:
		g.patterns = []string{""}
		return &g, nil
	case w.text == "auto" && !w.quoted && !w.listed:
		g.patterns = []string{"@" + strings.Repeat("[0-9a-f]", 5)}
		return &g, nil
	}
	g, err := globOf(addresses, w)
	return &g, err
}

// fit takes away the permissions that conditions are not about or, if they were said, refuses them.
func (u *unixWords) fit(said bool) error {
	for _, c := range []struct {
		is    bool
		bits  uint32
		words string
	}{
		{u.peers != nil || u.label != nil, peered, "peer= is only about connect, send and receive"},
		{u.own != nil, ^uint32(unaddress), "addr= is not about create"},
		{u.backlog != nil, meaning.MayListen, "backlog= is only about listen"},
		{u.optio != nil, optional, "opt= is only about setopt and getopt"},
	} {
		if !c.is {
			continue
		}
		left := slices.DeleteFunc(slices.Clone(u.wants), func(want uint32) bool { return want&^c.bits != 0 })
		if said && len(left) < len(u.wants) || len(left) == 0 {
			return fmt.Errorf("%s: here it stands beside another permission", c.words)
		}
		u.wants = left
	}
	return nil
}

// unixSockets asks about unix sockets. Each permission has texts of its own.
func (p *parser) unixSockets(u unixWords) {
	types := fixedOf(u.types)
	if u.types == nil {
		types = fixed{twoBytes(1), twoBytes(2), twoBytes(5)} // others are not made, unix_create
	}
	numbers := u.numbers
	if numbers == nil {
		numbers = fixed{twoBytes(0), twoBytes(afUnix)} // others are not made
	}
	whose := u.whose
	if whose == nil {
		whose = []bool{true, false}
	}
	anyOf := func(g *glob, k kind) glob {
		if g == nil {
			return glob{kind: k}
		}
		return *g
	}
	for _, want := range u.wants {
		var like []meaning.Access
		for _, owner := range whose {
			like = append(like, meaning.UnixAccess{Want: want, Owner: owner})
		}
		texts := []texts{types, numbers}
		if want&unaddress == 0 {
			texts = append(texts, anyOf(u.own, addresses))
		}
		switch {
		case want&peered != 0:
			texts = append(texts, anyOf(u.peers, addresses), anyOf(u.label, labels))
		case want == meaning.MayListen:
			texts = append(texts, u.backlog)
		case want&optional != 0:
			texts = append(texts, u.optio)
		}
		p.asks(like, texts...)
	}
}

func formatUnix(a meaning.UnixAccess) string {
	text := whose(a.Owner) + "unix " + kernelname.SocketTypes.Word(a.Type) + " " + socketPermissions.joined(a.Want) +
		" protocol=" + strconv.Itoa(int(a.Protocol))
	if a.Want&unaddress == 0 {
		text += " addr=" + formatAddress(a.Address)
	}
	switch {
	case a.Want&peered != 0:
		text += " peer=(addr=" + formatAddress(a.PeerAddress) + ", label=" + literal(a.Peer) + ")"
	case a.Want == meaning.MayListen:
		text += " backlog=" + strconv.Itoa(int(a.Backlog))
	case a.Want&optional != 0:
		text += " opt=" + strconv.Itoa(int(a.Option))
	}
	return text
}

func formatAddress(address string) string {
	if address == "" {
		return "none"
	}
	return literal(address)
}

// addressLanguage returns the language of addresses of unix sockets.
func addressLanguage() automaton.Language {
	const start, abstract, path, wrong = 0, 1, 2, 3
	return automaton.NewLanguage(automaton.Apart("/@\x00"), start, func(at int, b byte) int {
		switch {
		case b == 0 || at == wrong:
			return wrong
		case at != start:
			return at
		case b == '@':
			return abstract
		case b == '/':
			return path
		}
		return wrong
	}, func(at int) bool { return at != wrong }, func(at int) bool { return at == wrong })
}
