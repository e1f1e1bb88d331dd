package command

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/hook/programs"
	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// wiringOptions are those of install and uninstall. Uninstall has only some.
type wiringOptions struct {
	via, root, bin string
	isDefault      bool
	yes, dry, json bool
	restart, stop  bool
}

func (o *wiringOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.root, "root", "/", "`directory` of the node's files, for an image that does not run")
	cmd.Flags().BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&o.dry, "dry-run", false, "show what would change, and write nothing")
	cmd.Flags().BoolVar(&o.json, "json", false, "print JSON; nothing is asked, and without --yes nothing is changed")
	cmd.Flags().BoolVar(&o.restart, "restart", false, "have engines take it over, and take it back if one does not come back")
	cmd.Flags().BoolVar(&o.stop, "stop-containers", false, "with --restart: also where this stops containers that run")
}

// restartHelp is what --restart does, for the help of both commands.
const restartHelp = `With --restart each engine takes the change over at once: by a reload where that is
enough, else by a restart of its systemd unit. It must then answer within a minute,
and a throw-away container must start and execute a process. Otherwise its files are
taken back and it is started as it was, also where this command is killed. Where
containers that run would stop, as Docker's without "live-restore", nothing is
changed without --stop-containers. K3s, RKE2 and MicroK8s are restarted by the unit
that starts their containerd, and k0s does it by itself. An engine that is in no unit,
or that no program is there to ask (ctr, docker, crictl), is refused.`

func installCommand(s *session) *cobra.Command {
	var o wiringOptions
	cmd := &cobra.Command{
		Use:   "install [ENGINE]...",
		Short: "Have container engines start containers through oci-apparmor",
		Long: `Have container engines start containers through oci-apparmor:

    ` + oneline.And(engines.Names()) + `

Without a name, all of these that are on the node. Runc and crun by themselves have no
configuration: install runc prints what goes into a bundle's config.json, and how the
bundle is prepared.

An engine gets a runtime called apparmor, beside those that it has; with --default
it is the one that the engine takes where nobody asks for another. It has the
options of the runtime that is the default now.

What would change is shown as a diff first, and asked about. The engine's own
check reads a copy before anything is written: where it would read anything else
than before, and ours, nothing is changed. Comments, order, unknown keys, modes,
owners and links of files stay as they are. A file that cannot be parsed is not
touched, and the error names its line and column.

A call that is killed is finished or taken back by the next one. What was there
before is kept below ` + store.Dir + `, and uninstall puts it back.

Without --restart no engine is restarted: the command that does so is printed.
Programs are not installed by this, but by make install; an engine is pointed at
them only where they are.

` + restartHelp,
		Args: cobra.ArbitraryArgs,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			choice := engines.Choice{Via: o.via}
			if cmd.Flags().Changed("default") {
				choice.Default = &o.isDefault
			}
			return runInstall(cmd.Context(), s, &o, choice, args)
		}),
	}
	o.flags(cmd)
	cmd.Flags().StringVar(&o.via, "via", "", "`WAY` in which the engine reaches us: "+strings.Join(engines.Vias(), ", ")+
		" (default: as it is wired, or its best)")
	cmd.Flags().BoolVar(&o.isDefault, "default", false, "make ours the runtime that the engine takes where nobody asks for "+
		"another; --default=false takes that back")
	cmd.Flags().StringVar(&o.bin, "bin", "", "`directory` of the programs, as a path below the root (default: that of this program; in "+
		"an image /usr/local/bin, or /usr/bin)")
	return cmd
}

func uninstallCommand(s *session) *cobra.Command {
	var o wiringOptions
	cmd := &cobra.Command{
		Use:   "uninstall [ENGINE]...",
		Short: "Take oci-apparmor out of container engines' configuration",
		Long: `Take oci-apparmor out of container engines' configuration. Without a name, out of
every one that it is in. It needs no policy and no network.

A file that nobody has changed since install gets the bytes, the mode and the owner
that it had before. In one that somebody has changed, only what is ours is taken
out. What was wired by hand is taken out as well.

The programs stay, and so does all that runs: a pod or container that was created
by ours goes on with it, and needs the programs until it has been removed. These
containers are named, with what they cannot do any more once the engine is
restarted: containerd 2 executes nothing more in them. The links to our wrapper that
they call stay, and so does what Podman and CRI-O need to stop and remove them.

Without --restart no engine is restarted: the command that does so is printed. Until
then an engine goes on with what it has read of ours, and new containers come to us.
The links to our wrapper stay so long: run this again after the restart.

` + restartHelp,
		Args: cobra.ArbitraryArgs,
		RunE: action(func(cmd *cobra.Command, args []string) error { return runUninstall(cmd.Context(), s, &o, args) }),
	}
	o.flags(cmd)
	return cmd
}

func runInstall(ctx context.Context, s *session, o *wiringOptions, choice engines.Choice, names []string) error {
	if i := slices.IndexFunc(names, func(name string) bool { return slices.Contains(byHand, name) }); i >= 0 {
		if len(names) > 1 {
			return exit.With(exit.Usage, fmt.Errorf("%s is no engine, and is asked about by itself", names[i]))
		}
		h, err := hostOf(o)
		if err != nil {
			return err
		}
		return showByHand(s, h, names[i], o.json)
	}
	if err := cmp.Or(engines.CheckNames(names), engines.CheckVia(choice.Via)); err != nil {
		return exit.With(exit.Usage, err)
	}
	h, err := hostOf(o)
	if err != nil {
		return err
	}
	if err := checkRestart(s, o, h, true); err != nil {
		return err
	}
	return wiring(ctx, s, o, h, func(b *wire.Book) ([]*engines.Plan, error) {
		plans, err := engines.Install(ctx, b, h, names, choice)
		if err != nil || !h.Live() || o.dry {
			return plans, err
		}
		return plans, checkDefault(plans, func() error {
			_, err := s.Current(s.Store)
			return err
		})
	})
}

// checkDefault returns an error if an engine would send all of its containers to us while the policy cannot be read. It
// does that if a flag says so, or if our runtime is its default already.
func checkDefault(plans []*engines.Plan, readable func() error) error {
	for _, p := range plans {
		if !p.Default() || len(p.Edits) == 0 {
			continue
		}
		if err := readable(); err != nil {
			return fmt.Errorf("%s: ours as the default would send every container to a policy that cannot be read: %w", p.Engine, err)
		}
	}
	return nil
}

func runUninstall(ctx context.Context, s *session, o *wiringOptions, names []string) error {
	if err := engines.CheckNames(names); err != nil {
		return exit.With(exit.Usage, err)
	}
	h, err := hostOf(o)
	if err != nil {
		return err
	}
	if err := checkRestart(s, o, h, false); err != nil {
		return err
	}
	return wiring(ctx, s, o, h, func(b *wire.Book) ([]*engines.Plan, error) { return engines.Uninstall(ctx, b, h, names) })
}

// hostOf returns the host of the options.
func hostOf(o *wiringOptions) (*host.Host, error) {
	root, err := filepath.Abs(o.root)
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(root); err != nil {
		return nil, exit.With(exit.Usage, err)
	} else if !info.IsDir() {
		return nil, exit.With(exit.Usage, fmt.Errorf("--root %s is no directory", o.root))
	}
	bin := o.bin
	switch {
	case bin != "" && !filepath.IsAbs(bin):
		return nil, exit.With(exit.Usage, fmt.Errorf("--bin %s is not an absolute path", bin))
	case bin != "":
	case root == "/":
		self, err := os.Executable()
		if err != nil {
			return nil, err
		}
		bin = filepath.Dir(programs.Called(self))
	default:
		bin = "/usr/local/bin"
		if _, err := os.Stat(filepath.Join(root, bin, "oci-apparmor-runtime")); errors.Is(err, fs.ErrNotExist) {
			if _, err := os.Stat(filepath.Join(root, "/usr/bin/oci-apparmor-runtime")); err == nil {
				bin = "/usr/bin"
			}
		}
	}
	return host.New(root, bin), nil
}

// wiring plans, shows, asks, and does it.
func wiring(ctx context.Context, s *session, o *wiringOptions, h *host.Host, plan func(*wire.Book) ([]*engines.Plan, error)) error {
	commit := o.yes && !o.dry || !o.json && !o.dry
	b, err := openBook(ctx, s, h, commit)
	if err != nil {
		return exit.AsRoot(err)
	}
	defer b.Close()
	plans, err := plan(b)
	if err == nil && o.restart {
		err = engines.PlanRestarts(ctx, b, h, plans)
	}
	if err != nil {
		return exit.AsRoot(err)
	}
	changes := slices.ContainsFunc(plans, func(p *engines.Plan) bool { return len(p.Edits) > 0 || p.Restart != nil })
	if !o.json {
		if err := showPlans(s.print(), plans); err != nil {
			return err
		}
	}
	if commit && changes {
		if err := agree(ctx, s, o, h, plans); err != nil {
			return err
		}
	}
	var done []*engines.Plan
	var failed error
	if commit {
		done, failed = engines.Try(ctx, b, h, plans, prober(s, h))
	}
	err = reportDone(s, h, o.json, plans, done, commit && failed == nil)
	if failed != nil { // those before it are done all the same
		return exit.AsRoot(failed)
	}
	if err == nil && slices.ContainsFunc(plans, func(p *engines.Plan) bool { return p.Failed }) {
		return exit.Silently(exit.Cannot) // it has been said why
	}
	return err
}

// openBook opens the book of a host, to write in or to read only, and ends what a killed call has left.
func openBook(ctx context.Context, s *session, h *host.Host, commit bool) (*wire.Book, error) {
	if !commit {
		return wire.Look(h.Tree)
	}
	b, err := wire.Open(ctx, h.Tree)
	if err != nil {
		return nil, err
	}
	if err := recovered(ctx, s, b, h, engines.Settle); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// agree returns an error unless the plans may be done: the operator was asked, or has said so by flags.
func agree(ctx context.Context, s *session, o *wiringOptions, h *host.Host, plans []*engines.Plan) error {
	if err := checkStops(o, plans); err != nil {
		return err
	}
	if !o.yes {
		if err := s.agreed(); err != nil {
			return err
		}
	}
	return guard(ctx, h, plans)
}

// reportDone prints what was done. all says that nothing has failed.
func reportDone(s *session, h *host.Host, asJSON bool, plans, done []*engines.Plan, all bool) error {
	if asJSON {
		return output.JSON(s.stdout, plansJSON(plans, done, all))
	}
	return showDone(s.print(), done, h.Live())
}

// agreed asks whether to go on. The error says that nothing was changed.
func (s *session) agreed() error {
	if _, err := unix.IoctlGetTermios(unix.Stdin, unix.TCGETS); err != nil {
		return errors.New("nothing was changed: --yes does it where nobody can be asked")
	}
	fmt.Fprint(s.stderr, "Change this? [y/N] ")
	answer, _ := bufio.NewReader(os.Stdin).ReadString('\n') // at its end it is no yes
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return errors.New("nothing was changed")
	}
	return nil
}

func showPlans(out *output.Printer, plans []*engines.Plan) error {
	if len(plans) == 0 {
		out.Line("nothing of ours is in any engine's configuration")
	}
	var absent []string // engines that are not wired for the same reason, in a line
	for i, p := range plans {
		switch {
		case p.Absent != "":
			if absent = append(absent, p.Engine); i+1 == len(plans) || plans[i+1].Absent == "" || plans[i+1].Why() != p.Why() {
				out.Wrapped(strings.Join(absent, ", ")+": ", p.Why())
				absent = nil
			}
			continue
		case len(p.Edits) == 0:
			out.Line("%s: nothing changes", p.Engine)
		default:
			out.Line("%s:", p.Engine)
			out.Line("%s", strings.TrimSuffix(wire.Diff(p.Edits), "\n"))
		}
		for _, note := range p.Notes {
			out.Wrapped("  ", note)
		}
		showRestart(out, p.Restart)
	}
	return out.Err
}

func showDone(out *output.Printer, plans []*engines.Plan, live bool) error {
	for _, p := range plans {
		switch {
		case p.Restart != nil:
			showRestarted(out, p)
		case len(p.Edits) == 0:
		case p.Then == "" || !live:
			out.Line("%s: changed", p.Engine)
		default:
			out.Line("%s: changed; it takes that over by: %s", p.Engine, p.Then)
		}
	}
	return out.Err
}

// planJSON is an element of what --json prints.
type planJSON struct {
	Engine  string   `json:"engine"`
	Absent  string   `json:"absent,omitempty"`
	Changed []string `json:"changed"` // paths
	Done    bool     `json:"done"`    // the engine's files are as they should be
	Diff    string   `json:"diff,omitempty"`
	Notes   []string `json:"notes,omitempty"`
	Then    string   `json:"then,omitempty"`

	Restart *engines.Restart `json:"restart,omitempty"` // with --restart, unless there is nothing to take over
}

func plansJSON(plans, done []*engines.Plan, allDone bool) any {
	all := make([]planJSON, len(plans))
	for i, p := range plans {
		all[i] = planJSON{Engine: p.Engine, Absent: p.Absent, Changed: []string{}, Diff: wire.Diff(p.Edits), Notes: p.Notes,
			Restart: p.Restart}
		for _, e := range p.Edits {
			all[i].Changed = append(all[i].Changed, e.Path)
		}
		if len(p.Edits) > 0 {
			all[i].Then = p.Then
		}
		all[i].Done = p.Absent == "" && slices.Contains(done, p)
	}
	return struct {
		Done    bool       `json:"done"` // false where this is only what would be, and where an engine has failed
		Engines []planJSON `json:"engines"`
	}{allDone, all}
}
