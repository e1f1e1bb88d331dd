// Package reader reads notices back: from the journal if one runs, else from the kernel's log.
//
// It believes only what a container cannot write. Everybody can write into the journal. So of its entries, those count that
// journald received from a process of root with a MESSAGE_ID of ours, or through the kernel's log. Only root can write
// into the kernel's log.
package reader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
)

// Reader is where notices are read.
type Reader struct {
	Log        notice.Log // where they were written
	Journalctl string     // the program that reads the journal: a path, or a name to look for in PATH
	UID        int        // whose notices are believed, besides root's
}

// NodeReader returns a reader of the notices on the node that we run on.
func NodeReader() Reader {
	return Reader{Log: notice.NodeLog(), Journalctl: "journalctl", UID: os.Geteuid()}
}

// Query is which notices to read.
type Query struct {
	Since  time.Time // zero for all that the log still has
	Follow bool      // wait for new notices until the context ends
}

// Read calls each for every notice of the query, in the order in which they were written. It stops at an error of each and
// returns it. Else it returns when there are no more notices or, with Follow, when the context ends, which is no error.
//
// Read calls warn with a line about notices that it cannot see, such as those in the journals of other users.
func (r Reader) Read(ctx context.Context, q Query, each func(notice.Notice) error, warn func(string)) error {
	var err error
	if r.journalRuns() {
		err = r.readJournal(ctx, q, each, warn)
	} else {
		err = r.readKernel(ctx, q, each, warn)
	}
	if q.Follow && ctx.Err() != nil {
		return nil
	}
	return err
}

// journalRuns reports whether the notices are in the journal.
func (r Reader) journalRuns() bool {
	_, err := os.Stat(r.Log.Journal)
	return err == nil
}

// program returns the path of journalctl.
func (r Reader) program() (string, error) {
	path, err := exec.LookPath(r.Journalctl)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("the journal runs (%s), and there is no %s to read it: install it, of the package systemd",
			r.Log.Journal, r.Journalctl)
	}
	return path, err
}
