package main

import (
	"fmt"
	"os"
)

// say prints a line for the administrator. crun gives hooks /dev/null for standard error; the line then goes to the
// kernel's log, where AppArmor's own messages are.
func say(text string) {
	line := "oci-apparmor-hook: " + text + "\n"
	fmt.Fprint(os.Stderr, line)
	null, err := os.Stat(os.DevNull)
	if err != nil {
		return
	}
	if stderr, err := os.Stderr.Stat(); err == nil && os.SameFile(stderr, null) {
		// <11> is LOG_USER|LOG_ERR, see Documentation/ABI/testing/dev-kmsg.
		os.WriteFile("/dev/kmsg", []byte("<11>"+line), 0)
	}
}
