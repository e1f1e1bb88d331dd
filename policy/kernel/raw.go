package kernel

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// ErrNoBytes is wrapped by the errors for a profile of whose load the kernel has not kept the bytes (export_binary is N).
var ErrNoBytes = errors.New("the kernel has not kept what was loaded")

// Loaded returns the compiled profiles of the load that a profile of this namespace came with. It may hold others, too. The
// error wraps ErrNotLoaded or ErrNoBytes.
func (k *Kernel) Loaded(name string) ([]byte, error) {
	d, err := k.Details(name)
	if err != nil {
		return nil, err
	}
	revision, err := rawRevision(k.profiles() + "/" + d.Dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("profile %s: %w", oneline.Quote(name), ErrNoBytes)
	}
	if err != nil {
		return nil, err
	}
	return k.raw(revision)
}

// raw returns the bytes of a load.
func (k *Kernel) raw(revision string) ([]byte, error) { return k.rawUpTo(revision, maxRawData) }

// rawUpTo is raw for a load of so many bytes at most.
func (k *Kernel) rawUpTo(revision string, most int64) ([]byte, error) {
	f, err := os.Open(k.FS + "/policy/raw_data/" + revision + "/raw_data")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	blob, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(blob)) > most {
		err = fmt.Errorf("%s has more than %d bytes", f.Name(), most)
	}
	return blob, err
}
