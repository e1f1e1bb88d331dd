// counted is the runtime wrapper, which counts nothing where BENCH_COUNTS is "no".
package main

import (
	"context"
	"os"
	"runtime"

	"github.com/oci-apparmor/oci-apparmor/hook"
	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/shim/wrapper"
)

func init() { runtime.LockOSThread() }

func main() {
	host := hook.NewHostOf(counts.Wrapper)
	if os.Getenv("BENCH_COUNTS") == "no" {
		host.Counts = nil
	}
	os.Exit(wrapper.Run(context.Background(), host, os.Args, os.Environ(), os.Stderr))
}
