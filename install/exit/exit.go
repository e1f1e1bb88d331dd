// Package exit holds the exit codes of oci-apparmor's commands, and the error that has one.
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

// The exit codes of all commands but status, which has those of aa-status.
const (
	BadPolicy   = 1 // the policy, or a profile, is bad
	Usage       = 2 // the command line is bad
	Cannot      = 3 // it cannot be done here
	Refused     = 4 // a container would be refused
	NotConfined = 5 // a process is not confined as decided
)

// Error is an error with an exit code. Err is nil where all has been said on standard output.
type Error struct {
	Code int
	Err  error
}

// Error returns the message, which is empty where there is nothing more to say.
func (e *Error) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

// Unwrap returns the error without its code.
func (e *Error) Unwrap() error { return e.Err }

// With returns err with an exit code.
func With(code int, err error) error { return &Error{Code: code, Err: err} }

// Silently returns an error that is an exit code and says nothing.
func Silently(code int) error { return &Error{Code: code} }

// Split returns the exit code of an error and the error without it. One without a code has the code Cannot.
func Split(err error) (code int, bare error) {
	var e *Error
	if errors.As(err, &e) {
		return e.Code, e.Err
	}
	return Cannot, err
}

// AsRoot adds to an error for want of rights what has them: to run the command as root.
func AsRoot(err error) error {
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return fmt.Errorf("%w: run this as root", err)
	}
	return err
}

// Lines returns the errors that err joins, in their order. Each of the policy file's begins with FILE:LINE:COLUMN,
// and each of a profile's with FILE:LINE, for editors to find; the others say which program speaks.
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
