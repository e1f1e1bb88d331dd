package profile

import "errors"

// ErrRefused is what is behind the error for a text that compiles, and by what it compiles to may not be put in force.
var ErrRefused = errors.New("the profile compiles, and may not be put in force")

// refusedError is an ErrRefused in words of its own.
type refusedError struct{ error }

func (refusedError) Is(err error) bool { return err == ErrRefused }
