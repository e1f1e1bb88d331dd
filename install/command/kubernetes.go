package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oci-apparmor/oci-apparmor/install/agent"
	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/install/exit"
	"github.com/oci-apparmor/oci-apparmor/install/kubernetes"
)

// kubernetesCommand has the commands of the containers in install/kubernetes.
func kubernetesCommand(s *session) *cobra.Command {
	node := &kubernetes.Node{Image: "/", Proc: "/proc", Out: s.stdout}
	cmd := &cobra.Command{
		Use:   "kubernetes",
		Short: "Put the programs of our image on a Kubernetes node, and take them off",
		Long: `Put the programs of our image on a Kubernetes node, and take them off.

The containers of the DaemonSet run these commands. They are privileged, and their
pod has hostPID: true: what they do is done among the node's own files.`,
		Args: aCommand,
		RunE: action(func(cmd *cobra.Command, _ []string) error { return cmd.Help() }),
	}
	for _, c := range []*cobra.Command{kubernetesInstallCommand(node), kubernetesAgentCommand(s, node), kubernetesLeaveCommand(node)} {
		c.Flags().StringVar(&node.Prefix, "prefix", "/usr/local", "`directory` of the node below which the programs go")
		cmd.AddCommand(c)
	}
	return cmd
}

func kubernetesInstallCommand(node *kubernetes.Node) *cobra.Command {
	var w kubernetes.Wiring
	var policy string
	cmd := &cobra.Command{
		Use:   "install [ENGINE]...",
		Short: "Put programs and policy on the node, and connect its engine",
		Long: `Put this image's programs on the node, put the policy of a mounted ConfigMap in
force, and have the engine start containers through oci-apparmor, as oci-apparmor
install does. Without an ENGINE, all that are on the node.

This may be called again at any time. What is there already stays as it is. A bad
policy is an error where none is in force yet; later the last good one stays.`,
		Args: cobra.ArbitraryArgs,
		RunE: action(func(cmd *cobra.Command, names []string) error {
			if err := engines.CheckNames(names); err != nil {
				return exit.With(exit.Usage, err)
			}
			if !filepath.IsAbs(node.Prefix) || filepath.Clean(node.Prefix) == "/" {
				return exit.With(exit.Usage, errors.New("--prefix must be an absolute path, and not /"))
			}
			node.Prefix = filepath.Clean(node.Prefix)
			w.Engines = names
			return node.Install(cmd.Context(), w, policy)
		}),
	}
	cmd.Flags().StringVar(&policy, "configmap", "", "`directory` where the ConfigMap of the policy is mounted (default: the node has a policy of its own)")
	cmd.Flags().StringVar(&node.Image, "programs", node.Image, "`directory` of the image's files")
	cmd.Flags().BoolVar(&w.Restart, "restart", false, "have the engine take it over, and take it back if it does not come back")
	cmd.Flags().BoolVar(&w.StopContainers, "stop-containers", false, "with --restart: also where this stops containers that run")
	cmd.Flags().BoolVar(&w.Default, "default", false, "make ours the runtime of pods that name no RuntimeClass")
	return cmd
}

func kubernetesAgentCommand(s *session, node *kubernetes.Node) *cobra.Command {
	var o agentOptions
	var configMap, daemonSet string
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Be the node's agent, with the policy of a ConfigMap",
		Long: `Look after the node, as oci-apparmor agent does, and copy the policy's ConfigMap to
the node whenever it changes.

When it is stopped, it asks the API server for its DaemonSet. If that is gone or
being deleted, it takes ours off the node, as kubernetes leave does. If it may not be
asked for any more, that is done after a minute, unless a new pod of the
DaemonSet comes before. If the API server does not answer, all stays.`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			namespace, name, ok := strings.Cut(daemonSet, "/")
			if daemonSet != "" && (!ok || o.node == "") {
				return exit.With(exit.Usage, errors.New("--daemonset is NAMESPACE/NAME, and needs --node"))
			}
			on, err := node.On()
			if err != nil {
				return err
			}
			if !on {
				return node.Become(kubernetesAgentArguments(cmd, &o, configMap))
			}
			kubernetes.Keep(configMap, o.secrets)
			mirror, err := kubernetes.OpenMirror(configMap)
			if err != nil {
				return err
			}
			if mirror != nil {
				o.more = func(a *agent.Agent) { a.Add(mirror.Part(), kubernetes.MirrorPace) }
			}
			if daemonSet != "" {
				o.after = func(ctx context.Context, kube *agent.Kube) error {
					switch is, err := kube.DaemonSet(ctx, namespace, name); {
					case err != nil || is == agent.Present:
						return err
					case is == agent.Hidden:
						return node.LeaveSoon(ctx, patience)
					}
					needed, err := node.Needed(ctx) // before the programs go
					return errors.Join(err, node.LeaveSoon(ctx, 0), unmark(ctx, needed || err != nil, kube, o.node))
				}
			}
			return runAgent(cmd.Context(), s, &o)
		}),
	}
	o.flags(cmd, s)
	cmd.Flags().StringVar(&configMap, "configmap", "", "`directory` where the ConfigMap of the policy is mounted (default: the node has a policy of its own)")
	cmd.Flags().StringVar(&daemonSet, "daemonset", "", "`NAMESPACE/NAME` of the DaemonSet; ours is taken off the node when it is gone (default: ours stays)")
	return cmd
}

// unmark takes our marks off the Node. While pods of ours run, who need the node, the marks stay: a kubelet that is restarted ends pods
// whose node has lost the label by which the RuntimeClass chose it.
func unmark(ctx context.Context, needed bool, kube *agent.Kube, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := errors.New("pods of ours may still run")
	if !needed {
		err = kube.Unmark(ctx, name)
	}
	if err != nil {
		return fmt.Errorf("the Node %s keeps its label, annotations and condition of ours: %w", name, err)
	}
	return nil
}

// patience is how long a node is not left where the API server has not said that the DaemonSet is gone. A pod of a DaemonSet that is
// there usually starts in less. If it comes later, it sets the node up anew, and no pod of ours was on it.
const patience = time.Minute

// kubernetesAgentArguments returns the command line for the same command among the node's files, and the flags whose directories are
// the container's.
func kubernetesAgentArguments(cmd *cobra.Command, o *agentOptions, configMap string) (args []string, opened map[string]string) {
	opened = map[string]string{}
	if configMap != "" {
		opened["configmap"] = configMap
	}
	if o.node != "" {
		opened["service-account"] = cmp.Or(o.secrets, agent.SecretsDir)
	}
	args = []string{"kubernetes", "agent"}
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if _, ok := opened[f.Name]; !ok {
			args = append(args, "--"+f.Name+"="+f.Value.String())
		}
	})
	return args, opened
}

func kubernetesLeaveCommand(node *kubernetes.Node) *cobra.Command {
	var after time.Duration
	cmd := &cobra.Command{
		Use:   "leave",
		Short: "Take ours out of the engine, and the programs off the node",
		Long: `Take ours out of the node's engine, and then the programs, the policy and all else
that kubernetes install has made off the node.

While pods run that were started by our runtime, all stays, because nothing could be
executed in them any more, and they could not be removed. Then the exit code is 4,
and a unit of systemd tries again until they have ended, also after a boot, before the
kubelet starts.`,
		Args: noArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			select {
			case <-cmd.Context().Done():
				return cmd.Context().Err()
			case <-time.After(after):
			}
			err := node.Leave(cmd.Context())
			if errors.Is(err, kubernetes.ErrNeeded) {
				return exit.With(kubernetes.Needed, err)
			}
			return err
		}),
	}
	cmd.Flags().DurationVar(&after, "after", 0, "`time` to wait before, as 5m")
	return cmd
}
