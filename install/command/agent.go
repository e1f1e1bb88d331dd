package command

import (
	"context"
	"fmt"
	"math"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/oci-apparmor/oci-apparmor/install/agent"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
)

type agentOptions struct {
	listen string
	config string
}

func agentCommand(s *session) *cobra.Command {
	var o agentOptions
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Look after this node, until it is stopped",
		Long: `Look after this node, until it is stopped: apply the policy when its files change.
No container's start depends on it: without it, policy apply is run by hand, and all
else is the same.

The policy is applied as by policy apply, when its files have not changed for a moment,
and at the start. A ConfigMap counts as a whole: what is applied is one version of it. A
policy with an error in it is not applied, and the last good one stays in force. What a
policy rollback has put in force stays until the files change.

What became of it is in the log, in ` + agent.Dir + `/agent.json, and served at
/state of the address that --listen names.

It ends by SIGTERM. Only one runs on a node.`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error { return runAgent(cmd.Context(), s, &o) }),
	}
	cmd.Flags().StringVar(&o.config, "config", s.Config, "`directory` of policy.yaml")
	cmd.Flags().StringVar(&o.listen, "listen", "unix:"+agent.Dir+"/agent.sock",
		"`ADDRESS` at which the state is served: unix:PATH, or a loopback address with a port, as 127.0.0.1:9470; empty for none")
	cmd.AddCommand(agentApplyCommand(s))
	return cmd
}

// agentMemory is what the agent's heap may take before Go collects more often, in bytes.
const agentMemory = 8 << 20

func runAgent(ctx context.Context, s *session, o *agentOptions) error {
	if o.listen != "" {
		if err := agent.CheckListen(o.listen); err != nil {
			return exit.With(exit.Usage, fmt.Errorf("--listen: %w", err))
		}
	}
	if !s.Root {
		return exit.With(exit.Cannot, fmt.Errorf("the agent applies policies and loads profiles: run this as root"))
	}
	debug.SetGCPercent(20)
	debug.SetMemoryLimit(agentMemory)
	a := agent.New(agent.Options{Dir: s.Kernel.State, Listen: o.listen, Log: s.warn, Warn: func(line string) { s.warnAndNote("agent", line) }})
	policy, err := agent.NewPolicy(o.config, s.Store, agent.Self)
	if err != nil {
		return err
	}
	a.Add(policy, agent.PolicyPace)
	return a.Run(ctx)
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
