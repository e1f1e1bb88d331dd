package guest

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// initScript is the first program of a guest. It loads what is needed to see the disks, and hands over to the job's script.
//
//go:embed init.sh
var initScript string

// bootModules are the kernel modules that stand between the kernel and its root file system, and the port that a job
// speaks through. All others are on that file system, where the kernel has them loaded when they are needed.
var bootModules = []string{"virtio_pci", "virtio_blk", "virtio_console", "ext4"}

// makeInitramfs writes an initramfs of init.sh, the busybox of the root file system in root, and what the kernel needs of
// the wanted modules. The directory modules is that of the kernel's version.
func makeInitramfs(ctx context.Context, root, modules string, wanted []string, name string) error {
	var index, builtin []byte
	var err error
	if index, err = os.ReadFile(filepath.Join(modules, "modules.dep")); err != nil {
		return err
	}
	if builtin, err = os.ReadFile(filepath.Join(modules, "modules.builtin")); err != nil {
		return err
	}
	order, err := loadOrder(string(index), string(builtin), wanted)
	if err != nil {
		return err
	}
	busybox, err := os.ReadFile(filepath.Join(root, "usr/bin/busybox"))
	if err != nil {
		return err
	}
	archive := new(cpio)
	for _, dir := range []string{"bin", "dev", "guest", "modules"} {
		archive.add(dir, 0o040755, nil)
	}
	archive.add("bin/busybox", 0o100755, busybox)
	archive.add("init", 0o100755, []byte(initScript))
	for i, path := range order {
		content, err := readModule(ctx, filepath.Join(modules, path))
		if err != nil {
			return err
		}
		archive.add(fmt.Sprintf("modules/%02d", i), 0o100644, content)
	}
	return os.WriteFile(name, archive.bytes(), 0o644)
}

// loadOrder returns the files of the modules and of all that they depend on, each after what it depends on.
// index is the kernel's modules.dep, which lists dependencies in full and backwards; a module in builtin needs no loading.
func loadOrder(index, builtin string, modules []string) ([]string, error) {
	files := map[string][]string{}
	for line := range strings.Lines(index) {
		file, before, _ := strings.Cut(strings.TrimSpace(line), ":")
		order := append([]string{file}, strings.Fields(before)...)
		slices.Reverse(order)
		files[moduleName(file)] = order
	}
	for line := range strings.Lines(builtin) {
		if name := moduleName(strings.TrimSpace(line)); files[name] == nil {
			files[name] = []string{}
		}
	}
	var all []string
	for _, m := range modules {
		order, ok := files[m]
		if !ok {
			return nil, fmt.Errorf("the kernel has no module %s", m)
		}
		for _, file := range order {
			if !slices.Contains(all, file) {
				all = append(all, file)
			}
		}
	}
	return all, nil
}

// moduleName returns the name of the module in a file such as kernel/fs/ext4/ext4.ko.xz.
func moduleName(file string) string {
	name, _, _ := strings.Cut(filepath.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// readModule returns a module as busybox's insmod takes it, which is uncompressed.
func readModule(ctx context.Context, name string) ([]byte, error) {
	unpack := map[string]string{".xz": "xz", ".zst": "zstd"}[filepath.Ext(name)]
	if unpack == "" {
		return os.ReadFile(name)
	}
	out, err := exec.CommandContext(ctx, unpack, "-dcq", name).Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		err = fmt.Errorf("%s %s: %w: %s", unpack, name, err, exit.Stderr)
	}
	return out, err
}

// A cpio is an archive in the format "newc", which kernels unpack as their initramfs
// (Documentation/driver-api/early-userspace/buffer-format.rst).
type cpio struct {
	buf     bytes.Buffer
	entries int
}

// add appends a file; mode holds its type and permissions as in stat(2).
func (c *cpio) add(name string, mode uint32, content []byte) {
	c.entries++
	fmt.Fprintf(&c.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
		c.entries, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
	c.pad()
	c.buf.Write(content)
	c.pad()
}

func (c *cpio) pad() {
	for c.buf.Len()%4 != 0 {
		c.buf.WriteByte(0)
	}
}

func (c *cpio) bytes() []byte {
	c.add("TRAILER!!!", 0, nil)
	return c.buf.Bytes()
}
