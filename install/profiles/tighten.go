package profiles

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"github.com/aymanbagabas/go-udiff"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/compare"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/syntax"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/tighten"
)

// A Tightening says which profile is tightened, and by what.
type Tightening struct {
	File    string
	Run     string        // the workload, for a shell: it exits 0 if it works
	Timeout time.Duration // how long the workload may take each time
	Guard   []string      // the command that puts a profile back, see PutBack
	Denials source.Source // the kernel's records from now on; nil if there are none to be had
	Deny    bool          // add rules that deny, without a record, what the workload is denied and does without
	Wholly  bool          // the workload fails where it is denied something, with a record, also if it does without

	// Alive proves that the records still come, as source.Alive, which it is if nil. With Wholly it is called before the first run
	// and after the last one.
	Alive func(context.Context, source.Source) ([]source.Loss, error)

	Tried func(text string, o tighten.Outcome) // called after each run; may be nil
}

// A Tightened is what comes of it.
type Tightened struct {
	*tighten.Result
	Name   string
	Patch  string   // from the text to that without the rules; empty if all are needed
	Denied []string // the rules that deny what the workload does without, in the order in which they were added
	Vain   []string // what the workload is denied, with a record, and does without
	Missed error    // why it may be denied more; nil if it is not. With Tightening.Wholly it is an error of Tighten
}

// Tighten finds the rules of a loaded profile that a workload does without. It takes them away in the kernel, runs the
// workload, and puts the profile back as it was, in any end.
//
// While it runs, whatever runs under the profile has fewer rights, and never more: Tighten proves of each text that it allows
// nothing that the whole one does not. It works on a profile that oci-apparmor has loaded, in mode enforce, from just this
// text, and that nothing uses in a stack, because processes there do not take over what is replaced.
func Tighten(ctx context.Context, n *node.Node, o Tightening) (*Tightened, error) {
	if err := n.Ready(); err != nil {
		return nil, err
	}
	c, _, err := n.NewCompiler(ctx, "")
	if err != nil {
		return nil, err
	}
	files := ReadFiles(ctx, n, c, []string{o.File})
	if err := Faults(files); err != nil {
		return nil, err
	}
	t := &tightening{Tightening: o, node: n, compiler: c, file: &files[0], name: files[0].Name()}
	if t.Alive == nil {
		t.Alive = source.Alive
	}
	if err := t.begin(ctx); err != nil {
		return nil, exit.With(exit.Cannot, err)
	}
	if t.whole, err = meaning.ReadFor(t.file.Blob.Data, c); err != nil {
		return nil, exit.With(exit.BadPolicy, err)
	}
	if err := t.mayTry(); err != nil {
		return nil, exit.With(exit.Cannot, err)
	}
	made := &Tightened{Name: t.name}
	guarded, putBack, err := t.guard(ctx)
	if err != nil {
		return nil, exit.With(exit.Cannot, err)
	}
	plan := tighten.Plan{Keep: t.mustStay(ctx), Run: t.try}
	if plan.Used, err = t.used(guarded); err == nil {
		made.Result, err = tighten.Drop(guarded, string(t.file.Text), plan)
	}
	if err == nil {
		err = t.silence(guarded, made)
	}
	if err == nil {
		err = t.settle(guarded)
	}
	if back := putBack(); back != nil {
		return nil, exit.With(exit.Cannot, errors.Join(err, back))
	}
	if err != nil {
		return nil, exit.With(exit.Cannot, err)
	}
	if made.Text != string(t.file.Text) {
		made.Patch = udiff.Unified(o.File, o.File, string(t.file.Text), made.Text)
	}
	return made, nil
}

type tightening struct {
	Tightening
	node     *node.Node
	compiler node.Compiler
	file     *File
	name     string
	whole    []*meaning.Profile
	seen     []seen        // in the last run
	missed   error         // why something denied may be missing there
	vain     []seen        // in the last run that worked
	lost     []source.Loss // up to the end of the last run
}

// mayTry says why nothing may be tried with the profile.
func (t *tightening) mayTry() error {
	owned, err := t.node.Kernel.Owned(t.name)
	if err != nil {
		return exit.AsRoot(err)
	}
	found, err := t.node.Kernel.Check(t.file.wanted(false))
	if err != nil {
		return exit.AsRoot(err)
	}
	switch {
	case found.Status == kernel.Missing:
		return fmt.Errorf("profile %s is not loaded: run oci-apparmor profile load %s, and the workload under it", t.name, oneline.Whole(t.File))
	case !owned:
		return fmt.Errorf("profile %s was not loaded by oci-apparmor, which changes only its own", t.name)
	case found.Status != kernel.Matches:
		return fmt.Errorf("the kernel has other content of profile %s than %s: load that first", t.name, oneline.Whole(t.File))
	case t.file.Blob.Profiles[0].Mode != profile.Enforce:
		return fmt.Errorf("profile %s is in mode %s, in which nothing fails for want of a rule: tighten it in mode enforce", t.name,
			t.file.Blob.Profiles[0].Mode)
	}
	users, err := t.node.Kernel.Using(t.name)
	if err != nil {
		return err
	}
	for _, u := range users {
		if len(u.Label.Components) > 1 {
			return fmt.Errorf("process %d runs under the stack %s, and would not take over what is tried: stop it first", u.PID,
				oneline.Whole(u.Label.String()))
		}
	}
	return nil
}

// mustStay returns the function that says why a rule must stay whatever the workload does: profile check would warn without
// it. Only rules about processes can be so; and what a file includes may be such rules.
func (t *tightening) mustStay(ctx context.Context) func(syntax.Rule) string {
	senders := t.node.SendersFor("")
	warnings := func(text string) (all []string) {
		f := File{Path: t.File, Text: []byte(text)}
		var err error
		if f.Blob, err = t.compiler.CompileText(ctx, t.File, f.Text); err != nil {
			return nil
		}
		list, _ := f.Lint(ctx, t.compiler, senders, nil)
		for _, w := range list {
			all = append(all, w.Message)
		}
		return all
	}
	read := syntax.Read(string(t.file.Text))
	before := warnings(string(t.file.Text))
	return func(r syntax.Rule) string {
		if !r.Removable() || r.First() != "signal" && r.First() != "ptrace" && !r.IsInclude() {
			return ""
		}
		for _, w := range warnings(read.Remove([]syntax.Rule{r})) {
			if !slices.Contains(before, w) {
				return "without it, " + w
			}
		}
		return ""
	}
}

// try loads a text in place of the profile and runs the workload.
func (t *tightening) try(ctx context.Context, text string) (o tighten.Outcome, err error) {
	f := File{Path: t.File, Text: []byte(text)}
	if f.Blob, err = t.compiler.CompileText(ctx, t.File, f.Text); err != nil {
		return o, err
	}
	some, err := meaning.ReadFor(f.Blob.Data, t.compiler)
	if err != nil {
		return o, err
	}
	beyond, within, err := compare.Within(sideOfAll(some), sideOfAll(t.whole))
	if err == nil && !within {
		err = fmt.Errorf("without some of its rules the profile would allow more than with them, and is not tried: %s", beyond)
	}
	if err != nil {
		return o, err
	}
	p := f.wanted(false)
	if _, err := t.node.Kernel.Ensure(ctx, []kernel.Profile{p}); err != nil {
		return o, err
	}
	var failed error
	t.seen, t.missed = t.watch(ctx, func(ctx context.Context) { failed = t.run(ctx) })
	if err := context.Cause(ctx); err != nil {
		return o, err
	}
	found, err := t.node.Kernel.Check(p)
	if err == nil && found.Status != kernel.Matches {
		err = fmt.Errorf("somebody has loaded profile %s while the workload ran: %s", t.name, found)
	}
	if err != nil {
		return o, err
	}
	if o, err = t.outcome(failed); err == nil && t.Tried != nil {
		t.Tried(text, o)
	}
	return o, err
}

// outcome returns how the last run went, of which failed says whether it failed by itself.
func (t *tightening) outcome(failed error) (o tighten.Outcome, err error) {
	denied := "" // but for what it was denied when it worked
	if i := slices.IndexFunc(t.seen, func(s seen) bool { return s.kind == audit.Denied && !slices.ContainsFunc(t.vain, s.like) }); i >= 0 {
		denied = "; denied was " + t.seen[i].what
	}
	if failed == nil && denied != "" && t.Wholly {
		failed = errDenied
	}
	if failed != nil {
		return tighten.Outcome{Why: failed.Error() + denied}, nil
	}
	if t.Wholly && t.missed != nil {
		return o, unknown(t.missed)
	}
	t.vain = t.seen
	return tighten.Outcome{Works: true}, nil
}

func sideOfAll(all []*meaning.Profile) compare.Side {
	side := compare.Side{Stack: meaning.Stack(all[:1]), Others: make(map[string]*meaning.Profile)}
	for _, p := range all {
		side.Others[p.Name] = p
	}
	return side
}

// errDenied is why a run has failed that did not fail by itself, with Tightening.Wholly.
var errDenied = errors.New("it does not work without a denial")

// endsIn is how long a workload that is ended has to take away what it has started.
const endsIn = 10 * time.Second

// run runs the workload once. The error says how it failed. If the context ends, or the time for it, the workload is sent
// SIGTERM, and SIGKILL after endsIn. What it has started in its process group ends with it.
func (t *tightening) run(ctx context.Context) error {
	limited, stop := context.WithTimeout(ctx, t.Timeout)
	defer stop()
	cmd := exec.Command("/bin/sh", "-c", t.Run)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &tail{&said}, &tail{&said}
	err := cmd.Start()
	if err != nil {
		return err
	}
	kill := func(signal unix.Signal) { _ = unix.Kill(-cmd.Process.Pid, signal) }
	ended := make(chan struct{})
	go func() {
		select {
		case <-limited.Done():
			kill(unix.SIGTERM)
		case <-ended:
			return
		}
		select {
		case <-time.After(endsIn):
			kill(unix.SIGKILL)
		case <-ended:
		}
	}()
	err = cmd.Wait()
	close(ended)
	kill(unix.SIGKILL) // none may be left
	switch {
	case errors.Is(context.Cause(ctx), errDenied):
		return errDenied
	case errors.Is(limited.Err(), context.DeadlineExceeded):
		err = fmt.Errorf("it took more than %s", t.Timeout)
	}
	if err == nil || errors.Is(err, exec.ErrWaitDelay) {
		return nil
	}
	if words := oneline.Output(said.Bytes()); words != "" {
		return fmt.Errorf("%w: %s", err, oneline.Cut(words, 200))
	}
	return err
}

// tail keeps the end of what is written.
type tail struct{ *bytes.Buffer }

func (t *tail) Write(p []byte) (int, error) {
	const most = 4096
	t.Buffer.Write(p[max(0, len(p)-most):])
	if extra := t.Len() - most; extra > 0 {
		t.Next(extra)
	}
	return len(p), nil
}

// guard starts the process that puts the profile back if this one ends before it has. The context that it returns ends if
// that process does. putBack puts the profile back, and ends the process.
func (t *tightening) guard(ctx context.Context) (guarded context.Context, putBack func() error, err error) {
	g, err := startGuard(t.Guard, t.file.Blob.Data)
	if err != nil {
		return nil, nil, fmt.Errorf("the process that would put profile %s back does not start: %w", t.name, err)
	}
	guarded, stop := context.WithCancelCause(ctx)
	go func() { stop(cmp.Or(g.wait(), errors.New("the process that would put the profile back has ended"))) }()
	return guarded, func() error {
		_, err := t.node.Kernel.Ensure(context.WithoutCancel(ctx), []kernel.Profile{t.file.wanted(false)})
		if err != nil {
			return fmt.Errorf("profile %s could not be put back, and has fewer rules than it had: run oci-apparmor profile load %s: %w",
				t.name, oneline.Whole(t.File), err)
		}
		return g.dismiss()
	}, nil
}
