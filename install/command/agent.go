package command

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/hook"
	counters "github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/hook/programs"
	"github.com/oci-apparmor/oci-apparmor/install/agent"
	"github.com/oci-apparmor/oci-apparmor/install/doctor"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/metrics"
	"github.com/oci-apparmor/oci-apparmor/install/probe"
)

type agentOptions struct {
	listen string
	public bool
	config string
	onLost string

	node, server, secrets, handler string // of Kubernetes

	more  func(*agent.Agent)                                // adds further parts; may be nil
	after func(ctx context.Context, kube *agent.Kube) error // is called when the agent has ended; may be nil
}

func agentCommand(s *session) *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Look after this node, until it is stopped",
		Long: `Look after this node, until it is stopped: apply the policy when its files change,
put profiles right that others have changed, and see to the wiring of engines. No
container's start depends on it: without it, policy apply is run by hand, a start
puts right what it needs, and doctor says what is wrong.

The policy is applied as by policy apply, when its files have not changed for a moment,
and at the start. A ConfigMap counts as a whole: what is applied is one version of it. A
policy with an error in it is not applied, and the last good one stays in force. What a
policy rollback has put in force stays until the files change.

A profile of the policy in force that somebody else has replaced in the kernel, or
removed from it, is loaded again at once, as the policy says (onDrift): with refuse
this is only said. Processes that ran under a profile that was removed stay
unconfined. What profile unload has removed is left, and what is not loaded yet is
loaded by the start that needs it. Whoever loads the same profile again and again is
answered now and then.

Where what install wrote into an engine's files is gone, that is said, or with
--on-wiring-lost repair written again, as by install. With restart the engine also
takes it over, as by install --restart. This is done three times an hour at most.

With --node, the Node has the label ` + agent.ReadyLabel + ` once the kubelet
lists our runtime handler, and a throw-away container and what is executed in it have
the right labels; annotations with the policy's digest and with why a policy is
refused; a condition, and events. The service account needs get and patch of nodes,
patch of nodes/status, and create of events. Without the API server all else goes on.

What became of it is in the log, in ` + agent.Dir + `/agent.json, and served at
/state of the address that --listen names. Metrics for Prometheus are at /metrics: those
of status --prometheus, and some that only the agent knows.

It ends by SIGTERM. Only one runs on a node.`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error { return runAgent(cmd.Context(), s, &o) }),
	}
	o.flags(cmd, s)
	cmd.AddCommand(agentApplyCommand(s), agentWiringCommand(s), agentExamCommand(s))
	return cmd
}

func (o *agentOptions) flags(cmd *cobra.Command, s *session) {
	cmd.Flags().StringVar(&o.config, "config", s.Config, "`directory` of policy.yaml")
	cmd.Flags().StringVar(&o.listen, "listen", "unix:"+agent.Dir+"/agent.sock",
		"`ADDRESS` at which the state is served: unix:PATH, or a loopback address with a port, as 127.0.0.1:9470; empty for none")
	cmd.Flags().StringVar(&o.onLost, "on-wiring-lost", string(agent.ReportLost), "`what` to do where an engine's wiring is lost: "+
		"report, repair or restart")
	cmd.Flags().BoolVar(&o.public, "public", false, "let --listen name an address that other machines reach; whoever reaches it may read")
	f := cmd.Flags()
	f.StringVar(&o.node, "node", "", "`NAME` of this Node of Kubernetes, which is to say how the node stands; empty for none")
	f.StringVar(&o.server, "api-server", "", "`URL` of the API server, https://HOST:PORT (default: that of the pod's environment)")
	f.StringVar(&o.secrets, "service-account", "", "`directory` of the service account's token and ca.crt (default: where a pod has them)")
	f.StringVar(&o.handler, "runtime-handler", "apparmor", "`handler` that the Node must list to be ready: that of the RuntimeClass")
}

// agentMemory is what Go's memory may take before it collects garbage, in bytes; more where the policy needs more.
const agentMemory = 6 << 20

func runAgent(ctx context.Context, s *session, o *agentOptions) error {
	if o.listen != "" {
		if err := agent.CheckListen(o.listen, o.public); err != nil {
			return exit.With(exit.Usage, fmt.Errorf("--listen: %w", err))
		}
	}
	if !slices.Contains(agent.OnLosts, agent.OnLost(o.onLost)) {
		return exit.With(exit.Usage, fmt.Errorf("--on-wiring-lost %q: it is report, repair or restart", o.onLost))
	}
	if !s.Root {
		return exit.With(exit.Cannot, fmt.Errorf("the agent applies policies and loads profiles: run this as root"))
	}
	defer agent.Frugal(agentMemory)()
	told := s.metrics()
	a := agent.New(agent.Options{Dir: s.Kernel.State, Listen: o.listen, Public: o.public, Log: s.warn,
		Warn:  func(line string) { s.warnAndNote("agent", line) },
		Serve: map[string]http.Handler{"GET /metrics": told.Handler()}})
	hook.CountLoads(s.Kernel, told.Counts, counters.ByAgent)
	told.Agent = func() metrics.Agent { return knownTo(a.State()) }
	kube, err := o.kube()
	if err != nil {
		return exit.With(exit.Usage, err)
	}
	policy, err := agent.NewPolicy(o.config, s.Store, agent.Self)
	if err != nil {
		return err
	}
	drift, err := agent.NewDrift(s.Kernel, s.Store, func(profiles ...string) string { return s.State.Host.StaleAfter(nil, profiles...) },
		told.Counts)
	if err != nil {
		return err
	}
	wiring, err := agent.NewWiring(agent.OnLost(o.onLost), agent.Self)
	if err != nil {
		return err
	}
	a.Add(policy, agent.PolicyPace)
	a.Add(drift, agent.DriftPace)
	a.Add(wiring, agent.WiringPace)
	if kube != nil {
		a.Add(agent.NewRefused(told.Counts), agent.RefusedPace)
		a.Add(agent.NewNode(a, o.node, o.handler, kube, agent.Self), agent.NodePace)
	}
	if o.more != nil {
		o.more(a)
	}
	if err := a.Run(ctx); err != nil || o.after == nil {
		return err
	}
	return o.after(context.WithoutCancel(ctx), kube)
}

// kube returns access to the API server; nil where no Node is named.
func (o *agentOptions) kube() (*agent.Kube, error) {
	if o.node == "" {
		return nil, nil
	}
	files, err := os.OpenRoot(cmp.Or(o.secrets, agent.SecretsDir))
	if err != nil {
		return nil, fmt.Errorf("--service-account: %w", err)
	}
	k, err := agent.NewKube(o.server, files)
	if err != nil {
		return nil, fmt.Errorf("--api-server: %w", err)
	}
	return k, nil
}

// knownTo returns what an agent knows for the metrics.
func knownTo(s agent.State) metrics.Agent {
	m := metrics.Agent{Wirings: make(map[string]bool), Standing: len(s.Drift.Standing)}
	if last := s.Policy.Last; last != nil {
		m.Applied, m.At = true, last.Time
		m.Success = last.Outcome == agent.Applied || last.Outcome == agent.Unchanged
	}
	for _, w := range s.Wiring {
		m.Wirings[w.Engine] = w.State == agent.WiringKept
	}
	return m
}

// agentApplyCommand is what the agent runs to apply.
func agentApplyCommand(s *session) *cobra.Command {
	var config, store string
	cmd := &cobra.Command{
		Use: "apply", Hidden: true, Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			debug.SetGCPercent(500)
			debug.SetMemoryLimit(math.MaxInt64)
			return agent.Answer(s.stdout, agent.DoApply(cmd.Context(), s.Node, config, store))
		}),
	}
	cmd.Flags().StringVar(&config, "config", s.Config, "`directory` of policy.yaml")
	cmd.Flags().StringVar(&store, "store", s.Store, "`directory` of the applied policy")
	return cmd
}

// agentWiringCommand is what the agent runs to look at engines.
func agentWiringCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "wiring", Hidden: true, Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			debug.SetMemoryLimit(math.MaxInt64)
			h, err := hostOf(&wiringOptions{root: "/"})
			if err != nil {
				return err
			}
			answer, err := agent.DoWiring(cmd.Context(), h)
			if err != nil {
				return err
			}
			return agent.Answer(s.stdout, answer)
		}),
	}
}

// agentExamCommand is what the agent runs to find out whether containers are confined.
func agentExamCommand(s *session) *cobra.Command {
	return &cobra.Command{
		Use: "exam", Hidden: true, Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			debug.SetMemoryLimit(math.MaxInt64)
			self, err := os.Executable()
			if err != nil {
				return err
			}
			n := doctor.This(s.Node, filepath.Dir(programs.Called(self)))
			return agent.Answer(s.stdout, agent.DoExam(cmd.Context(), n, probe.Options{Program: "/proc/self/exe", Args: []string{waiting}}))
		}),
	}
}
