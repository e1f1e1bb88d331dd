// Package exit has the exit codes of oci-apparmor's commands, and an error with an exit code.
package exit

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// The exit codes of all commands except status, which has those of aa-status. 0 means success.
const (
	BadPolicy   = 1 // the policy or a profile is bad, or two profiles that are compared differ
	Usage       = 2 // the command line is wrong
	Cannot      = 3 // the command cannot do its work on this machine, or the answer is not known
	Refused     = 4 // a container would be refused
	NotConfined = 5 // a process is not confined as decided
)

// Error is an error with an exit code. Err is nil if the command has printed the reason on standard output.
type Error struct {
	Code int
	Err  error
}

// Error returns the message. It is empty if Err is nil.
func (e *Error) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// With returns err with an exit code.
func With(code int, err error) error { return &Error{Code: code, Err: err} }

// Silently returns an error with an exit code and no message.
func Silently(code int) error { return &Error{Code: code} }

// Split returns the exit code of an error, and the error without it. For an error without an exit code, that is Cannot.
func Split(err error) (code int, bare error) {
	var e *Error
	if errors.As(err, &e) {
		return e.Code, e.Err
	}
	return Cannot, err
}

// AsRoot adds "run this as root" to an error if the process lacks a permission and is not root.
func AsRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return fmt.Errorf("%w: run this as root", err)
	}
	return err
}

// Lines returns the messages of the errors that err joins, in their order. Those about a policy file begin with
// FILE:LINE:COLUMN, and those about a profile with FILE:LINE, so that editors find the place. All others begin with the
// program's name.
func Lines(err error) []string {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		var lines []string
		for _, err := range list.Unwrap() {
			lines = append(lines, Lines(err)...)
		}
		return lines
	}
	switch err.(type) {
	case *policyfile.Error, *profile.TextError:
		return []string{err.Error()}
	}
	return []string{"oci-apparmor: " + strings.TrimRight(err.Error(), "\n")}
}
