package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// readState reads the container's state, which a runtime passes to a hook on standard input (OCI runtime-spec 1.3, config.md
// "POSIX-platform Hooks").
func readState(r io.Reader) (specs.State, error) {
	var s specs.State
	data, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return s, fmt.Errorf("reading the container's state from standard input: %w", err)
	}
	if len(data) == 0 {
		return s, errors.New("no state on standard input: this stage is for a runtime to call")
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("the container's state on standard input: %w", err)
	}
	if !filepath.IsAbs(s.Bundle) {
		return s, fmt.Errorf("the container's state on standard input names no bundle: %s", strconv.Quote(s.Bundle))
	}
	return s, nil
}
