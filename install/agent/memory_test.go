package agent

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
)

// Go collects garbage when there is some, and not all the time where what is in use is more than the limit. That goes down again.
func TestFrugal(t *testing.T) {
	const least = 7 << 20
	defer Frugal(least)()
	limit := func() int64 { return debug.SetMemoryLimit(-1) }
	eventually(t, "the limit leaves room", func() bool { return collects() && limit() >= least })
	held := make([][]byte, 0, 1<<10)
	for range cap(held) {
		held = append(held, make([]byte, 32<<10))
	}
	eventually(t, "the limit is more than what is in use", func() bool { return collects() && limit() > 5*int64(len(held))*32<<10/4 })
	const garbage = 512 << 20
	before := collections()
	for range garbage / (32 << 10) {
		held[0] = make([]byte, 32<<10)
	}
	if n := collections() - before; n < 5 || n > 200 {
		t.Errorf("of %d MiB in use it collected %d times while %d MiB came and went", len(held)/32, n, garbage>>20)
	}
	held = nil
	eventually(t, "the limit goes down", func() bool { return collects() && limit() < 32<<20 })
}

// collects has Go collect garbage, which finalizers hear of.
func collects() bool { runtime.GC(); return true }

func collections() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumGC
}

// What is given back is resident no more, and the program goes on.
func TestTrim(t *testing.T) {
	resident := func() (kib int) {
		t.Helper()
		data, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(data), "RssFile:")
		if _, err := fmt.Sscan(after, &kib); err != nil {
			t.Skipf("the kernel does not say what is resident of files: %v", err)
		}
		return kib
	}
	before := resident()
	trim()
	if after := resident(); after > before*9/10 {
		t.Errorf("%d KiB of files were resident, and are %d", before, after)
	}
}
