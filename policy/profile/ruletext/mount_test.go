package ruletext

import (
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/kernelname"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// A rule about a mount of one kind allows that, and none of another kind with the same paths. Only of a rule about remounts the
// parser makes one about new mounts, too.
func TestMounts(t *testing.T) {
	t.Parallel()
	c := profiletest.Compiler(t, profiletest.Features())
	const readOnly, noSUID, slave = 1, 2, 1 << 19
	var accesses []meaning.Access
	for _, flags := range []uint32{0, readOnly, noSUID, kernelname.Bind, kernelname.Bind | kernelname.Rec, kernelname.Move, slave, slave | kernelname.Rec,
		kernelname.Remount, kernelname.Remount | readOnly, kernelname.Remount | kernelname.Bind | readOnly, kernelname.Remount | kernelname.Bind} {
		accesses = append(accesses, meaning.MountAccess{Target: "/b/", Source: "/a/", Type: "proc", Flags: flags}.Asked())
	}
	for i, a := range accesses {
		text := Style{}.Rules(a, true)[0][0].Text(Style{})
		blob, err := c.CompileText(t.Context(), "web", []byte("abi <abi/3.0>,\nprofile web {\n"+text+"\n}\n"))
		if err != nil {
			t.Fatal(text, err)
		}
		all, err := meaning.ReadFor(blob.Data, c)
		if err != nil {
			t.Fatal(err)
		}
		for j, other := range accesses {
			if allowed := all[0].Decide(other).Allowed; allowed != (i == j) && !(allowed && a.(meaning.MountAccess).Flags&kernelname.Remount != 0) {
				t.Errorf("%s: %+v: %v", text, other, allowed)
			}
		}
	}
}
