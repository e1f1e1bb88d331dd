package combine

import (
	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// each takes rules about all of something apart: capabilities, signals, families and types of sockets. A parser takes of these
// what it knows.
func each(rules []rule) (all []rule) {
	for _, r := range rules {
		switch {
		case r.kind == "signal" && r.set == "":
			for s := meaning.Signal(1); s != 0; s++ {
				if r.set = s.String(); r.set != "unknown" {
					all = append(all, r)
				}
			}
		case r.kind == "network" && r.rest == "" && (r.what == "" || r.set == ""):
			all = append(all, eachSocket(r)...)
		case r.kind == "capability" && r.what == "":
			for _, name := range kernelname.Capabilities {
				r.what = name
				all = append(all, r)
			}
		}
	}
	return all
}

func eachSocket(r rule) (all []rule) {
	these, those := []string{r.what}, []string{r.set}
	if r.what == "" {
		these = kernelname.Families.Words()
	}
	if r.set == "" {
		those = kernelname.SocketTypes.Words()
	}
	for _, r.what = range these {
		for _, r.set = range those {
			all = append(all, r)
		}
	}
	return all
}
