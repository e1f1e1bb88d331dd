package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/learn"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/recording"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

const (
	backlog   = 8192            // records that the kernel keeps until they are read; with its usual 64 it loses most of a container's start
	saveEvery = time.Second     // while there is something new
	patience  = 8 * time.Second // how long a denial that is made at the end may take to come back; less than ending
)

// A Recorder records what the containers of a policy do.
type Recorder struct {
	Node       *node.Node
	Recordings recording.Dir
	Open       func(ctx context.Context) (source.Proving, error) // which is known to be alive
	Anew       bool                                              // forget what earlier sessions brought
	Patience   time.Duration                                     // how long a proof that nothing is missing may take
}

// New returns a recorder of a node, by the audit multicast socket.
func New(n *node.Node) *Recorder {
	return &Recorder{Node: n, Recordings: recording.Node, Open: listen, Patience: patience}
}

func listen(ctx context.Context) (source.Proving, error) {
	l, err := source.Listen(ctx, backlog)
	if err != nil {
		return nil, err
	}
	if _, err := source.Alive(ctx, l.Source); err != nil { // of the audit socket, l itself says what it loses
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// Record records a policy's containers that start from now on, until ctx ends. ready is called when it has begun. If ready fails,
// nobody may know of it, and it ends.
func (r *Recorder) Record(ctx context.Context, policyName string, ready func() error) error {
	blob, err := r.compile(ctx, policyName)
	if err != nil {
		return err
	}
	h := homeOf(r.Node.Store, policyName)
	release, err := h.lock(ctx, time.Millisecond)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return exit.With(exit.Cannot, fmt.Errorf("policy %s is recorded already", policyName))
	}
	if err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(err))
	}
	defer release()
	if err := h.sign(); err != nil {
		return exit.With(exit.Cannot, err)
	}
	if err := h.continues(); err != nil && !r.Anew {
		return exit.With(exit.Cannot, err)
	}
	src, err := r.Open(ctx)
	if err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(fmt.Errorf("what containers do cannot be recorded: %w", err)))
	}
	s := &session{home: h, Session: Session{Policy: policyName, Started: time.Now().UTC()}}
	if err := s.begin(r.Anew); err != nil {
		return exit.With(exit.Cannot, errors.Join(err, src.Close()))
	}
	if _, err := remove(ctx, r.Node, policyName); err != nil {
		r.Node.Warn(fmt.Sprintf("profiles of earlier recordings stay in the kernel: %v", err))
	}
	held, err := r.Recordings.Begin(policyName, blob)
	if err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(errors.Join(err, s.end(src, nil))))
	}
	untold := ready()
	if untold == nil {
		err = s.read(ctx, src)
	}
	if ended := held.End(); err == nil {
		err = ended
	}
	if err == nil {
		s.prove(context.WithoutCancel(ctx), src, r.Patience)
	}
	return errors.Join(untold, s.end(src, err))
}

// compile returns the recording profile for a policy that is in force.
func (r *Recorder) compile(ctx context.Context, name string) (blob profile.Blob, err error) {
	gen, err := store.Store{Dir: r.Node.Store}.Current()
	if err != nil {
		return blob, exit.With(exit.Cannot, exit.AsRoot(err))
	}
	config, err := gen.Config()
	if err != nil {
		return blob, exit.With(exit.Cannot, err)
	}
	at := slices.IndexFunc(config.Policies, func(p policy.Policy) bool { return p.Name == name })
	switch {
	case at < 0:
		return blob, exit.With(exit.Usage, fmt.Errorf("the policy in force has no policy %s: see oci-apparmor policy show", oneline.Name(name)))
	case config.Policies[at].Profile == policy.Keep:
		return blob, exit.With(exit.Usage, fmt.Errorf("policy %s leaves containers as their engines start them, so that they cannot be recorded", name))
	}
	c, _, err := r.Node.NewCompiler(ctx, "")
	if err != nil {
		return blob, err
	}
	own := recording.NameFor(name, "", "")
	if err := profile.CheckName(own); err != nil {
		return blob, exit.With(exit.Usage, fmt.Errorf("policy %s cannot be recorded: %w", name, err))
	}
	return c.Compile(ctx, own, profile.Complain, "the recording profile", learn.RecordingText(own, templates.Target{}))
}

// A session is a Session that goes on.
type session struct {
	Session
	home  home
	rules learn.Recording
	file  *os.File
	size  int64        // of the file
	new   bytes.Buffer // lines that are not in the file yet
	dirty bool
	full  bool // there was more than is kept
}

// mostKept is how many bytes of records are kept. A container chooses what it does, and so how many there are.
const mostKept = 256 << 20

// begin reads what earlier sessions brought, and opens the file for more.
func (s *session) begin(anew bool) error {
	s.rules.Of = func(name string) bool { return recording.IsFor(s.Policy, name) }
	flags := os.O_RDWR | os.O_CREATE | os.O_APPEND
	if anew {
		flags |= os.O_TRUNC
	}
	var err error
	if s.file, err = os.OpenFile(s.home.file("records"), flags, 0o600); err != nil {
		return err
	}
	if s.size, err = wholeLines(s.file); err == nil {
		err = readKept(s.file, &s.rules)
	}
	if err == nil {
		err = s.home.save(&s.Session)
	}
	if err != nil {
		return errors.Join(err, s.file.Close())
	}
	return nil
}

// wholeLines cuts off what stands behind a file's last line break, and returns the file's size. A recorder that is killed
// leaves a part of a record there, which would become one with the next.
func wholeLines(f *os.File) (size int64, err error) {
	all, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, err
	}
	buf := make([]byte, 64<<10)
	for size = all; size > 0; {
		from := max(0, size-int64(len(buf)))
		part := buf[:size-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return 0, err
		}
		at := bytes.LastIndexByte(part, '\n')
		size = from + int64(at) + 1
		if at >= 0 {
			break
		}
	}
	if size < all {
		err = f.Truncate(size)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	return size, err
}

// read takes records until ctx ends, which is no error.
func (s *session) read(ctx context.Context, src source.Source) error {
	var e source.Entry
	for {
		next, stop := ctx, context.CancelFunc(func() {})
		if s.dirty {
			next, stop = context.WithTimeout(ctx, saveEvery)
		}
		err := src.Next(next, &e)
		late := source.Ended(next, err)
		stop()
		switch {
		case err == nil && e.Kernel:
			s.take(&e.Record)
		case err == nil:
		case !late:
			return err
		case ctx.Err() != nil:
			return nil
		default:
			if err := s.flush(); err != nil {
				return err
			}
		}
		if s.new.Len() > 1<<16 {
			if err := s.flush(); err != nil {
				return err
			}
		}
	}
}

// prove reads what the kernel wrote before the end, and notes a loss if nothing proves that it still writes records. Somebody may have
// told it to write none since the session began, or added a rule to the audit subsystem that excludes them.
func (s *session) prove(ctx context.Context, src source.Proving, patience time.Duration) {
	if err := source.Proved(ctx, src, patience, func(e *source.Entry) { s.take(&e.Record) }); err != nil {
		s.lose(fmt.Sprintf("records, nobody knows since when: at the end, nothing proved that the kernel still writes them: %v", err))
	}
}

// take notes a record.
func (s *session) take(record *audit.Record) {
	ours, news := s.rules.Add(record)
	if !ours {
		return
	}
	s.Seen++
	s.dirty = true
	label, _ := record.Profile()
	if name := main(label); len(s.Profiles) < mostProfiles && !slices.Contains(s.Profiles, name) {
		s.Profiles = append(s.Profiles, name)
	}
	switch {
	case news && s.size >= mostKept:
		s.full = true
	case news:
		s.Kept++
		n, _ := s.new.Write(line(record))
		s.size += int64(n)
	}
}

// mostProfiles is of how many containers the names are kept.
const mostProfiles = 1000

func (s *session) flush() error {
	if _, err := s.file.Write(s.new.Bytes()); err != nil {
		return err
	}
	s.new.Reset()
	s.dirty = false
	return s.home.save(&s.Session)
}

// end notes how the session ended.
func (s *session) end(src source.Source, failed error) error {
	for _, l := range src.Lost() {
		s.lose(l.String())
	}
	if s.full || s.rules.Full() {
		s.lose("some: the recorder, as there was more than it keeps")
	}
	if failed != nil {
		s.lose("what came after an error: " + failed.Error())
	}
	s.Ended = time.Now().UTC()
	return errors.Join(failed, s.flush(), s.file.Close(), src.Close())
}

// lose notes what is missing.
func (s *session) lose(what string) {
	if !slices.Contains(s.Lost, what) {
		s.Lost = append(s.Lost, what)
	}
}

// line writes a record as the kernel did.
func line(r *audit.Record) []byte {
	var b bytes.Buffer
	for i, f := range r.Fields {
		if f.Added || bytes.ContainsAny(f.Text, "\n\r") {
			continue
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		if len(f.Key) > 0 {
			b.Write(f.Key)
			b.WriteByte('=')
		}
		if f.Quoted {
			fmt.Fprintf(&b, `"%s"`, f.Text)
		} else {
			b.Write(f.Text)
		}
	}
	b.WriteByte('\n')
	return b.Bytes()
}
