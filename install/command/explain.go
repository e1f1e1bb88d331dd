package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
)

// question is what explain is asked.
type question struct {
	store, file string // decide by the applied policy, or by a file
	json        bool
	pid         processID

	bundle, root, engine, id string

	annotations                      []string
	labels                           []string
	namespace, pod, container, image string
	privileged                       privilege
	sandbox                          bool
	choice                           string // the profile that the engine chose
}

func explainCommand(n *node) *cobra.Command {
	var q question
	described := []string{"annotation", "namespace", "pod", "container", "image", "label", "privileged",
		"sandbox", "engine-choice"}
	cmd := &cobra.Command{
		Use:   "explain",
		Short: "Say what is decided for a container, and why",
		Long: `Say what is decided for a container, and why: for the bundle of one, or for one
that the flags describe. Nothing is started, loaded or changed.

The exit code is 4 where the container would be refused: by the policy, because
AppArmor cannot be used here, or because somebody else's profile is in the way.
It is 5 where the process of --pid is not confined as decided, and 3 where that
cannot be told. Otherwise it is 0, as ` + "`oci-apparmor --help`" + ` lists.`,
		Example: `  oci-apparmor policy explain --bundle . --root /run/runc
  oci-apparmor policy explain --engine containerd --namespace shop \
      --image docker.io/library/nginx:1 --annotation oci-apparmor/policy=web
  oci-apparmor policy explain --engine docker --engine-choice my-profile
  oci-apparmor policy explain --annotation oci-apparmor/policy=web --pid 4711`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if err := exclusive(cmd, "file", "store"); err != nil {
				return err
			}
			for _, name := range []string{"container", "image"} { // a sandbox has neither
				if err := exclusive(cmd, "sandbox", name); err != nil {
					return err
				}
			}
			for _, name := range described {
				if err := exclusive(cmd, "bundle", name); err != nil {
					return err
				}
			}
			return n.explain(cmd.Context(), q)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&q.store, "store", n.store, "`directory` of the applied policy")
	f.StringVar(&q.file, "file", "", "decide by this policy `file` or directory, applied or not")
	f.BoolVar(&q.json, "json", false, "print JSON")
	f.Var(&q.pid, "pid", "tell whether this `process` is confined as decided")

	f.StringVar(&q.bundle, "bundle", "", "the container's bundle, a `directory` with its config.json")
	f.StringVar(&q.root, "root", "", "the `directory` given to its runtime as --root, which tells the engine")
	f.StringVar(&q.engine, "engine", "", "the `engine`: "+strings.Join(policy.Engines, ", "))
	f.StringVar(&q.id, "id", "", "the container's `id`")
	f.StringArrayVar(&q.annotations, "annotation", nil, "an annotation of the container, `KEY=VALUE`; may be repeated")
	f.StringVar(&q.namespace, "namespace", "", "its Kubernetes `namespace`")
	f.StringVar(&q.pod, "pod", "", "its pod's `name`")
	f.StringVar(&q.container, "container", "", "its `name`, in its pod where it has one")
	f.StringVar(&q.image, "image", "", "its `image`")
	f.StringArrayVar(&q.labels, "label", nil, "a label of it, `KEY=VALUE`; may be repeated")
	f.StringVar(&q.choice, "engine-choice", "", "the `profile` that the engine was told to use, or gives by default; or "+
		"unconfined")
	f.Var(&q.privileged, "privileged", "it is privileged; with =partly, it has a part of what such ones have")
	f.Lookup("privileged").NoOptDefVal = policy.Privileged.String()
	f.BoolVar(&q.sandbox, "sandbox", false, "it is a pod's pause container")
	return cmd
}

// exclusive refuses a command line with both flags.
func exclusive(cmd *cobra.Command, one, other string) error {
	if !cmd.Flags().Changed(one) || !cmd.Flags().Changed(other) {
		return nil
	}
	return &failure{usage, fmt.Errorf("--%s and --%s cannot be given together: see %s --help", one, other,
		cmd.CommandPath())}
}

// processID is a flag's value.
type processID int

// Set reads it.
func (p *processID) Set(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		return errors.New("must be a process id")
	}
	*p = processID(n)
	return nil
}

// String gives it as help shows a default, which it has none of.
func (p *processID) String() string { return "" }

// Type is for help.
func (p *processID) Type() string { return "process" }

// privilege is a flag's value.
type privilege policy.Privilege

// Set reads it.
func (p *privilege) Set(s string) error {
	for _, one := range []policy.Privilege{policy.Unprivileged, policy.PartlyPrivileged, policy.Privileged} {
		if s == one.String() {
			*p = privilege(one)
			return nil
		}
	}
	return errors.New("must be no, partly or yes")
}

// String gives it as help shows a default, which it has none of.
func (p *privilege) String() string { return "" }

// Type is for help.
func (p *privilege) Type() string { return "privilege" }

// answer is what explain finds, and its JSON.
type answer struct {
	Generation uint64 `json:"generation,omitempty"` // that decided; none where a file did
	Engine     string `json:"engine"`
	Policy     string `json:"policy,omitempty"`
	Keep       bool   `json:"keep,omitempty"`
	Label      string `json:"label"` // process.apparmorProfile of the container's spec
	// Choice is the profile that the engine wrote into the spec, and what becomes of it.
	Choice  *choiceAnswer `json:"engineChoice,omitempty"`
	Reason  string        `json:"reason,omitempty"`
	Refused string        `json:"refused,omitempty"` // why, where the container would not start

	Privileged   string   `json:"privileged"`             // see policy.Privilege
	PrivilegedBy []string `json:"privilegedBy,omitempty"` // what it has that is so in part, where a rule asks for that

	Warnings []string `json:"warnings,omitempty"`

	Profiles []profileJSON  `json:"profiles,omitempty"`
	Process  *processAnswer `json:"process,omitempty"`
}

type choiceAnswer struct {
	Profile string `json:"profile"`
	Default string `json:"default,omitempty"` // whose default it is, so that it counts as none
	Outcome string `json:"outcome"`           // see policy.Choice
}

type processAnswer struct {
	PID   int    `json:"pid"`
	Label string `json:"label"` // as the kernel prints it
	// Confined says that every profile of the decision confines it, with the content that was applied, whatever else
	// confines it, too.
	Confined bool     `json:"confined"`
	Lacks    []string `json:"lacks,omitempty"` // profiles of the decision that are not in its label
	Older    string   `json:"older,omitempty"` // why it is, or may be, under an older content of them
}

func (n *node) explain(ctx context.Context, q question) error {
	facts, err := q.facts()
	if err != nil {
		return err
	}
	index, generation, err := n.index(q)
	if err != nil {
		return err
	}
	a := answer{Generation: generation, Engine: facts.Engine, Warnings: q.warnings(facts),
		Privileged: facts.Privileged.String()}
	if asks, err := asksForPrivileges(index); err != nil {
		return &failure{cannot, err}
	} else if asks {
		a.PrivilegedBy = facts.PrivilegedBy
	}
	if a.Engine == policy.EngineOther {
		a.Engine = "other"
	}

	d, err := index.DecideReading(&facts)
	switch {
	case errors.Is(err, policy.ErrIndex):
		return &failure{cannot, err}
	case err != nil:
		a.Refused = err.Error()
	default:
		a.Policy, a.Keep, a.Label, a.Reason = d.Policy, d.Keep, d.Label, d.Reason
		if d.Warning != "" {
			a.Warnings = append(a.Warnings, d.Warning)
		}
		if d.Keep {
			a.Label = facts.EngineChoice
		}
		if facts.EngineChoice != "" {
			engine, _ := policy.EngineDefault(facts.EngineChoice)
			a.Choice = &choiceAnswer{facts.EngineChoice, engine, d.Choice.String()}
		}
		for _, p := range d.Profiles {
			j := asProfileJSON(p)
			var refusal string
			if j.Kernel, refusal = n.inKernel(ctx, p); a.Refused == "" {
				a.Refused = refusal
			}
			a.Profiles = append(a.Profiles, j)
		}
	}
	var labelErr error
	if q.pid != 0 {
		a.Process, labelErr = n.process(int(q.pid), a.Profiles)
	}
	if q.json {
		err = n.printJSON(a)
	} else {
		err = n.printAnswer(a)
	}
	switch {
	case err != nil:
		return err
	case labelErr != nil:
		return &failure{cannot, asRoot(labelErr)}
	case a.Refused != "":
		return &failure{code: refused}
	case a.Process == nil || len(a.Profiles) == 0 || a.Process.Confined:
		return nil
	case len(a.Process.Lacks) == 0 && slices.ContainsFunc(a.Profiles, profileJSON.contentUnknown):
		return &failure{code: cannot}
	}
	return &failure{code: notConfined}
}

// asksForPrivileges says whether a rule is for privileged containers, or for all others, so that it matters who is one.
func asksForPrivileges(index policy.Index) (bool, error) {
	p, err := index.Policy()
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(p.Assignments, func(a policy.Assignment) bool { return a.Privileged != nil }), nil
}

// process asks the kernel what confines a process, and compares that with what was decided.
func (n *node) process(pid int, decided []profileJSON) (*processAnswer, error) {
	label, err := n.label(pid)
	if err != nil {
		return nil, err
	}
	a := &processAnswer{PID: pid, Label: label.String(), Confined: len(decided) > 0}
	for _, p := range decided {
		a.Confined = a.Confined && label.Covers(p.Name) && p.Kernel != nil && p.Kernel.State == same
		if !label.Covers(p.Name) {
			a.Lacks = append(a.Lacks, p.Name)
		}
	}
	if a.Confined && len(label.Components) > 1 {
		a.Older = n.older(pid)
		a.Confined = a.Older == ""
	}
	return a, nil
}

// older says of a process under a stack why it is, or may be, under an older content than the kernel's; empty where it is
// not, or in no container.
func (n *node) older(pid int) string {
	s, err := n.state.Gather(true)
	if err != nil {
		return ""
	}
	for _, c := range s.Containers {
		if slices.ContainsFunc(c.Processes, func(m status.Member) bool { return m.PID == pid }) {
			return c.Older
		}
	}
	return ""
}

// index gives the policy that decides, and its generation.
func (n *node) index(q question) (policy.Index, uint64, error) {
	if q.file == "" {
		g, err := n.current(q.store)
		if err != nil {
			return policy.Index{}, 0, err
		}
		return g.Index, g.Number, nil
	}
	node, _, _ := n.generatedFor(lastManifest(q.store))
	p, err := readPolicy(q.file, node)
	if err != nil {
		return policy.Index{}, 0, err
	}
	data, err := p.Encode()
	if err != nil {
		return policy.Index{}, 0, &failure{badPolicy, err}
	}
	x, err := policy.OpenIndex(data)
	return x, 0, err
}

func (n *node) printAnswer(a answer) error {
	out := &printer{w: n.stdout}
	switch {
	case a.Policy == "" && a.Refused != "": // nothing is decided
	case a.Keep && a.Label == "":
		out.wrapped("decision  ", a.Reason)
		out.line("label     none: the engine chose no profile")
	default:
		out.wrapped("decision  ", a.Reason)
		out.line("label     %s", oneline.Whole(a.Label))
	}
	if c := a.Choice; c != nil && c.Default != "" {
		out.line("chosen    by nobody: %s is %s's default", oneline.Whole(c.Profile), c.Default)
	} else if c != nil {
		out.line("chosen    by the engine: %s: %s", oneline.Whole(c.Profile), c.Outcome)
	}
	if len(a.PrivilegedBy) > 0 {
		out.wrapped("has       ", "a part of what privileged containers have: "+strings.Join(a.PrivilegedBy, ", "))
	}
	if a.Refused != "" {
		out.wrapped("refused   ", a.Refused)
	}
	for _, warning := range a.Warnings {
		out.wrapped("warning   ", warning)
	}
	for _, p := range a.Profiles {
		if p.ByHand {
			out.line("profile   %s, %s", p.Name, p.Source)
		} else {
			out.line("profile   %s, mode %s, from %s", p.Name, p.Mode, p.Source)
		}
		if len(p.Compiled) > 0 {
			out.line("  sha256  %s", p.Compiled[0].SHA256)
		}
		if p.Kernel != nil {
			out.wrapped("  kernel  ", p.Kernel.Detail)
		}
	}
	if p := a.Process; p != nil {
		verdict := ""
		switch {
		case len(a.Profiles) == 0: // nothing is decided that it could be compared with
		case p.Confined:
			verdict = ": confined as decided"
		case len(p.Lacks) > 0:
			verdict = ": not confined as decided: its label lacks " + strings.Join(p.Lacks, " and ")
		case p.Older != "":
			verdict = ": it has the decided label, and may be under an older content: " + oneline.Whole(p.Older)
		case slices.ContainsFunc(a.Profiles, profileJSON.contentUnknown):
			verdict = ": it has the decided label; whether also the content that was applied cannot be told"
		default:
			verdict = ": it has the decided label, and not the content that was applied"
		}
		out.wrapped("process   ", fmt.Sprintf("%d: %s%s", p.PID, oneline.Whole(p.Label), verdict))
	}
	return out.err
}
