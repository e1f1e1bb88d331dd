// twin stands in for runc on a machine whose kernel has no AppArmor, where runc cannot give a process a profile: it
// execs runc on the bundle named by BENCH_TWIN, whose spec names none, instead of the bundle that it was given.
package main

import (
	"fmt"
	"os"
	"syscall"
)

func main() {
	args := os.Args
	for i, a := range args {
		if a == "--bundle" && i+1 < len(args) {
			args[i+1] = os.Getenv("BENCH_TWIN")
		}
	}
	err := syscall.Exec(os.Getenv("BENCH_RUNC"), args, os.Environ())
	fmt.Fprintln(os.Stderr, "twin:", err)
	os.Exit(1)
}
