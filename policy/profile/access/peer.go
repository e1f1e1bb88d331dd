package access

import (
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

var signalPermissions = named(meaning.SignalPermissions, fileWords, fileLetters)

var ptracePermissions = named(meaning.PtracePermissions, fileLetters)

// signals are all signals that rules have a name for.
var signals = func() (all []meaning.Signal) {
	for n := range 256 {
		if s, ok := meaning.ParseSignal(meaning.Signal(n).String()); ok && s == meaning.Signal(n) {
			all = append(all, s)
		}
	}
	return all
}()

// signal reads "signal [send|receive] [set=SIGNAL] [peer=LABEL]".
func (p *parser) signal() error {
	p.at++
	wants, err := p.permissions(signalPermissions)
	if err != nil {
		return err
	}
	set := signals
	peer := glob{kind: labels}
	err = p.conditions(map[string]func(word) error{
		"set": func(w word) (err error) {
			set, err = signalsOf(w)
			return err
		},
		"peer": func(w word) (err error) {
			peer, err = globOf(labels, w)
			return err
		},
	})
	if err != nil {
		return err
	}
	var like []meaning.Access
	for _, want := range wants {
		like = append(like, meaning.SignalAccess{Want: want})
	}
	var usual, others fixed // so that an example has a usual one
	for _, s := range set {
		number := string([]byte{byte(s)})
		if s <= meaning.LastSignal {
			usual = append(usual, number)
		} else {
			others = append(others, number)
		}
	}
	for _, numbers := range []fixed{usual, others} {
		if len(numbers) > 0 {
			p.asks(like, numbers, peer)
		}
	}
	return nil
}

func signalsOf(w word) (set []meaning.Signal, err error) {
	names := []word{w}
	if w.listed {
		names = w.list
	}
	for _, name := range names {
		s, ok := meaning.ParseSignal(name.text)
		if !ok {
			return nil, fmt.Errorf("%s is no signal: here can stand kill, term, hup, exists, rtmin+0 and so on", shown(name))
		}
		set = append(set, s)
	}
	if len(set) == 0 {
		return nil, fmt.Errorf("%s has nothing in it", shown(w))
	}
	return set, nil
}

// ptrace reads "ptrace [trace|read|tracedby|readby] [peer=LABEL]".
func (p *parser) ptrace() error {
	p.at++
	wants, err := p.permissions(ptracePermissions)
	if err != nil {
		return err
	}
	peer := glob{kind: labels}
	if err := p.condition("peer", labels, &peer); err != nil {
		return err
	}
	var like []meaning.Access
	for _, want := range wants {
		like = append(like, meaning.PtraceAccess{Want: want})
	}
	p.asks(like, peer)
	return nil
}

// userns reads "userns [create]".
func (p *parser) userns() error {
	p.at++
	p.skip("create")
	p.asks([]meaning.Access{meaning.UsernsAccess{}})
	return p.end("create")
}

// ioURing reads "io_uring [sqpoll|override_creds] [label=LABEL]". Only override_creds is about a label.
func (p *parser) ioURing() error {
	p.at++
	wants, err := p.permissions(permissionNames{{Word: "sqpoll", Bits: meaning.MayCreate}, {Word: "override_creds", Bits: meaning.MayAppend}})
	if err != nil {
		return err
	}
	label := glob{kind: labels}
	if err := p.condition("label", labels, &label); err != nil {
		return err
	}
	for _, want := range wants {
		if want&meaning.MayAppend != 0 {
			p.asks([]meaning.Access{meaning.IOUringAccess{Override: true}}, label)
		}
		if want&meaning.MayCreate != 0 && label.patterns == nil {
			p.asks([]meaning.Access{meaning.IOUringAccess{}})
		}
	}
	if p.questions == nil {
		return fmt.Errorf("label= is wrong behind sqpoll: only override_creds is about a label")
	}
	return nil
}

// permissions reads the permissions that come next, each of which is asked for alone: a word, or a list. Without any they
// are all of the class.
func (p *parser) permissions(names permissionNames) (wants []uint32, err error) {
	if p.more() && p.words[p.at].key == "" && !p.words[p.at].quoted {
		w := p.words[p.at]
		one := []word{w}
		if w.listed {
			one = w.list
		}
		for _, name := range one {
			want, ok := names.want(name.text)
			switch {
			case !ok && !w.listed: // which is something else
				return names.bits(), nil
			case !ok || !name.is(name.text):
				return nil, fmt.Errorf("%s is no permission of this kind: here can stand %s", shown(name), listed(names.words()))
			}
			wants = append(wants, want)
		}
		p.at++
		if wants == nil {
			return nil, fmt.Errorf("%s has nothing in it", shown(w))
		}
		return wants, nil
	}
	return names.bits(), nil
}

// condition reads a condition, KEY=TEXT, where it comes next. Nothing may follow.
func (p *parser) condition(key string, k kind, into *glob) error {
	return p.conditions(map[string]func(word) error{key: func(w word) (err error) {
		*into, err = globOf(k, w)
		return err
	}})
}

// fixed are texts that are some numbers, or nil for all of two bytes.
type fixed []string

func (f fixed) language() (automaton.Language, error) {
	if f != nil {
		return automaton.Words(f...), nil
	}
	return automaton.NewLanguage(automaton.Apart(""), 0, func(n int, _ byte) int { return min(n+1, 3) },
		func(n int) bool { return n == 2 }, func(n int) bool { return n == 3 }), nil
}

func (f fixed) check() error { return nil }

func formatSignal(a meaning.SignalAccess) string {
	return "signal " + signalPermissions.joined(a.Want) + " set=" + a.Signal.String() + " peer=" + literal(a.Peer)
}

func formatPtrace(a meaning.PtraceAccess) string {
	return "ptrace " + ptracePermissions.joined(a.Want) + " peer=" + literal(a.Peer)
}

func formatIOURing(a meaning.IOUringAccess) string {
	if a.Override {
		return "io_uring override_creds label=" + literal(a.Label)
	}
	return "io_uring sqpoll"
}
