package workload

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/draft"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
)

// inspected is a container as docker inspect (API 1.24 to 1.51) and podman inspect (4.3 to 5.8) print it.
type inspected struct {
	Name   string
	Path   string
	Args   []string
	Config struct {
		Image        string
		User         string
		Env          []string
		WorkingDir   string
		ExposedPorts map[string]json.RawMessage
	}
	HostConfig struct {
		ReadonlyRootfs  bool
		Privileged      bool
		CapAdd, CapDrop []string
		SecurityOpt     []string
		NetworkMode     string
		IpcMode         string
		PortBindings    map[string]json.RawMessage
		Tmpfs           map[string]string
		MaskedPaths     []string
		Devices         []struct{ PathInContainer, CgroupPermissions string }
	}
	Mounts []struct {
		Type, Source, Destination string
		RW                        bool
	}

	OCIConfigPath string   // Podman's alone
	BoundingCaps  []string // Podman's alone
}

// inspect reads what docker inspect and podman inspect print.
func inspect(from string, data []byte) ([]Workload, error) {
	var list []inspected
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) { // of one, as with a format
		list = make([]inspected, 1)
		if err := decode(from, data, &list[0]); err != nil {
			return nil, err
		}
	} else if err := decode(from, data, &list); err != nil {
		return nil, err
	}
	var all []Workload
	for i := range list {
		if list[i].Path == "" {
			return nil, fmt.Errorf("%s: the element %d is no container: it has no Path", from, i)
		}
		w, err := list[i].workload(from)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	return all, nil
}

func (c *inspected) workload(from string) (Workload, error) {
	h := &c.HostConfig
	w := Workload{Name: strings.TrimPrefix(c.Name, "/"), Container: draft.Container{
		From: from, Image: c.Config.Image, Args: append([]string{c.Path}, c.Args...), Path: searchPath(c.Config.Env), Dir: c.Config.WorkingDir,
		User: c.Config.User, Root: perhapsRoot(c.Config.User), ReadOnlyRoot: h.ReadonlyRootfs, Masked: h.MaskedPaths,
		LowPorts: h.NetworkMode != "host", // both engines set the sysctl for it
	}}
	if w.User == "" {
		w.User = "root"
	}
	for _, o := range h.SecurityOpt {
		w.NoNewPrivileges = w.NoNewPrivileges || o == "no-new-privileges" || o == "no-new-privileges:true" || o == "no-new-privileges=true"
	}
	if w.Bounding = c.BoundingCaps; c.OCIConfigPath == "" {
		w.Bounding = capabilities(engine.Named("docker").Capabilities, h.CapAdd, h.CapDrop, h.Privileged)
	}
	if h.IpcMode != "none" {
		w.Mounts = shared()
	}
	for _, m := range c.Mounts {
		kind := "bind"
		if m.Type == "tmpfs" {
			kind = m.Type
		}
		w.Mounts = append(w.Mounts, draft.Mount{At: m.Destination, Source: m.Source, Type: kind, Writable: m.RW})
	}
	for _, at := range slices.Sorted(maps.Keys(h.Tmpfs)) {
		options := strings.Split(h.Tmpfs[at], ",")
		w.Mounts = append(w.Mounts, specMount(specs.Mount{Destination: at, Type: "tmpfs", Options: options}))
	}
	for _, d := range h.Devices {
		w.Devices = append(w.Devices, draft.Device{Path: d.PathInContainer,
			Write: d.CgroupPermissions == "" || strings.Contains(d.CgroupPermissions, "w")})
	}
	ports := maps.Clone(c.Config.ExposedPorts)
	if ports == nil {
		ports = make(map[string]json.RawMessage)
	}
	maps.Copy(ports, h.PortBindings)
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		p, err := portOf(port)
		if err != nil {
			return w, fmt.Errorf("%s: %w", from, err)
		}
		w.Ports = append(w.Ports, p...)
	}
	w.NoNetwork = h.NetworkMode == "none" && len(w.Ports) == 0
	return w, nil
}

// portOf reads a port as Docker writes it: "80/tcp", "8000-8010/udp".
func portOf(text string) ([]draft.Port, error) {
	number, protocol, _ := strings.Cut(text, "/")
	first, last, several := strings.Cut(number, "-")
	if !several {
		last = first
	}
	from, err1 := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if protocol == "" {
		protocol = "tcp"
	}
	if err1 != nil || err2 != nil || to < from || !slices.Contains([]string{"tcp", "udp", "sctp"}, protocol) {
		return nil, fmt.Errorf("%q is no port", text)
	}
	return []draft.Port{{Number: uint16(from), Protocol: protocol}}, nil // the first one is the lowest
}

// perhapsRoot reports whether a user as engines have it, NAME, UID or either with a group, is root or may be.
func perhapsRoot(user string) bool {
	name, _, _ := strings.Cut(user, ":")
	uid, err := strconv.ParseUint(name, 10, 32)
	return err != nil || uid == 0
}

// capabilities returns those of a container for which some are added to the usual ones, and others taken away. Names may lack
// CAP_, and ALL is all of them.
func capabilities(usual, add, drop []string, privileged bool) []string {
	full := func(name string) string { return "CAP_" + strings.TrimPrefix(strings.ToUpper(name), "CAP_") }
	var every []string
	for _, name := range kernelname.Capabilities {
		every = append(every, full(name))
	}
	if privileged {
		return every
	}
	all := func(names []string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return full(n) == "CAP_ALL" })
	}
	list := slices.Clone(usual)
	switch {
	case all(add):
		list = every
	case all(drop):
		list = nil
	}
	if !all(add) {
		for _, name := range add {
			list = append(list, full(name))
		}
	}
	if !all(drop) {
		list = slices.DeleteFunc(list, func(have string) bool {
			return slices.ContainsFunc(drop, func(n string) bool { return full(n) == have })
		})
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// specJSON writes a spec that was read as a part of something else.
func specJSON(c *specs.Spec) ([]byte, error) { return json.Marshal(c) }
