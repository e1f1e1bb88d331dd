package guest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// umlPackage is Debian's package of the suite's kernel for user mode. It has the same AppArmor as the suite's other
	// kernels, since both are built from the same source.
	umlPackage = "user-mode-linux"

	// umlRecipe is raised when the directory of umlPackage is made differently.
	umlRecipe = 1

	// loaderName is the loader of programs for amd64, in the package of the C library.
	loaderName = "ld-linux-x86-64.so.2"
)

// A userMode is a kernel that is a process of the host, as Linux's architecture "um" has it
// (Documentation/virt/uml/user_mode_linux_howto_v2.rst). The processes of a guest run on the host's processor, and their
// system calls are taken from them by ptrace, or since Linux 6.16 by a filter for system calls.
type userMode struct {
	root    string // directory that the package has been unpacked into, with disk and initramfs beside its files
	version string // "6.12.113"
}

func (u *userMode) program() string { return filepath.Join(u.root, "usr/bin/linux.uml") }

// libraries returns the directories of the C library's files. Until bookworm its package has them outside of usr.
func (u *userMode) libraries() []string {
	return []string{filepath.Join(u.root, "usr/lib/x86_64-linux-gnu"), filepath.Join(u.root, "lib/x86_64-linux-gnu")}
}

func (u *userMode) modules() string   { return filepath.Join(u.root, "modules.img") }
func (u *userMode) initramfs() string { return filepath.Join(u.root, "initramfs") }

// userMode returns the kernel in user mode of the image's suite, after it has booted to its first program. It unpacks the
// package into the cache where that has not been done.
func (i *Image) userMode(ctx context.Context, progress io.Writer) (*userMode, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	key := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, umlRecipe, i.Suite, umlPackage, initScript)))[:12]
	what := "user-mode kernel of " + i.Suite
	root, err := cached(ctx, progress, cache, what, "uml-"+i.Suite+"-", thisMonth()+"-"+key, func(dir string) error {
		began := time.Now()
		if err := makeUserMode(ctx, i.Suite, dir); err != nil {
			return err
		}
		fmt.Fprintf(progress, "%s: packages unpacked (%.1f s)\n", what, time.Since(began).Seconds())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("unpacking the %s: %w", what, err)
	}
	u := &userMode{root: root}
	return u, u.probe(ctx)
}

// makeUserMode fills dir with what userMode names.
func makeUserMode(ctx context.Context, suite, dir string) error {
	if err := canInstall(); err != nil {
		return err
	}
	if err := need("mke2fs"); err != nil {
		return err
	}
	if err := mmdebstrap(ctx, suite, dir, "--variant=extract", "--include="+umlPackage+",busybox-static"); err != nil {
		return err
	}
	versions, err := filepath.Glob(filepath.Join(dir, "usr/lib/uml/modules/*"))
	if err != nil || len(versions) != 1 {
		return fmt.Errorf("%s has modules of %d versions", umlPackage, len(versions))
	}
	u := &userMode{root: dir}
	if bin := filepath.Join(dir, "bin/busybox"); exists(bin) { // of a suite whose package has it outside of usr
		if err := os.Rename(bin, filepath.Join(dir, "usr/bin/busybox")); err != nil {
			return err
		}
	}
	if err := makeInitramfs(ctx, dir, versions[0], []string{"ext4"}, u.initramfs()); err != nil {
		return err
	}
	if err := makeDisk(ctx, versions[0], u.modules(), "400M"); err != nil {
		return err
	}
	return os.RemoveAll(versions[0])
}

// probe boots the kernel as far as its first program, and takes its version from what it says. Nothing less is a proof:
// a host may refuse ptrace, or the filters, or memory that can be executed.
func (u *userMode) probe(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "guest-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cmd, err := u.run(dir, 256, "initrd="+u.initramfs(), "probe=yes", "con0=null,fd:1", "console=tty0", "panic=-1")
	if err != nil {
		return err
	}
	if err := says(ctx, cmd, "guest: the first program runs", probeLimit); err != nil {
		return err
	}
	version := exec.CommandContext(ctx, cmd.Path, "--version")
	version.Env = cmd.Env
	out, err := version.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", version, err)
	}
	u.version = strings.TrimSpace(string(out))
	return nil
}

// run returns the command that runs the kernel with a command line. dir is an empty directory for its files. memory is
// in MiB.
func (u *userMode) run(dir string, memory int, words ...string) (*exec.Cmd, error) {
	program := filepath.Join(dir, filepath.Base(u.program()))
	libraries := u.libraries()
	i := slices.IndexFunc(libraries, func(dir string) bool { return exists(filepath.Join(dir, loaderName)) })
	if i < 0 {
		return nil, fmt.Errorf("%s has no %s", u.root, loaderName)
	}
	if err := setInterpreter(u.program(), filepath.Join(libraries[i], loaderName), program); err != nil {
		return nil, err
	}
	cmd := exec.Command(program, append([]string{
		fmt.Sprintf("mem=%dM", memory),
		"uml_dir=" + dir + "/", "umid=guest",
		"seccomp=auto", // or else, where the host can't do that, ptrace; kernels before 6.16 know only ptrace
		"con=null", "ssl=null",
	}, words...)...)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(libraries, ":"), "TMPDIR="+memoryDir(dir, memory))
	return cmd, nil
}

// memoryDir returns the directory for the file that is the guest's memory: that of the host for shared memory where it is
// large enough, or else dir. Of a container it often has no more than 64 MiB.
func memoryDir(dir string, memory int) string {
	const shared = "/dev/shm"
	var fs syscall.Statfs_t
	if err := syscall.Statfs(shared, &fs); err == nil && fs.Bavail*uint64(fs.Bsize)>>20 > uint64(memory) {
		return shared
	}
	return dir
}

// ports implements machine.
func (u *userMode) ports() string { return "serial" }

// stops implements machine. Linux 6.12 has stopped so, once in four long runs; 7.2 has not yet.
func (u *userMode) stops() bool { return true }

// command implements machine.
func (u *userMode) command(i *Image, b boot) (*exec.Cmd, error) {
	return u.run(b.dir, b.memory, append([]string{
		"initrd=" + u.initramfs(), "disks=ubd",
		"ubd0=" + filepath.Join(b.dir, "changes") + "," + i.disk(), "ubd1r=" + b.job, "ubd2r=" + u.modules(),
		fmt.Sprintf("con0=null,fd:%d", consolePort), "console=tty0",
		fmt.Sprintf("ssl0=null,fd:%d", outputPort), fmt.Sprintf("ssl1=null,fd:%d", resultsPort),
	}, b.kernelArgs...)...)
}

// setInterpreter writes a copy of an ELF program that the given loader loads, instead of the host's. The program may need
// a newer C library than the host's, and starts itself anew, so the loader cannot be called with it as an argument.
//
// The segment PT_INTERP of the copy says that the loader's path stands at the end of the file, where the kernel reads it
// (elf(5)).
func setInterpreter(program, loader, to string) error {
	text, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	f, err := elf.NewFile(bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	if f.Class != elf.ELFCLASS64 || f.ByteOrder != binary.LittleEndian {
		return fmt.Errorf("%s is not a program for amd64", program)
	}
	var header elf.Header64
	if _, err := binary.Decode(text, f.ByteOrder, &header); err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	for n, p := range f.Progs {
		if p.Type != elf.PT_INTERP {
			continue
		}
		at := header.Phoff + uint64(n)*uint64(header.Phentsize)
		var segment elf.Prog64
		size := binary.Size(segment)
		if _, err := binary.Decode(text[at:], f.ByteOrder, &segment); err != nil {
			return fmt.Errorf("%s: %w", program, err)
		}
		segment.Off, segment.Filesz = uint64(len(text)), uint64(len(loader)+1)
		if _, err := binary.Encode(text[at:at+uint64(size)], f.ByteOrder, segment); err != nil {
			return err
		}
		return os.WriteFile(to, append(append(text, loader...), 0), 0o755)
	}
	return errors.New(program + " has no interpreter: it is not linked dynamically")
}
