package kernel_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
)

// The mark is 50 µs.
func BenchmarkEnsureUnchanged(b *testing.B) {
	m := kerneltest.New(b)
	k := m.Kernel()
	profiles := []kernel.Profile{want(b, kerneltest.Blob("1", "web"))}
	ensure(b, k, profiles[0])
	b.ReportAllocs()
	for b.Loop() {
		if _, err := k.Ensure(context.Background(), profiles); err != nil {
			b.Fatal(err)
		}
	}
}

// The mark is that the number of profiles does not show: 2000 at most 1.3 times 10.
func BenchmarkEnsureByHash(b *testing.B) {
	for _, n := range []int{10, 2000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			m := kerneltest.New(b)
			k := m.Kernel()
			for i := range n - 1 {
				m.Load(b, kerneltest.Blob("1", fmt.Sprintf("other-%d", i)))
			}
			p := want(b, kerneltest.Blob("1", "web", "web//kid"))
			ensure(b, k, p)
			for i := 0; b.Loop(); i++ {
				b.StopTimer()
				m.Write(b, "fs/policy/revision", strconv.Itoa(100000+i)+"\n")
				b.StartTimer()
				if got := ensure(b, k, p); got.Done != kernel.Verified {
					b.Fatalf("%+v", got)
				}
			}
		})
	}
}
