package profile

import "errors"

// ErrRefused is what a TextError wraps if the text compiles, and the compiled profile must not be put in force.
var ErrRefused = errors.New("the profile compiles, and may not be put in force")

// refusedError is an ErrRefused with a message of its own.
type refusedError struct{ error }

func (refusedError) Is(err error) bool { return err == ErrRefused }

// ofProfile is an error about one of the profiles that a text defines.
type ofProfile struct {
	name string
	error
}

func (e ofProfile) Unwrap() error { return e.error }
