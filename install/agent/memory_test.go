package agent

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

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
