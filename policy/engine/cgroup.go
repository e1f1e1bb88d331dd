package engine

import "strings"

// ByCgroup returns the name of the engine that made a control group for a container, by its path: "/docker/ID",
// "docker-ID.scope", "cri-containerd-ID.scope", "crio-ID.scope", "libpod-ID.scope/container", "slice:cri-containerd:ID".
// It is empty where the path does not say.
func ByCgroup(path string) string {
	for i := range table {
		for _, prefix := range table[i].Cgroups {
			if strings.Contains(path, "/"+prefix) || strings.Contains(path, ":"+prefix) {
				return table[i].Name
			}
		}
	}
	return ""
}

// ContainerID returns the id of the container that a control group was made for, where its path says so: engines other
// than ctr and plain runtimes name it by 64 hexadecimal digits, as ByCgroup has it or as "/kubepods/burstable/podUID/ID".
// A group of conmon's, which looks after a container and is not in it, has none.
func ContainerID(path string) string {
	id := ""
	for part := range strings.SplitSeq(path, "/") {
		part = strings.TrimSuffix(part, ".scope")
		if at := len(part) - 64; at >= 0 && isHex(part[at:]) && (at == 0 || part[at-1] == '-' || part[at-1] == ':') &&
			!strings.HasSuffix(part[:at], "-conmon-") {
			id = part[at:]
		}
	}
	return id
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
