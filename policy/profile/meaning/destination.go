package meaning

import "strings"

// A Destination is where an executed program goes on, as someone who asks has it. The zero value stands for any.
type Destination struct {
	Way Way

	// Label is the label to which WayOther, WayChild and WayLabel lead, as rules write it: with "&" before it if it is put
	// on top of what would be without it. For WayChild it is the last part of the child's name. If it is empty, any will do.
	Label string
}

// A Way is how an executed program goes on.
type Way uint8

const (
	WayAny        Way = iota
	WaySame           // under the profile that it was executed under (ix), also where the one to go to is missing (pix)
	WayUnconfined     // under no profile (ux), also where the one to go to is missing (pux)
	WayOther          // under another profile (px)
	WayChild          // under a child of the profile (cx)
	WayLabel          // under a label, whether that is a child or not
)

// reached reports whether a transition of a profile can lead there. Whether profiles are loaded is not known.
func (d Destination) reached(t Transition, p *Profile) bool {
	switch d.Way {
	case WaySame:
		return t.To == TargetSame || t.Else == TargetSame
	case WayUnconfined:
		return t.To == TargetUnconfined || t.Else == TargetUnconfined || t.To == TargetLabel && IsUnconfined(t.Label)
	case WayAny:
		return true
	}
	label, child := t.Label, t.Child
	if t.Stack {
		label = "&" + label
	}
	full := label
	if own, ok := strings.CutPrefix(label, p.Name+"//"); ok && !strings.Contains(own, "//") {
		label, child = own, true
	} else if child {
		full = p.Name + "//" + label
	}
	switch {
	case t.To != TargetAttached && t.To != TargetLabel, d.Way == WayOther && child, d.Way == WayChild && !child:
		return false
	case d.Label == "":
		return true
	case t.To == TargetAttached: // whichever attaches
		return false
	case d.Way == WayLabel:
		return d.Label == full
	}
	return d.Label == label
}
