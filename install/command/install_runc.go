package command

import (
	"encoding/json"
	"fmt"

	"github.com/oci-apparmor/oci-apparmor/install/engines/host"
	"github.com/oci-apparmor/oci-apparmor/install/output"
	"github.com/oci-apparmor/oci-apparmor/install/wire"
)

// byHand are runtimes that people call themselves. They read no configuration, so that there is nothing to install.
var byHand = []string{"runc", "crun"}

// handJSON is what install prints of such a runtime with --json.
type handJSON struct {
	Hooks   map[string][]hookJSON `json:"hooks"`   // as they stand in a config.json
	Prepare []string              `json:"prepare"` // the command, with BUNDLE and ID for what it is about
}

// hookJSON is a hook (runtime-spec, config.md, POSIX-platform Hooks).
type hookJSON struct {
	Path string   `json:"path"`
	Args []string `json:"args"`
}

// showByHand prints how to have a runtime that is called by hand start containers through oci-apparmor.
func showByHand(s *session, h *host.Host, runtime string, asJSON bool) error {
	d := wire.NewDraft(h.Tree)
	hook, err := h.Ours(d, "oci-apparmor-hook")
	if err != nil {
		return err
	}
	wrapper, err := h.Ours(d, "oci-apparmor-runtime")
	if err != nil {
		return err
	}
	by := handJSON{
		Hooks:   map[string][]hookJSON{"createRuntime": {{Path: hook, Args: []string{"oci-apparmor-hook", "createRuntime"}}}},
		Prepare: []string{hook, "prepare", "--bundle", "BUNDLE", "--id", "ID"},
	}
	if asJSON {
		return output.JSON(s.stdout, by)
	}
	hooks, err := json.Marshal(by.Hooks)
	if err != nil {
		return err
	}
	out := s.print()
	out.Wrapped(runtime+": ", "it reads no configuration, so that there is nothing to write. Call the wrapper in its place, which covers "+
		"what is executed in the container later as well:")
	out.Line("    %s create --bundle BUNDLE ID", wrapper)
	out.Wrapped("", fmt.Sprintf("Or prepare each bundle before %s create, and add the guard to its config.json. That loads the profile "+
		"where it is missing, and refuses a bundle that was not prepared:", runtime))
	out.Line("    %s prepare --bundle BUNDLE --id ID", hook)
	out.Line("    \"hooks\": %s", hooks)
	return out.Err
}
