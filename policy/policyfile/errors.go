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
	Line, Column int    // from 1; 0 where the fault is the file's as a whole
	Msg          string
	Err          error // what is behind it, or nil; Msg says it too
}

// Error gives the fault in the form that editors and compilers share, FILE:LINE:COLUMN: MESSAGE.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	return fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
}

// Unwrap gives what is behind the fault.
func (e *Error) Unwrap() error { return e.Err }

// Errors are all faults of a policy, in the order of its files, lines and columns.
type Errors []*Error

// Error gives one fault a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, one := range e {
		lines[i] = one.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap gives the faults one by one.
func (e Errors) Unwrap() []error {
	list := make([]error, len(e))
	for i, one := range e {
		list[i] = one
	}
	return list
}

// add reports a fault at a place. An error among the arguments is what is behind it.
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

// place is where something stands in a file.
type place struct {
	file         string
	line, column int
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.file, p.line) }
