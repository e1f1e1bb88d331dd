package access

import (
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/automaton"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A Pattern is a set of accesses of one class. The zero Pattern is of none. Several goroutines may use it at once.
type Pattern struct {
	line      string
	questions []question
	limits    []limits
}

// question is a meaning.Question that is made anew for each use, as a language is not for several goroutines.
type question struct {
	like  []meaning.Access
	texts []texts
}

// Parse reads a line. The error names the word that is wrong and says what could stand there.
func Parse(line string) (Pattern, error) {
	words, err := scan(line)
	if err != nil {
		return Pattern{}, err
	}
	p := parser{words: words}
	if err := p.pattern(); err != nil {
		return Pattern{}, err
	}
	for _, q := range p.questions {
		for _, t := range q.texts {
			if err := t.check(); err != nil {
				return Pattern{}, err
			}
		}
	}
	return Pattern{joined(words), p.questions, p.limits}, nil
}

// String returns the line from which the pattern was read, with one blank where there were several.
func (p Pattern) String() string { return p.line }

// Allowed returns the shortest access of the pattern that the stack allows, and whether there is one. The error wraps
// automaton.ErrTooLarge if the profiles and the pattern together are too large to decide.
func (p Pattern) Allowed(s meaning.Stack) (witness meaning.Access, found bool, err error) {
	return p.example(s, true)
}

// Denied returns the shortest access of the pattern that the stack does not allow, and whether there is one.
func (p Pattern) Denied(s meaning.Stack) (witness meaning.Access, found bool, err error) {
	return p.example(s, false)
}

func (p Pattern) example(s meaning.Stack, allowed bool) (shortest meaning.Access, found bool, err error) {
	questions := p.questions
	for _, l := range p.limits {
		questions = append(questions[:len(questions):len(questions)], question{like: l.ask(s)})
	}
	for _, q := range questions {
		if allowed && s.Plainly(q.like) {
			continue
		}
		ask := meaning.Question{Like: q.like}
		for _, t := range q.texts {
			language, err := t.language()
			if err != nil {
				return nil, false, err
			}
			ask.Texts = append(ask.Texts, language)
		}
		one, ok, err := s.Example(ask, allowed)
		if err != nil {
			return nil, false, fmt.Errorf("%s: %w", p.line, err)
		}
		if ok {
			one = q.plainer(s, one, allowed)
		}
		if ok && (!found || len(Format(one)) < len(Format(shortest))) {
			shortest, found = one, true
		}
	}
	return shortest, found, nil
}

// plainer returns an example of the question's with protocol 0 instead of one that was left open, if that is an example, too. It
// is the protocol that nearly all sockets are asked about with.
func (q question) plainer(s meaning.Stack, example meaning.Access, allowed bool) meaning.Access {
	socket, ok := example.(meaning.SocketAccess)
	if !ok {
		return example
	}
	if protocols, ok := q.texts[2].(fixed); !ok || protocols != nil {
		return example
	}
	if socket.Protocol = 0; s.Decide(socket).Allowed != allowed {
		return example
	}
	return socket
}

// asks adds a question to the pattern that is read.
func (p *parser) asks(like []meaning.Access, texts ...texts) {
	p.questions = append(p.questions, question{like, texts})
}

// texts are what a text of an access may be.
type texts interface {
	language() (automaton.Language, error)

	// check reports why there is no such text.
	check() error
}
