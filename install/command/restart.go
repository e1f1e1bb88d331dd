package command

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/probe"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// settle is the hidden command that ends what a killed call was trying.
const settle = "settle"

// checkRestart returns an error where --restart cannot work, before anything is looked at. By ours says that the engine's
// container is to be started by our runtime.
func checkRestart(s *session, o *wiringOptions, h *host.Host, byOurs bool) error {
	switch {
	case !o.restart && o.stop:
		return exit.With(exit.Usage, errors.New("--stop-containers goes with --restart"))
	case !o.restart:
		return nil
	case !h.Live():
		return exit.With(exit.Usage, errors.New("--restart is for engines that run, and --root names an image"))
	case !s.Root:
		return exit.With(exit.Cannot, errors.New("--restart takes root: run this as root"))
	case !byOurs:
		return nil
	}
	_, err := s.Current(s.Store)
	if err == nil {
		err = s.Ready()
	}
	if err == nil {
		return nil
	}
	code, bare := exit.Split(err)
	return exit.With(code, fmt.Errorf("--restart starts a container by our runtime, to see that the engine is back, and that "+
		"cannot work: %w", bare))
}

// recovered says what was done for a call that was killed, and ends the trial that it may have left.
func recovered(ctx context.Context, s *session, b *wire.Book, h *host.Host,
	settle func(context.Context, *wire.Book, *host.Host) (string, error)) error {
	if b.Recovered != "" {
		s.Warn(b.Recovered)
	}
	said, err := settle(ctx, b, h)
	if err == nil && said != "" {
		s.Warn(said)
	}
	return err
}

// checkStops returns an error if containers would stop and nobody has agreed to that.
func checkStops(o *wiringOptions, plans []*engines.Plan) error {
	for _, p := range plans {
		if r := p.Restart; r != nil && r.Ends() && !o.stop {
			return fmt.Errorf("%s: nothing was changed: %s, and %s: give --stop-containers as well, or leave --restart away",
				p.Engine, r.Stops, running(r))
		}
	}
	return nil
}

// guard has systemd run a process that waits until this one has ended, and takes back what this one leaves if it was killed.
func guard(ctx context.Context, h *host.Host, plans []*engines.Plan) error {
	for _, p := range plans {
		if p.Restart == nil || !p.Restart.OfDaemon() {
			continue
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		if err := h.Detach(ctx, fmt.Sprintf("oci-apparmor-%s-%d", settle, os.Getpid()), self, settle); err != nil {
			return fmt.Errorf("nothing was changed: nobody would take it back if this command were killed: %w", err)
		}
		return nil
	}
	return nil
}

// settleCommand waits for the call that has started it, and takes back what that has left. Our unit calls it as well, with
// --no-wait: a call that lives ends its trial by itself, and an engine whose start waits for our unit is not waited for.
func settleCommand(s *session) *cobra.Command {
	var noWait bool
	cmd := &cobra.Command{
		Use: settle, Hidden: true, Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			h, err := hostOf(&wiringOptions{root: "/"})
			if err != nil {
				return err
			}
			if _, err := os.Stat(h.Tree.Real(wire.Dir)); errors.Is(err, fs.ErrNotExist) {
				return nil // nothing was ever installed
			}
			open, end := wire.OpenLast, engines.Settle
			if noWait {
				open, end = wire.OpenFree, engines.SettleSoon
			}
			b, err := open(h.Tree)
			if noWait && errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			if err != nil {
				return exit.AsRoot(err)
			}
			defer b.Close()
			return recovered(cmd.Context(), s, b, h, end)
		}),
	}
	cmd.Flags().BoolVar(&noWait, "no-wait", false, "wait for no other call, and for no engine")
	return cmd
}

// prober returns what starts a throw-away container, and returns an error unless it is as it should be.
func prober(s *session, h *host.Host) engines.Probe {
	return func(ctx context.Context, e engines.Engine, via string, stock bool) error {
		p, is := e.(engines.Prober)
		if !is {
			return nil
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		_, faults, err := probe.Run(ctx, s.State, h, probe.Engine{Name: e.Name(), Via: via, Prober: p},
			probe.Options{Program: self, Args: []string{waiting}, Stock: stock})
		for _, f := range faults {
			if f.Kind == probe.Left {
				s.Warn(e.Name() + ": " + f.What)
				continue
			}
			err = errors.Join(err, errors.New(f.What))
		}
		return err
	}
}

func running(r *engines.Restart) string {
	if r.Unknown != "" {
		return "which containers run is not known, as it does not answer: " + oneline.Printable(r.Unknown)
	}
	return output.Count(len(r.Running), "container runs", "containers run")
}

// showRestart prints how an engine would take a change over.
func showRestart(out *output.Printer, r *engines.Restart) {
	if r == nil {
		return
	}
	line := r.Command()
	if len(r.With) > 0 {
		line += ", with which systemd restarts " + oneline.And(r.With)
	}
	if r.OfDaemon() {
		line += "; " + running(r)
	}
	switch {
	case !r.Ends():
	case r.Unknown != "":
		line += "; they may stop by that: " + r.Stops
	default:
		line += ", and stop by that: " + r.Stops
	}
	out.Wrapped("  ", line)
}

// showRestarted prints what has come of it.
func showRestarted(out *output.Printer, p *engines.Plan) {
	r := p.Restart
	if r.Outcome != engines.TakenOver {
		return // an error says why
	}
	line := "a container has started"
	switch gone := r.Gone(); {
	case !r.OfDaemon():
	case len(gone) == 0:
		line = fmt.Sprintf("%s is done, and a container has started; %s, as before", r.Command(), running(r))
	default:
		line = fmt.Sprintf("%s is done, and a container has started; of %s these run no more: %s", r.Command(),
			output.Count(len(r.Running), "container", "containers"), strings.Join(gone, ", "))
	}
	out.Wrapped(p.Engine+": ", "changed; "+line)
}
