package workload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/oci-apparmor/oci-apparmor/policy/engine"
	"github.com/oci-apparmor/oci-apparmor/policy/oneline"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/draft"
)

// manifest is the part of a Kubernetes object that has a pod: a Pod, or what makes pods of a template, such as a Deployment
// or a CronJob (core/v1, apps/v1, batch/v1).
type manifest struct {
	Spec struct {
		podSpec     `yaml:",inline"`
		Template    podTemplate `yaml:"template"`
		JobTemplate struct {
			Spec struct {
				Template podTemplate `yaml:"template"`
			} `yaml:"spec"`
		} `yaml:"jobTemplate"`
	} `yaml:"spec"`
	Items []manifest `yaml:"items"` // of a List
}

type podTemplate struct {
	Spec podSpec `yaml:"spec"`
}

type podSpec struct {
	Containers      []podContainer  `yaml:"containers"`
	InitContainers  []podContainer  `yaml:"initContainers"`
	SecurityContext securityContext `yaml:"securityContext"`
	Volumes         []podVolume     `yaml:"volumes"`
}

type podContainer struct {
	Name       string   `yaml:"name"`
	Image      string   `yaml:"image"`
	Command    []string `yaml:"command"`
	Args       []string `yaml:"args"`
	WorkingDir string   `yaml:"workingDir"`
	Env        []struct {
		Name  string `yaml:"name"`
		Value string `yaml:"value"`
	} `yaml:"env"`
	Ports []struct {
		ContainerPort uint16 `yaml:"containerPort"`
		Protocol      string `yaml:"protocol"`
	} `yaml:"ports"`
	VolumeMounts []struct {
		Name      string `yaml:"name"`
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
	VolumeDevices []struct {
		DevicePath string `yaml:"devicePath"`
	} `yaml:"volumeDevices"`
	SecurityContext        securityContext `yaml:"securityContext"`
	TerminationMessagePath string          `yaml:"terminationMessagePath"`
}

// podVolume is a volume. Those of its other fields that make it read-only are in ReadOnly.
type podVolume struct {
	Name     string
	HostPath string
	ReadOnly bool
}

// UnmarshalYAML reads a volume: its kind is the key beside its name.
func (v *podVolume) UnmarshalYAML(n *yaml.Node) error {
	var of map[string]yaml.Node
	if err := n.Decode(&of); err != nil {
		return err
	}
	for key, value := range of {
		var path struct {
			Path string `yaml:"path"`
		}
		var err error
		switch key {
		case "name":
			err = value.Decode(&v.Name)
		case "hostPath":
			err = value.Decode(&path)
			v.HostPath = path.Path
		case "configMap", "secret", "downwardAPI", "projected", "image":
			v.ReadOnly = true
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// securityContext is a pod's, or a container's.
type securityContext struct {
	RunAsUser                *int64 `yaml:"runAsUser"`
	ReadOnlyRootFilesystem   bool   `yaml:"readOnlyRootFilesystem"`
	AllowPrivilegeEscalation *bool  `yaml:"allowPrivilegeEscalation"`
	Privileged               bool   `yaml:"privileged"`
	Capabilities             struct {
		Add  []string `yaml:"add"`
		Drop []string `yaml:"drop"`
	} `yaml:"capabilities"`
	Sysctls []struct {
		Name  string `yaml:"name"`
		Value string `yaml:"value"`
	} `yaml:"sysctls"`
}

// pods reads the containers of all pods in a file.
func pods(from string, data []byte) ([]Workload, error) {
	var all []Workload
	documents := yaml.NewDecoder(bytes.NewReader(data))
	for {
		var m manifest
		if err := documents.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("%s: %s", from, oneline.Printable(err.Error()))
		}
		all = append(all, m.workloads(from)...)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s has no pod with containers", from)
	}
	return all, nil
}

func (m *manifest) workloads(from string) (all []Workload) {
	for _, p := range []*podSpec{&m.Spec.podSpec, &m.Spec.Template.Spec, &m.Spec.JobTemplate.Spec.Template.Spec} {
		for _, c := range slices.Concat(p.Containers, p.InitContainers) {
			all = append(all, p.workload(from, &c))
		}
	}
	for i := range m.Items {
		all = append(all, m.Items[i].workloads(from)...)
	}
	return all
}

func (p *podSpec) workload(from string, c *podContainer) Workload {
	is := &c.SecurityContext
	w := Workload{Name: c.Name, Container: draft.Container{From: from, Image: c.Image, Dir: c.WorkingDir, ReadOnlyRoot: is.ReadOnlyRootFilesystem,
		User: "as the image has it", Root: true, NoNewPrivileges: is.AllowPrivilegeEscalation != nil && !*is.AllowPrivilegeEscalation}}
	if len(c.Command) > 0 { // without it, the image says what the arguments are for
		w.Args = slices.Concat(c.Command, c.Args)
	}
	var env []string
	for _, e := range c.Env {
		env = append(env, e.Name+"="+e.Value)
	}
	w.Path = searchPath(env)
	for _, user := range []*int64{p.SecurityContext.RunAsUser, is.RunAsUser} {
		if user != nil {
			w.User, w.Root = strconv.FormatInt(*user, 10), *user == 0
		}
	}
	// containerd's; CRI-O gives some less.
	w.Bounding = capabilities(engine.Named("containerd").Capabilities, is.Capabilities.Add, is.Capabilities.Drop, is.Privileged)
	for _, port := range c.Ports {
		w.Ports = append(w.Ports, draft.Port{Number: port.ContainerPort, Protocol: protocolOf(port.Protocol)})
	}
	for _, s := range p.SecurityContext.Sysctls {
		w.LowPorts = w.LowPorts || s.Name == "net.ipv4.ip_unprivileged_port_start" && s.Value == "0"
	}
	w.Mounts = append(shared(), p.mounts(c)...)
	for _, d := range c.VolumeDevices {
		w.Devices = append(w.Devices, draft.Device{Path: d.DevicePath, Write: true})
	}
	return w
}

// protocolOf returns the protocol of a container's port as a draft has it. Kubernetes has TCP if none is given.
func protocolOf(said string) string {
	switch said {
	case "UDP":
		return "udp"
	case "SCTP":
		return "sctp"
	}
	return "tcp"
}

// mounts returns the mounts of a container, with those that the kubelet adds: the file of the last words, and the token of the
// service account.
func (p *podSpec) mounts(c *podContainer) []draft.Mount {
	last := c.TerminationMessagePath
	if last == "" {
		last = "/dev/termination-log"
	}
	all := []draft.Mount{{At: last, Type: "bind", Writable: true},
		{At: "/var/run/secrets/kubernetes.io/serviceaccount", Type: "tmpfs"}}
	for _, m := range c.VolumeMounts {
		one := draft.Mount{At: m.MountPath, Type: "bind", Writable: !m.ReadOnly}
		for _, v := range p.Volumes {
			if v.Name != m.Name {
				continue
			}
			if one.Writable = one.Writable && !v.ReadOnly; v.HostPath != "" {
				one.Source = v.HostPath
			}
		}
		all = append(all, one)
	}
	return all
}
