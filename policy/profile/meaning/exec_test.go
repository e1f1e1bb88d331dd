package meaning

import "testing"

// An exec that leads to a table's label and to what attaches at once leads to neither, for the kernel. The number of the label
// is not checked then.
func TestAnExecOfTwoKindsLeadsToNeither(t *testing.T) {
	p := &Profile{Names: []string{"a"}}
	for _, index := range []uint32{0, 77} {
		if got := p.transition(XName | XTable | index); got.To != TargetNone || got.Label != "" {
			t.Errorf("label %d: %+v", index, got)
		}
		if got := p.transition(XName | XTable | XInherit | index); got.To != TargetSame {
			t.Errorf("label %d, else the same: %+v", index, got)
		}
		if p.leaves(Perms{Allow: MayExec, XIndex: XName | XTable | index}) {
			t.Errorf("label %d is unconfined", index)
		}
	}
}
