package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/audit"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/procevents"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

type auditOptions struct {
	source, since, types               string
	container, pod, policy, profile    string
	follow, json, brief, each, summary bool
	untrusted, elsewhere               bool
	suggest, giveUp                    bool
	fix, features                      string
}

const auditHelp = `Print what AppArmor denied on this node: when, in which container, which process, what
it tried, the profile that denied it, and the rule of that profile's text which
decided. Starts that oci-apparmor refused stand between the denials.

The first line of each has the columns of oci-apparmor log: time, kind, engine,
container, policy, and the sentence. Repeats are one entry, with their number. The
lines below it say which container it is and how that is known, the access as profile
why takes it, and the rules.

A record has a process and a profile, and no container. The container is that of the
process, if it is still there, or if the shim of oci-apparmor saw it begin and end; also
after the container has ended, for which its record is kept for a week. The wrapper sees
no end: of the first process of a container it says "a or another". Else it is the one
container that had the profile at that time. If there were several, all are named: "one
of a, b". With --follow, the container is known of a process that has ended, too: where
each process of the node begins is noted.

Kinds, for --type, with commas between them; all stands for all of them:
  denied    not allowed
  killed    not allowed, by a profile in kill mode
  complain  allowed, but only because the profile is in complain mode
  audited   allowed, and a rule wants a record of it
  changed   a profile was loaded, replaced or removed, or could not be
  error     an error of AppArmor's own
  unknown   a record without a kind
  refusal   oci-apparmor refused a start or an exec
  warning   oci-apparmor warned at one
Without --type: denied, killed, complain, error, unknown and refusal.

Sources:
  auto       the most complete one of those below that works
  multicast  the kernel's audit socket: has no past, so it is for --follow
  journal    the journal, if it takes the kernel's audit records
  audit.log  auditd's log, with its rotated files
  kmsg       the kernel's log: at most ten records in five seconds
  PATH       a file with lines of any of these; - is standard input

"No denials" is said only if a denial made on purpose came back through the source,
nothing was lost or may have been, and nothing was left out that may be of the
container, pod or policy that is asked for, which has to be known. Containers can write
lines into some logs that look like the kernel's. They are not believed: they are
counted, and --untrusted shows them. In a file, only auditd's lines can be told from
those.

With --suggest, rules follow that would allow what was denied, as a patch of each
profile's text: the smallest ones, in the text's own style. Each was compiled, allows
the access, is needed, and is judged as profile check does. A line says what it gives
up. Where a rule of the text denies the access, that rule is named instead. --fix
writes the rules of one profile into its text, but for those that give up a
protection; --give-up writes these, too. A workload only has to try something to be
given a rule for it, so look at such rules first. Nothing is loaded. Records that a
container could have written are never made rules of.`

func auditCommand(s *session) *cobra.Command {
	var o auditOptions
	var schema bool
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "Print what AppArmor denied: in which container, by which rule",
		Long: auditHelp + `

With --json, each is an object on a line of its own, and the last line is an object
about the source; --schema prints the JSON Schema.

The exit code is 0 if all that is to be printed was printed, also if that is nothing;
and 3 if nothing was printed and it is not known whether there is nothing.`,
		Example: `  oci-apparmor audit --since 1h
  oci-apparmor audit --follow --container shop
  oci-apparmor audit --summary --policy web
  oci-apparmor audit --since 1h --suggest
  dmesg | oci-apparmor audit --source - --untrusted`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			if schema {
				_, err := s.stdout.Write(audit.Schema())
				return err
			}
			for _, other := range []string{"summary", "suggest", "fix"} {
				if o.follow && cmd.Flags().Changed(other) {
					return exit.With(exit.Usage, fmt.Errorf("--follow and --%s cannot be given together: --%s is about all that was read, "+
						"and with --follow more may always come", other, other))
				}
			}
			if o.fix != "" {
				if err := exclusive(cmd, "fix", "profile"); err != nil {
					return err
				}
				o.suggest, o.profile = true, o.fix
			} else if o.giveUp {
				return exit.With(exit.Usage, errors.New("--give-up is about what --fix PROFILE writes"))
			}
			return runAudit(cmd.Context(), s, &o)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&o.source, "source", source.Auto, "read records from `SOURCE`")
	f.BoolVarP(&o.follow, "follow", "f", false, "wait for new ones and print them")
	f.StringVar(&o.since, "since", "", "only since `TIME`: 10m or 24h ago, 2026-11-29, \"2026-11-29 06:45:00\", or RFC 3339")
	f.StringVar(&o.types, "type", "", "only these `KINDS`, or all")
	f.StringVar(&o.container, "container", "", "only of `CONTAINER`: its id or the beginning of it, its name, pod, or "+
		"NAMESPACE/POD[/NAME]")
	f.StringVar(&o.pod, "pod", "", "only of the containers of `POD`, or NAMESPACE/POD")
	f.StringVar(&o.policy, "policy", "", "only of containers under `POLICY`")
	f.StringVar(&o.profile, "profile", "", "only by `PROFILE` or its children")
	f.BoolVar(&o.brief, "brief", false, "one line each: no container's particulars, and no rules")
	f.BoolVar(&o.each, "each", false, "print each repeat")
	f.BoolVar(&o.summary, "summary", false, "print only how many there are for each container and policy, and of what")
	f.BoolVar(&o.suggest, "suggest", false, "also rules that would allow what was denied, as patches")
	f.StringVar(&o.fix, "fix", "", "write such rules into the text of `PROFILE`")
	f.BoolVar(&o.giveUp, "give-up", false, "with --fix, also write rules that give up a protection")
	f.StringVar(&o.features, "features", "",
		"compile texts for a kernel with the features in this `file`, not for the one that runs")
	f.BoolVar(&o.untrusted, "untrusted", false, "also records that a container could have written")
	f.BoolVar(&o.elsewhere, "elsewhere", false, "the records are of another node: do not look for their containers here")
	f.BoolVar(&o.json, "json", false, "print each as a JSON object")
	f.BoolVar(&schema, "schema", false, "print the JSON Schema of what --json prints")
	return cmd
}

// query returns what the options ask for.
func (o *auditOptions) query(now time.Time) (audit.Query, error) {
	q := audit.Query{Follow: o.follow, Untrusted: o.untrusted, Elsewhere: o.elsewhere, Container: o.container, Pod: o.pod,
		Policy: o.policy, Profile: o.profile}
	q.Host, _ = os.Hostname()
	if o.follow {
		q.Since = now
	}
	var err error
	if o.since != "" {
		if q.Since, err = parseSince(o.since, now); err != nil {
			return q, exit.With(exit.Usage, err)
		}
	}
	if o.types == "all" {
		q.Kinds = audit.Kinds
	} else if o.types != "" {
		for kind := range strings.SplitSeq(o.types, ",") {
			if !slices.Contains(audit.Kinds, audit.Kind(kind)) {
				return q, exit.With(exit.Usage, fmt.Errorf("--type %q: the kinds are %s, with commas between them, and all", o.types,
					joined(audit.Kinds)))
			}
			q.Kinds = append(q.Kinds, audit.Kind(kind))
		}
	}
	return q, nil
}

func joined(kinds []audit.Kind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}

// mostIDs is how many ids are named of those that begin as it was asked for.
const mostIDs = 5

// joiner returns what finds containers, and settles which one the query asks for by the beginning of an id.
func (s *session) joiner(q *audit.Query) (*audit.Joiner, error) {
	j := &audit.Joiner{Node: s.State}
	if q.Container == "" || q.Elsewhere {
		return j, nil
	}
	ids, whole := j.Meant(q)
	if len(ids) > 1 {
		return nil, exit.With(exit.Usage, fmt.Errorf("--container %s: the ids of %d containers begin so: %s", q.Container, len(ids),
			oneline.And(ids[:min(len(ids), mostIDs)])))
	}
	q.Whole = whole
	return j, nil
}

// noteProcesses notes in which control groups processes begin from now on, for those that end before anybody looks. The function that it
// returns ends that.
func (s *session) noteProcesses(ctx context.Context, j *audit.Joiner) (end func()) {
	begun, err := procevents.Open(ctx, s.State.Host.Kernel.Cgroup)
	if err != nil {
		s.Warnf("of a process that ends at once, the container may not be known: %v", err)
		return func() {}
	}
	j.Begun = begun
	return func() { begun.Close() }
}

func runAudit(ctx context.Context, s *session, o *auditOptions) error {
	q, err := o.query(time.Now())
	if err != nil {
		return err
	}
	s.warnOfNamesakes(o.source)
	joiner, err := s.joiner(&q)
	if err != nil {
		return err
	}
	q.InForce = o.policy != "" && s.inForce(o.policy)
	q.Lost = func(l source.Loss) { s.Warnf("%s", l.Sentence()) }
	src, err := s.records(ctx, o.source, source.Options{Since: q.Since, Follow: q.Follow})
	if err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(err))
	}
	defer src.Close()
	texts, err := o.texts(ctx, s)
	if err != nil {
		return err
	}
	var deciding audit.Deciding
	if texts != nil && !o.brief && !o.summary {
		deciding = texts
	}
	p := newAuditPrinter(ctx, s, o, deciding)
	notices := audit.Notices(s.notices)
	if !ofNode(o.source) {
		notices = nil // what a file has is of another time, or of another node
	}
	if p.counts() {
		q.Bare = p.groups.Full
	}
	if q.Follow && ofNode(src.Name()) && !q.Elsewhere {
		defer s.noteProcesses(ctx, joiner)()
	}
	end := audit.End{Source: src.Name()}
	end.Result, err = audit.Read(ctx, joiner, src, notices, q, p.event)
	if err = errors.Join(err, p.finish()); err != nil {
		return exit.With(exit.Cannot, exit.AsRoot(err))
	}
	if o.suggest {
		if err := p.suggest(texts); err != nil {
			return err
		}
	}
	end.Lost, end.Unread = src.Lost(), joiner.Unread()
	if !q.Follow && end.Shown == 0 && ofNode(src.Name()) {
		end.Asked = true
		var since []source.Loss
		since, end.Dead = s.alive(ctx, src)
		end.Lost = append(end.Lost, since...)
	}
	return p.end(&end)
}

// inForce reports whether the policy in force has a policy of that name, or cannot be read.
func (s *session) inForce(name string) bool {
	g, err := store.Store{Dir: s.Store}.Current()
	if err != nil {
		return !errors.Is(err, store.ErrNone)
	}
	config, err := g.Index.Config()
	return err != nil || slices.ContainsFunc(config.Policies, func(p policy.Policy) bool { return p.Name == name })
}

// ofNode reports whether a source is one of the node, and not a file or standard input.
func ofNode(name string) bool { return slices.Contains(source.Names, name) && name != source.Stdin }

// texts returns what knows the rules that decide, or nil if these are not asked for or cannot be known.
func (o *auditOptions) texts(ctx context.Context, s *session) (*profiles.Deciding, error) {
	if (o.brief || o.summary) && !o.suggest {
		return nil, nil
	}
	texts, err := profiles.NewDeciding(ctx, s.Node, o.features)
	if err != nil && !o.suggest && o.features == "" {
		s.Warnf("which rules decided is not known: %v", err)
		return nil, nil
	}
	return texts, err
}
