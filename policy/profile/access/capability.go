package access

import (
	"fmt"
	"slices"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// capability reads "capability [NAME ...]". Without a name it is about all capabilities.
func (p *parser) capability() error {
	p.at++
	var like []meaning.Access
	for ; p.more(); p.at++ {
		w := p.words[p.at]
		names := []word{w}
		if w.listed && w.key == "" {
			names = w.list
		}
		for _, name := range names {
			number := slices.Index(kernelname.Capabilities, name.text)
			if number < 0 || !name.is(name.text) {
				return fmt.Errorf("%s is no capability: here can stand %s", shown(name), listed(kernelname.Capabilities))
			}
			like = append(like, meaning.CapabilityAccess(number))
		}
	}
	if like == nil {
		for number := range kernelname.Capabilities {
			like = append(like, meaning.CapabilityAccess(number))
		}
	}
	p.asks(like)
	return nil
}

func formatCapability(a meaning.CapabilityAccess) string {
	return "capability " + kernelname.Capability(int(a))
}
