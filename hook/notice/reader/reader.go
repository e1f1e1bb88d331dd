// Package reader reads notices back: from the journal where one runs, and else from the kernel's log. Metrics and audits
// of what was refused begin here.
//
// It believes what a container can not write: of the journal, where everybody may send what he likes, only entries that
// journald saw a process of root's send with a MESSAGE_ID of ours, or that came by way of the kernel's log; and that takes
// lines from root only.
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
	UID        int        // of whose notices are believed, besides root's
}

// NodeReader reads those of the node that we run on.
func NodeReader() Reader {
	return Reader{Log: notice.NodeLog(), Journalctl: "journalctl", UID: os.Geteuid()}
}

// Query says which notices are asked for.
type Query struct {
	Since  time.Time // zero for all that are kept
	Follow bool      // go on with those that come, until the context ends
}

// Read calls each for every notice that is asked for, in the order in which they were written. It ends with an error of
// each, or when there are no more; where it follows, when the context ends, which is no error.
//
// warn gets a line for what is not to be seen, such as the journals of other users.
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

// journalRuns tells whether notices are in the journal.
func (r Reader) journalRuns() bool {
	_, err := os.Stat(r.Log.Journal)
	return err == nil
}

// program gives the path of journalctl.
func (r Reader) program() (string, error) {
	path, err := exec.LookPath(r.Journalctl)
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("the journal runs (%s), and there is no %s to read it: install it, of the package systemd",
			r.Log.Journal, r.Journalctl)
	}
	return path, err
}
