package policyfile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Error is one fault of a policy file.
type Error struct {
	File         string // its path
	Line, Column int    // from 1; 0 for a fault of the file as a whole
	Msg          string
	Err          error // the cause, which Msg includes, or nil
}

// Error returns the fault in the form of editors and compilers: FILE:LINE:COLUMN: MESSAGE.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// Unwrap returns the cause of the fault.
func (e *Error) Unwrap() error { return e.Err }

// Errors has all faults of a policy, in the order of its files, lines and columns.
type Errors []*Error

// Error returns one line for each fault.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the faults as errors.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i, one := range e {
		list[i] = one
	}
	return list
}

// add adds a fault at a place. An error among the arguments is its cause.
func (e *Errors) add(at place, format string, args ...any) {
	one := &Error{File: at.file, Line: at.line, Column: at.column, Msg: fmt.Sprintf(format, args...)}
	for _, arg := range args {
		if err, ok := arg.(error); ok {
			one.Err = err
		}
	}
	*e = append(*e, one)
}

func (e Errors) sort(order map[string]int) {
	slices.SortStableFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(order[a.File], order[b.File]), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// place is a place in a file.
type place struct {
	file         string
	line, column int
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }
