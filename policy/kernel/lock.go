package kernel

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// lockWait is how long a start waits for other processes that load profiles. A load takes less than a hundredth of a
// second.
const lockWait = 30 * time.Second

// lock makes this process the only one of ours that loads profiles, until release is called or the process ends. The file
// stays, because its lock counts and not its existence.
func (s *state) lock(ctx context.Context, wait time.Duration) (release func(), err error) {
	if wait == 0 {
		wait = lockWait
	}
	release, err = safefile.Lock(ctx, s.fd, "kernel.lock", wait)
	path := s.path + "/kernel.lock"
	switch {
	case err == nil:
		return release, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("%s was held by another process for %s, while it takes milliseconds to load a profile:"+
			" find that process with `lslocks` and end it: %w", path, wait, err)
	case ctx.Err() != nil:
		return nil, fmt.Errorf("waiting for %s: %w", path, err)
	}
	return nil, fmt.Errorf("%s: %w", s.path, err)
}
