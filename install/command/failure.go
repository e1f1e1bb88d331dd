package command

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// The exit codes of failures.
const (
	badPolicy = 1
	usage     = 2
	cannot    = 3
	refused   = 4

	notConfined = 5
)

// failure is an error with an exit code of its own. The error is nil where all has been said on stdout.
type failure struct {
	code int
	error
}

func (f *failure) Unwrap() error { return f.error }

// action is a command's function. An error of it that has no exit code gets one: what is left to cobra is a wrong
// command line.
func action(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := f(cmd, args)
		var has *failure
		if err == nil || errors.As(err, &has) {
			return err
		}
		return &failure{cannot, err}
	}
}

// errorLines gives the errors that err joins, in their order. Each of the policy file's begins with FILE:LINE:COLUMN,
// and each of a profile's with FILE:LINE, for editors to find; the others say which program speaks.
func errorLines(err error) []string {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		var lines []string
		for _, err := range list.Unwrap() {
			lines = append(lines, errorLines(err)...)
		}
		return lines
	}
	switch err.(type) {
	case *policyfile.Error, *profile.TextError:
		return []string{err.Error()}
	}
	return []string{"oci-apparmor: " + strings.TrimRight(err.Error(), "\n")}
}
