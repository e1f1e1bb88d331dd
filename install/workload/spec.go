package workload

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/draft"
)

// bundle reads the bundle in a directory, and has the files of its image if they are there.
func (s *Sources) bundle(dir string) ([]Workload, error) {
	if filepath.Base(dir) == "config.json" {
		dir = filepath.Dir(dir)
	}
	name := filepath.Join(dir, "config.json")
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := hook.ReadSpec(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	w, root, err := spec(name, data)
	if err != nil {
		return nil, err
	}
	whole, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	w.Name, w.From = filepath.Base(whole), "bundle "+dir
	if files, err := openRoot(inDir(dir, root)); root != "" && err == nil && s.Rootfs == "" {
		w.Files = files
	}
	return []Workload{w}, nil
}

// spec reads the spec of a container (OCI runtime-spec 1.3), and returns the path of its root file system as it has that.
func spec(from string, data []byte) (w Workload, root string, err error) {
	var c specs.Spec
	if err := decode(from, data, &c); err != nil {
		return w, "", err
	}
	w.From = from
	w.Root, w.User = true, "root"
	if p := c.Process; p != nil {
		w.Args, w.Path, w.Dir = p.Args, searchPath(p.Env), p.Cwd
		w.Root, w.NoNewPrivileges = p.User.UID == 0, p.NoNewPrivileges
		w.User = strconv.FormatUint(uint64(p.User.UID), 10)
		if p.Capabilities != nil {
			w.Bounding, w.Ambient = p.Capabilities.Bounding, p.Capabilities.Ambient
		}
	}
	if c.Root != nil {
		root, w.ReadOnlyRoot = c.Root.Path, c.Root.Readonly
	}
	for _, m := range c.Mounts {
		w.Mounts = append(w.Mounts, specMount(m))
	}
	if l := c.Linux; l != nil {
		for _, d := range l.Devices {
			w.Devices = append(w.Devices, draft.Device{Path: d.Path, Write: true})
		}
		w.Masked = l.MaskedPaths
		w.LowPorts = l.Sysctl["net.ipv4.ip_unprivileged_port_start"] == "0"
	}
	return w, root, nil
}

// specMount reads a mount of a spec. Of the options that contradict each other, the last one counts.
func specMount(m specs.Mount) draft.Mount {
	is := draft.Mount{At: m.Destination, Source: m.Source, Type: m.Type, Writable: true}
	for _, o := range m.Options {
		switch o {
		case "ro", "rro":
			is.Writable = false
		case "rw":
			is.Writable = true
		case "bind", "rbind":
			is.Type = "bind"
		}
	}
	return is
}

// crictl reads what crictl inspect prints, which has the spec in it, from containerd and from CRI-O.
func crictl(from string, data []byte) ([]Workload, error) {
	var c struct {
		Status struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
			Image struct {
				Image string `json:"image"`
			} `json:"image"`
		} `json:"status"`
		Info struct {
			Spec specs.Spec `json:"runtimeSpec"`
		} `json:"info"`
	}
	if err := decode(from, data, &c); err != nil {
		return nil, err
	}
	if c.Info.Spec.Process == nil {
		return nil, fmt.Errorf("%s has no info.runtimeSpec: is it what crictl inspect prints, of a container?", from)
	}
	again, err := specJSON(&c.Info.Spec)
	if err != nil {
		return nil, err
	}
	w, _, err := spec(from, again)
	w.Name, w.Image = c.Status.Metadata.Name, c.Status.Image.Image
	return []Workload{w}, err
}

// running reads the bundle of a container that runs, and sees the files of its image as its first process does.
func (s *Sources) running(name string) ([]Workload, error) {
	state, err := s.Node.Gather(true)
	if err != nil {
		return nil, err
	}
	var found []Workload
	var errs []error
	for i := range state.Containers {
		c := &state.Containers[i]
		if c.ID != name && c.Name != name && !(len(name) >= 12 && len(c.ID) > len(name) && c.ID[:len(name)] == name) {
			continue
		}
		w, err := s.ofContainer(s.Node.Bundles(c))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if w.Name = c.ID; c.Name != "" {
			w.Name = c.Name
		}
		w.Image, w.From = c.Image, "container "+c.ID
		if files, err := openRoot(fmt.Sprintf("/proc/%d/root", c.PID)); c.PID > 0 && err == nil {
			w.Files = files
		}
		found = append(found, w)
	}
	switch {
	case len(found) == 0 && len(errs) > 0:
		return nil, fmt.Errorf("the bundle of container %s was not found: %w", oneline.Quote(name), errs[0])
	case len(found) == 0:
		return nil, fmt.Errorf("no container %s runs: oci-apparmor status --show=containers lists those that do", oneline.Quote(name))
	case len(found) > 1:
		return nil, fmt.Errorf("%d containers are called %s: name one by its id", len(found), oneline.Quote(name))
	}
	return found, nil
}

// ofContainer reads the first bundle of some that is there.
func (s *Sources) ofContainer(dirs []string) (w Workload, err error) {
	err = fmt.Errorf("its engine is not known")
	for _, dir := range slices.Compact(dirs) {
		var all []Workload
		if all, err = s.bundle(dir); err == nil {
			return all[0], nil
		}
	}
	return w, err
}
