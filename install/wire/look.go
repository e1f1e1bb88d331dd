package wire

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
)

// ErrUnderWay says that another install or uninstall holds the lock, and has not ended.
var ErrUnderWay = errors.New("an install or uninstall is under way")

// Look returns the book of a tree to read only. It keeps no lock, and fails where a killed call has left something. The error wraps
// ErrUnderWay where a call that still runs has left it.
func Look(t Tree) (*Book, error) {
	dir, err := resolve(Dir, t.peek)
	if err != nil {
		return nil, err
	}
	b, err := read(t, dir)
	if err != nil {
		return nil, err
	}
	if j, err := readJSON[journal](b, "journal.json"); err != nil || j != nil {
		release, held := safefile.Lock(context.Background(), safefile.Cwd, b.real("lock"), time.Nanosecond)
		if errors.Is(held, os.ErrDeadlineExceeded) {
			return nil, fmt.Errorf("%w: run this again when it has ended", ErrUnderWay)
		}
		if held == nil {
			release()
		}
		return nil, errors.Join(err, errors.New("an install or uninstall was killed: the next one that is no dry run finishes it "+
			"or takes it back"))
	}
	return b, nil
}
