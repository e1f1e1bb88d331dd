package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// asked are paths about which docker-default has rules, and others.
var asked = strings.Fields("/ /etc/shadow /proc/sysrq-trigger /proc/1/attr/current /proc/sys/kernel/shmmax /proc/sys/net/ipv4/ip_forward " +
	"/sys/fs/cgroup/cgroup.procs /sys/firmware/efi/efivars/x /usr/lib/x86_64-linux-gnu/libc.so.6 /srv/www/html/index.html")

// queries times an evaluator's answer about a file beside the kernel's at .access, about the same profile, and requires
// that both are the same.
func queries(ctx context.Context, compiler *profile.Compiler) error {
	const name = "bench-query"
	text, err := templates.Text("docker-default", name, templates.Target{})
	if err != nil {
		return err
	}
	blob, err := compiler.Compile(ctx, name, profile.Enforce, "bench", text)
	if err != nil {
		return err
	}
	all, err := meaning.Read(blob.Data)
	if err != nil {
		return err
	}
	if err := os.WriteFile(apparmorfs+"/.replace", blob.Data, 0); err != nil {
		return err
	}
	fd, err := syscall.Open(apparmorfs+"/.access", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	keys := make([][]byte, len(asked))
	for i, path := range asked {
		keys[i] = append([]byte("label\x00"+name+"\x00"), append([]byte{byte(meaning.File)}, path...)...)
	}
	var answer [4096]byte
	kernelSays := func(i int) (string, error) {
		if _, err := syscall.Pwrite(fd, keys[i], 0); err != nil {
			return "", err
		}
		n, err := syscall.Pread(fd, answer[:], 0)
		if err != nil {
			return "", err
		}
		return string(answer[:n]), nil
	}
	for i, path := range asked {
		said, err := kernelSays(i)
		if err != nil {
			return err
		}
		hex, _, _ := strings.Cut(strings.TrimPrefix(said, "allow 0x"), "\n")
		theirs, err := strconv.ParseUint(hex, 16, 32)
		if err != nil {
			return fmt.Errorf("the kernel says %q: %w", said, err)
		}
		if ours, _ := all[0].File(path); ours.Allow != uint32(theirs) {
			return fmt.Errorf("%s: %#x, and the kernel says %#x", path, ours.Allow, theirs)
		}
	}
	const rounds = 20 // each asks about all paths
	var allowed uint32
	ours := func() error {
		for range rounds {
			for _, path := range asked {
				owner, _ := all[0].Query(meaning.File, path)
				allowed |= owner.Allow
			}
		}
		return nil
	}
	theirs := func() error {
		for range rounds {
			for i := range asked {
				if _, err := kernelSays(i); err != nil {
					return err
				}
			}
		}
		return nil
	}
	times, err := measure(40, ours, theirs)
	if err != nil {
		return err
	}
	if allowed == 0 {
		return errors.New("nothing was allowed")
	}
	ratio("evaluated query about a file ÷ the kernel's at .access", 0.05, times[0], times[1],
		fmt.Sprintf("%d queries each", rounds*len(asked)), "")
	return nil
}
