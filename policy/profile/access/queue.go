package access

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

var mqueuePermissions = named(meaning.MqueuePermissions, fileLetters)

// mqueue reads "mqueue [PERMISSION] [type=posix] [label=LABEL] [/NAME]".
func (p *parser) mqueue() error {
	p.at++
	wants, err := p.permissions(mqueuePermissions)
	if err != nil {
		return err
	}
	name, label := glob{kind: queues}, glob{kind: perhaps}
	for p.more() {
		w := p.words[p.at]
		switch {
		case w.key == "type" && w.text == "posix":
			p.at++
		case w.key == "label":
			p.at++
			if label, err = globOf(perhaps, w); err != nil {
				return err
			}
		case name.patterns != nil || w.key != "":
			return p.end("type=posix, label= or the name of a queue")
		default:
			if name, err = p.text(queues, "the name of a queue"); err != nil {
				return err
			}
		}
	}
	var like []meaning.Access
	for _, want := range wants {
		like = append(like, meaning.MqueueAccess{Want: want})
	}
	p.asks(like, name, label)
	return nil
}

func formatMqueue(a meaning.MqueueAccess) string {
	return "mqueue " + mqueuePermissions.joined(a.Want) + " label=" + literal(a.Label) + " " + literal(a.Name)
}

// queueLanguage returns the language of the names of message queues.
func queueLanguage() automaton.Language {
	const start, slash, name, wrong = 0, 1, 2, 3
	return automaton.NewLanguage(automaton.Apart("/\x00"), start, func(at int, b byte) int {
		switch {
		case at == start && b == '/':
			return slash
		case at == start || at == wrong || b == 0 || b == '/':
			return wrong
		}
		return name
	}, func(at int) bool { return at == name }, func(at int) bool { return at == wrong })
}

var dbusPermissions = named(meaning.DBusPermissions, fileWords, fileLetters)

// A dbusWords is what a line says of message buses, by the words for it.
type dbusWords map[string]glob

// dbusKinds are what the words of message buses have behind them. Those of a peer have that ahead of them.
var dbusKinds = map[string]kind{"bus": names, "path": anything, "interface": anything, "member": anything, "name": names,
	"peer name": anything, "peer label": labels}

// dbus reads "dbus [PERMISSION] [bus=BUS] [path=PATH] [interface=NAME] [member=NAME] [peer=(name=NAME, label=LABEL)]" and,
// to bind, "[name=NAME]".
func (p *parser) dbus() error {
	p.at++
	at := p.at
	wants, err := p.permissions(dbusPermissions)
	if err != nil {
		return err
	}
	said := p.at > at
	if p.more() && p.words[p.at].key == "" {
		return p.end("a permission (" + listed(dbusPermissions.words()) + "), bus=, path=, interface=, member=, peer= or name=")
	}
	d := make(dbusWords)
	conditions := map[string]func(word) error{"peer": d.peer}
	for key := range dbusKinds {
		if !strings.HasPrefix(key, "peer ") {
			conditions[key] = func(w word) error { return d.take(key, w) }
		}
	}
	if err := p.conditions(conditions); err != nil {
		return err
	}
	left := d.fit(wants)
	if len(left) == 0 || said && len(left) < len(wants) {
		return fmt.Errorf("dbus: %s do not belong to each permission: path=, interface=, member= and peer= are about send and receive, name= about bind",
			listed(slices.Sorted(maps.Keys(d))))
	}
	for _, want := range left {
		like := []meaning.Access{meaning.DBusAccess{Want: want}}
		switch want {
		case meaning.DBusEavesdrop:
			p.asks(like, d.of("bus"))
		case meaning.DBusBind:
			p.asks(like, d.of("bus"), d.of("name"))
		default:
			p.asks(like, d.of("bus"), d.of("peer name"), d.of("peer label"), d.of("path"), d.of("interface"), d.of("member"))
		}
	}
	return nil
}

// take keeps what a word has behind it.
func (d dbusWords) take(key string, w word) (err error) {
	d[key], err = globOf(dbusKinds[key], w)
	return err
}

// peer reads "(name=NAME, label=LABEL)".
func (d dbusWords) peer(w word) error {
	if len(w.list) == 0 {
		return fmt.Errorf("%s is wrong: of a peer can stand (name=NAME, label=LABEL)", shown(w))
	}
	for _, one := range w.list {
		key := "peer " + one.key
		if dbusKinds[key].language == nil {
			return fmt.Errorf("%s is wrong: of a peer here can stand name= and label=", shown(one))
		}
		if err := d.take(key, one); err != nil {
			return err
		}
	}
	return nil
}

// of returns the texts that a word stands for.
func (d dbusWords) of(key string) glob {
	if g, ok := d[key]; ok {
		return g
	}
	return glob{kind: dbusKinds[key]}
}

// fit returns the permissions that all conditions can be about.
func (d dbusWords) fit(wants []uint32) []uint32 {
	_, named := d["name"]
	others := len(d)
	for _, key := range []string{"bus", "name"} {
		if _, ok := d[key]; ok {
			others--
		}
	}
	return slices.DeleteFunc(slices.Clone(wants), func(want uint32) bool {
		return others > 0 && want != meaning.DBusSend && want != meaning.DBusReceive || named && want != meaning.DBusBind
	})
}

func formatDBus(a meaning.DBusAccess) string {
	text := "dbus " + dbusPermissions.joined(a.Want) + " bus=" + literal(a.Bus)
	switch a.Want {
	case meaning.DBusEavesdrop:
		return text
	case meaning.DBusBind:
		return text + " name=" + literal(a.Name)
	}
	return text + " path=" + literal(a.Path) + " interface=" + literal(a.Interface) + " member=" + literal(a.Member) +
		" peer=(name=" + literal(a.Name) + ", label=" + literal(a.Label) + ")"
}

// A limits is hard limits of a resource that a line is about.
type limits struct {
	resource    int
	least, most uint64
}

// rlimit reads "[set] rlimit [RESOURCE [<= NUMBER|= NUMBER]]": to set the hard limit to at most a number, or to that.
// Numbers are the kernel's, without units.
func (p *parser) rlimit() error {
	p.skip("set")
	if !p.skip("rlimit") {
		return fmt.Errorf("set is followed by no rlimit")
	}
	if !p.more() {
		for n := range 16 {
			p.limits = append(p.limits, limits{n, 0, ^uint64(0)})
		}
		return nil
	}
	w := p.words[p.at]
	equal := false
	name := w.text
	if w.key != "" { // RESOURCE=NUMBER
		equal, name = true, w.key
	}
	n, ok := kernelname.Resources.Number(name)
	if !ok || n > 15 || w.quoted || w.listed {
		return fmt.Errorf("%s is no resource: here can stand %s", shown(w), listed(kernelname.Resources.Words()))
	}
	l := limits{int(n), 0, ^uint64(0)}
	if !equal {
		p.at++
		equal = p.skip("=")
		if !equal && !p.skip("<=") {
			p.limits = append(p.limits, l)
			return p.end(`"<=" or "=" and a number`)
		}
		if !p.more() {
			return fmt.Errorf("a number is missing at the end")
		}
		w = p.words[p.at]
	}
	p.at++
	most, err := strconv.ParseUint(w.text, 10, 64)
	if w.text == "infinity" {
		most, err = ^uint64(0), nil
	}
	if err != nil {
		return fmt.Errorf("%s is no number: here can stand one without a unit, or infinity", shown(w))
	}
	if l.most = most; equal {
		l.least = most
	}
	p.limits = append(p.limits, l)
	return p.end("")
}

// ask returns the accesses by which a stack decides about all: what is allowed ends at a limit of a part.
func (l limits) ask(s meaning.Stack) (like []meaning.Access) {
	hard := []uint64{l.least, l.most}
	for _, p := range s {
		if limit, set := p.Rlimits[l.resource]; set {
			hard = append(hard, limit, limit+1) // past the greatest number is 0
		}
	}
	slices.Sort(hard)
	for _, n := range slices.Compact(hard) {
		if l.least <= n && n <= l.most {
			like = append(like, meaning.RlimitAccess{Resource: l.resource, Hard: n})
		}
	}
	return like
}

func formatRlimit(a meaning.RlimitAccess) string {
	hard := strconv.FormatUint(a.Hard, 10)
	if a.Hard == ^uint64(0) {
		hard = "infinity"
	}
	return strings.Join([]string{"rlimit", kernelname.Resources.Word(uint16(a.Resource)), "=", hard}, " ")
}
