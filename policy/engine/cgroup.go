package engine

import "strings"

// ByCgroup returns the name of the engine that made a container's control group, by the group's path: "/docker/ID",
// "docker-ID.scope", "cri-containerd-ID.scope", "crio-ID.scope", "libpod-ID.scope/container", "slice:cri-containerd:ID". It
// returns an empty string if the path does not show it.
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

// ContainerID returns the id of a control group's container, or an empty string if the path does not show it. All engines
// but ctr and plain runtimes put 64 hexadecimal digits into the group's name, as for ByCgroup or as
// "/kubepods/burstable/podUID/ID". A group of conmon has no id here: conmon looks after a container and is not in it.
func ContainerID(path string) string {
	id := ""
	for part := range strings.SplitSeq(path, "/") {
		part = strings.TrimSuffix(part, ".scope")
		if at := len(part) - idDigits; at >= 0 && isHex(part[at:]) && (at == 0 || part[at-1] == '-' || part[at-1] == ':') &&
			!strings.HasSuffix(part[:at], "-conmon-") {
			id = part[at:]
		}
	}
	return id
}

// idDigits is how many hexadecimal digits an id has that an engine has made.
const idDigits = 64

// IDBegins reports whether somebody who writes asked means the beginning of a container's id, as Docker's users do. Only ids that an engine
// has made count: "web" is no short form of "web-2".
func IDBegins(id, asked string) bool {
	return asked != "" && len(id) == idDigits && isHex(id) && strings.HasPrefix(id, asked)
}

func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
