package access

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
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
