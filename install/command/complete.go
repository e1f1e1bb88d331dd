package command

import (
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/oci-apparmor/oci-apparmor/install/audit"
	"github.com/oci-apparmor/oci-apparmor/install/engines"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// Commands returns the command oci-apparmor with all its subcommands, for programs that describe them. Run runs them.
func Commands() *cobra.Command { return rootCommand(thisSession()) }

// words returns what a shell offers for an argument or for a flag's value. It reads what the caller may read, and returns
// nothing if that fails.
type words func(s *session) []string

func fixed(of ...string) words { return func(*session) []string { return of } }

// In place of words, the shell offers names of files or of directories, or nothing if only the caller can know the value.
var (
	files       = fixed()
	directories = fixed()
	nothing     = fixed()
)

// flagWords has the words of each flag that takes a value. A flag has the same words in every command.
var flagWords = map[string]words{
	"after":           nothing,
	"annotation":      annotationWords,
	"api-server":      nothing,
	"bin":             directories,
	"bundle":          directories,
	"child":           nothing,
	"config":          files,
	"configmap":       directories,
	"daemonset":       nothing,
	"container":       nothing,
	"enforce-after":   fixed("24h", "7d", "never"),
	"engine":          fixed(engine.Names()...),
	"engine-choice":   func(s *session) []string { return append(profilesOf(s), "unconfined") },
	"features":        files,
	"filter.exe":      nothing,
	"filter.mode":     fixed("enforce", "complain", "kill", "prompt", "unconfined"),
	"filter.pid":      nothing,
	"filter.profiles": profilesOf,
	"flags":           fixed("none", "attach_disconnected", "mediate_deleted", "attach_disconnected,mediate_deleted"),
	"from":            files,
	"id":              nothing,
	"junit":           files,
	"image":           nothing,
	"label":           nothing,
	"listen":          fixed("unix:/run/oci-apparmor/agent.sock", "127.0.0.1:9470"),
	"mode":            fixed("complain", "enforce"),
	"name":            nothing,
	"node":            nothing,
	"namespace":       nothing,
	"on-wiring-lost":  fixed("report", "repair", "restart"),
	"output":          files,
	"pid":             nothing,
	"pod":             nothing,
	"prefix":          directories,
	"policy":          policiesOf,
	"profile":         profilesOf,
	"fix":             profilesOf,
	"privileged":      fixed("no", "partly", "yes"),
	"programs":        directories,
	"probe-policy":    policiesOf,
	"root":            directories,
	"rootfs":          directories,
	"run":             nothing,
	"runtime-handler": fixed("apparmor"),
	"service-account": directories,
	"show":            fixed("all", "containers", "processes", "profiles"),
	"since":           nothing,
	"source":          fixed(source.Names...),
	"store":           directories,
	"type":            kindWords,
	"timeout":         nothing,
	"variant":         fixed("2015"),
	"via":             fixed(engines.Vias()...),
}

// argumentWords has the words for the arguments of each command that takes some, by its path without the program's name.
var argumentWords = map[string]words{
	"policy test":     directories,
	"policy diff":     directories,
	"policy promote":  policiesOf,
	"install":         fixed(append(engines.Names(), byHand...)...),
	"uninstall":       fixed(engines.Names()...),
	"profile tighten": files,
	"profile offer":   files,
	"profile check":   files,
	"profile load":    files,
	"profile unload":  loadedProfiles,
	"profile show":    profilesOf,
	"profile diff":    comparableProfiles,
	"profile why":     explainableProfiles,
	"profile daemon":  fixed(templates.Daemons()...),

	"kubernetes install": fixed(engines.Names()...),

	"profile contains":  comparableProfiles,
	"profile merge":     comparableProfiles,
	"profile intersect": comparableProfiles,

	"profile learn start":  policiesOf,
	"profile learn finish": policiesOf,
	"profile learn record": policiesOf,
}

// fileArguments are the commands whose arguments can be files.
var fileArguments = []string{"policy test", "policy diff", "profile check", "profile load", "profile diff", "profile contains", "profile why",
	"profile tighten", "profile offer",
	"profile merge", "profile intersect"}

// complete makes every command below root offer words for its arguments and flags.
func complete(root *cobra.Command, s *session) {
	for cmd := range all(root) {
		path := strings.TrimPrefix(cmd.CommandPath(), root.Name()+" ")
		cmd.ValidArgsFunction = offer(s, argumentWords[path], slices.Contains(fileArguments, path))
		for name, w := range flagWords {
			if cmd.Flags().Lookup(name) == nil {
				continue
			}
			// These fail for a flag that does not exist, or that has words already.
			if name == "bin" || name == "bundle" || name == "service-account" || name == "root" || name == "rootfs" || name == "store" ||
				name == "config" && path == "policy apply" {
				_ = cmd.MarkFlagDirname(name)
				continue
			}
			named := []string{"config", "features", "from", "junit", "output", "source"} // files, where there are no words
			_ = cmd.RegisterFlagCompletionFunc(name, offer(s, w, slices.Contains(named, name) || name == "image" && path == "profile check"))
		}
	}
}

// unquoteUsage removes the back quotes from the help of all flags below root. They mark the name of a flag's value in help,
// and a shell would show them in its descriptions.
func unquoteUsage(root *cobra.Command) {
	for cmd := range all(root) {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { f.Usage = strings.ReplaceAll(f.Usage, "`", "") })
	}
}

// all iterates over a command and all its subcommands.
func all(cmd *cobra.Command) func(yield func(*cobra.Command) bool) {
	return func(yield func(*cobra.Command) bool) {
		if !yield(cmd) {
			return
		}
		for _, c := range cmd.Commands() {
			for c := range all(c) {
				if !yield(c) {
					return
				}
			}
		}
	}
}

// offer returns the completion function for words. If there are none, it offers names of files if takesFiles is set.
func offer(s *session, w words, takesFiles bool) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
		var of []string
		if w != nil {
			for _, word := range w(s) {
				if strings.HasPrefix(word, begun) && !slices.Contains(args, word) {
					of = append(of, word)
				}
			}
		}
		if len(of) == 0 && takesFiles {
			return nil, cobra.ShellCompDirectiveDefault
		}
		return of, cobra.ShellCompDirectiveNoFileComp
	}
}

// loadedProfiles returns the names of the profiles that the kernel holds.
func loadedProfiles(s *session) []string {
	all, err := s.Kernel.List()
	if err != nil {
		return nil
	}
	var names []string
	for _, p := range all {
		if p.Namespace == "" {
			names = append(names, p.Name)
		}
	}
	return names
}

// applied returns the policy in force, or an empty one.
func applied(s *session) *policy.Config {
	g, err := store.Store{Dir: s.Store}.Current()
	if err != nil {
		return new(policy.Config)
	}
	p, err := g.Index.Config()
	if err != nil {
		return new(policy.Config)
	}
	return p
}

// profilesOf returns the names of the profiles that the kernel, the policy or a template has.
func profilesOf(s *session) []string {
	names := map[string]bool{}
	for _, name := range append(loadedProfiles(s), templates.Names()...) {
		names[name] = true
	}
	for _, p := range applied(s).Profiles {
		names[p.Name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// comparableProfiles returns the arguments of profile diff that are not files.
func comparableProfiles(s *session) []string {
	var names []string
	for _, name := range loadedProfiles(s) {
		names = append(names, "kernel:"+name)
	}
	for _, p := range applied(s).Profiles {
		names = append(names, "policy:"+p.Name)
	}
	for _, t := range templates.Names() {
		names = append(names, "node:"+t, "2015:"+t)
	}
	return names
}

// explainableProfiles returns the first arguments of profile why that are not files.
func explainableProfiles(s *session) []string { return append(profilesOf(s), comparableProfiles(s)...) }

// annotationWords returns, for each policy, the annotation that asks for it.
func annotationWords(s *session) []string {
	var asks []string
	for _, p := range applied(s).Policies {
		asks = append(asks, policy.Annotation+"="+p.Name)
	}
	return asks
}

// kindWords returns the kinds of events.
func kindWords(*session) []string {
	words := []string{"all"}
	for _, k := range audit.Kinds {
		words = append(words, string(k))
	}
	return words
}

// policiesOf returns the names of the policies in force.
func policiesOf(s *session) []string {
	var names []string
	for _, p := range applied(s).Policies {
		names = append(names, p.Name)
	}
	return names
}
