package source

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// canaryPrefix begins the name of the profile that a canary asks for. No profile has such a name.
const canaryPrefix = "oci-apparmor.canary."

// IsCanary reports whether a record is of a denial that Alive provoked. No source returns one.
func IsCanary(r *audit.Record) bool {
	name, ok := r.Field("name")
	return ok && bytes.HasPrefix(name.Text, []byte(canaryPrefix)) && r.Get("operation") == "change_onexec"
}

const (
	canaryPatience = 8 * time.Second // the kernel's limit on messages is one of five seconds
	canaryPause    = 2 * time.Second // until the next one
)

// Alive returns no error if a denial of our own, made now, comes back through a source like s, which is opened anew, so that s
// is where it was. Else the error says what is dead, and what to do. It returns one for a file and for standard input, of
// which nobody knows what should be in them. A source that is alive may have lost records since s was read to its end: lost
// says what is missing up to the denial.
//
// The denial is that of a change to a profile that there is not. The kernel writes a record of it as of any other, whether
// the process that asks is confined or not. So it needs no profile of ours in the kernel, no compiler on the node, and no
// right to load.
func Alive(ctx context.Context, s Source) (lost []Loss, err error) {
	from, ok := s.(interface{ from() origin })
	if !ok || !slices.Contains(living, s.Name()) {
		return nil, fmt.Errorf("nobody knows what should be in %s: that something is not in it says nothing", oneline.Name(s.Name()))
	}
	return from.from().host.alive(ctx, s.Name())
}

// alive is Alive for a source by its name.
func (h *Host) alive(ctx context.Context, name string) (lost []Loss, err error) {
	canary := canaryPrefix + strings.ToLower(rand.Text())
	s, err := h.Open(ctx, name, Options{Follow: true, Since: time.Now().Add(-time.Second), canary: canary})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if why := h.hopeless(name); why != "" {
		return nil, fmt.Errorf("%s is dead: %s", name, why)
	}
	late := errors.New("late")
	patience := cmp.Or(h.Patience, canaryPatience)
	ctx, stop := context.WithTimeoutCause(ctx, patience, late)
	defer stop()
	if err := h.deny(canary); err != nil {
		return nil, err
	}
	go func() {
		for tick := time.Tick(canaryPause); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick:
				_ = h.deny(canary)
			}
		}
	}()
	var e Entry
	for {
		if err := s.Next(ctx, &e); errors.Is(err, late) {
			return nil, fmt.Errorf("%s is dead: a denial that was made on purpose did not come through it within %v; %s", name, patience, diagnose(name))
		} else if err != nil {
			return nil, err
		}
		if e.Kernel && IsCanary(&e.Record) {
			return gaps(ctx, s), nil
		}
	}
}

// gaps returns what a source lacks up to now. It waits a moment for what may come yet.
func gaps(ctx context.Context, s Source) []Loss {
	j, ok := s.(*journal)
	if !ok {
		return nil
	}
	ctx, stop := context.WithTimeout(ctx, Settles)
	defer stop()
	var e Entry
	for len(j.numbers.missing(Journal, time.Now())) > 0 && j.Next(ctx, &e) == nil {
	}
	return j.numbers.missing("the journal", time.Now())
}

// deny makes AppArmor deny us the change to a profile that there is not.
func (h *Host) deny(profile string) error {
	if h.Deny != nil {
		return h.Deny(profile)
	}
	result := make(chan error)
	go func() {
		// The thread ends with the goroutine, as it is never unlocked: whatever the kernel set for its next program goes with it.
		runtime.LockOSThread()
		result <- changeOnExec(h.Proc, profile)
	}()
	err := <-result
	switch {
	case errors.Is(err, unix.EINVAL), errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errDenied):
		return fmt.Errorf("%w: %w", errNoAppArmor, err)
	case errors.Is(err, errDenied):
		return nil
	}
	return err
}

var errDenied = errors.New("denied")

// changeOnExec asks for a profile for the thread's next program. The error wraps errDenied if AppArmor decided.
func changeOnExec(proc, profile string) error {
	f, err := os.OpenFile(proc+"/thread-self/attr/apparmor/exec", os.O_WRONLY, 0)
	if errors.Is(err, fs.ErrNotExist) { // before Linux 5.8
		f, err = os.OpenFile(proc+"/thread-self/attr/exec", os.O_WRONLY, 0)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString("exec " + profile)
	// A profile in complain mode makes one of that name on the way. The thread ends before it can run a program.
	if err == nil || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) {
		return errors.Join(errDenied, err)
	}
	return err
}
