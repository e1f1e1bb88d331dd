package guest

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// recipe is the version of how an image is made. Raise it if the same packages are to make another image. A change of
// init.sh makes a new image by itself.
const recipe = 1

// diskSize is the size of a guest's root file system. The file is sparse, and so are the changes of a run.
const diskSize = "6G"

// An Image is a guest that is ready to boot. Nothing writes to its files after Build.
type Image struct {
	Guest
	Dir string
}

func (i *Image) disk() string      { return filepath.Join(i.Dir, "disk.img") }
func (i *Image) kernel() string    { return filepath.Join(i.Dir, "vmlinuz") }
func (i *Image) initramfs() string { return filepath.Join(i.Dir, "initramfs") }

// Versions returns the version of every package that the guest has, by name.
func (i *Image) Versions() map[string]string { return i.table("versions") }

// Missing returns the optional packages that the suite did not have. The value is apt's reason.
func (i *Image) Missing() map[string]string { return i.table("missing") }

// NotShown returns a line for each missing package. The line says that no test has shown what needs the package.
func (i *Image) NotShown() (lines []string) {
	missing := i.Missing()
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		lines = append(lines, fmt.Sprintf("guest %s: NOT SHOWN is what needs %s, which the suite did not have: %s",
			i.Suite, name, missing[name]))
	}
	return lines
}

func (i *Image) table(name string) map[string]string {
	text, _ := os.ReadFile(filepath.Join(i.Dir, name))
	m := map[string]string{}
	for line := range strings.Lines(string(text)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		m[k] = v
	}
	return m
}

// Build returns the guest's image. It takes the image from the cache, or makes it. It makes a new one if the month, the
// list of packages or the recipe has changed. That takes about a minute, and needs root. Build writes a line to
// progress for each step, with its duration in seconds.
//
// Only one process on a machine builds an image at a time. A second one waits, and then uses the image of the first.
func (g Guest) Build(ctx context.Context, progress io.Writer) (*Image, error) {
	image, err := g.build(ctx, progress)
	if err != nil {
		return nil, fmt.Errorf("building guest %s: %w", g.Suite, err)
	}
	return image, nil
}

func (g Guest) build(ctx context.Context, progress io.Writer) (*Image, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	image := &Image{Guest: g}
	image.Dir, err = cached(ctx, progress, cache, "guest "+g.Suite, g.Suite+"-", thisMonth()+"-"+g.key(), func(dir string) error {
		err := g.make(ctx, dir, func(what string, began time.Time) {
			fmt.Fprintf(progress, "guest %s: %s (%.1f s)\n", g.Suite, what, time.Since(began).Seconds())
		})
		for name, why := range (&Image{Guest: g, Dir: dir}).Missing() {
			fmt.Fprintf(progress, "guest %s: goes without %s: %s\n", g.Suite, name, why)
		}
		return err
	})
	return image, err
}

// make fills dir with the files of an Image, and calls done after every step.
func (g Guest) make(ctx context.Context, dir string, done func(what string, began time.Time)) error {
	if err := canInstall(); err != nil {
		return err
	}
	if err := need("mke2fs", "xz", "zstd"); err != nil {
		return err
	}

	began := time.Now()
	root := filepath.Join(dir, "root")
	missing, err := g.install(ctx, root)
	if err != nil {
		return err
	}
	done("packages installed", began)

	began = time.Now()
	kernels, _ := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
	if len(kernels) == 0 {
		return errors.New("the packages brought no kernel")
	}
	version := strings.TrimPrefix(filepath.Base(kernels[len(kernels)-1]), "vmlinuz-")
	if err := copyFile(kernels[len(kernels)-1], filepath.Join(dir, "vmlinuz")); err != nil {
		return err
	}
	if err := makeInitramfs(ctx, root, filepath.Join(root, "usr/lib/modules", version), bootModules,
		filepath.Join(dir, "initramfs")); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(root, "versions"), filepath.Join(dir, "versions")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "missing"), []byte(missing), 0o644); err != nil {
		return err
	}
	done("kernel "+version+" and its initramfs", began)

	began = time.Now()
	if err := makeDisk(ctx, root, filepath.Join(dir, "disk.img"), diskSize); err != nil {
		return err
	}
	if err := os.RemoveAll(root); err != nil {
		return err
	}
	done("disk", began)
	return nil
}

// install makes a root file system below root. It returns the optional packages that it had to leave out: a line for
// each, with its name and apt's reason.
func (g Guest) install(ctx context.Context, root string) (missing string, err error) {
	optional := slices.Clone(g.Optional)
	for {
		err := mmdebstrap(ctx, g.Suite, root, "--variant=essential",
			"--include="+strings.Join(slices.Concat(g.Packages, optional), ","),
			"--essential-hook="+essentialHook, "--customize-hook="+customizeHook)
		if err == nil {
			return missing, nil
		}
		i := slices.IndexFunc(optional, func(name string) bool { return refusal(err.Error(), name) != "" })
		if i < 0 {
			return "", err
		}
		missing += optional[i] + " " + refusal(err.Error(), optional[i]) + "\n"
		optional = slices.Delete(optional, i, i+1)
		if err := os.RemoveAll(root); err != nil {
			return "", err
		}
	}
}

// refusal returns the line of apt's output that says why it cannot install the package.
func refusal(output, name string) string {
	about := regexp.MustCompile(`^(E:.*[ ']` + regexp.QuoteMeta(name) + `([ ']|$)| *` + regexp.QuoteMeta(name) + ` : )`)
	for line := range strings.Lines(output) {
		if line = strings.TrimRight(line, "\n"); about.MatchString(line) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// The hooks get the new root file system as $1. They must change nothing outside of it: whatever they run of Debian's
// tools runs in it, by chroot. (apt-get with mmdebstrap's APT_CONFIG is not enough for that. It would resolve packages
// for the new system, and then have them unpacked by the dpkg of this one.)
const (
	// essentialHook keeps the kernel's package from making an initramfs, which would take longer than all the rest.
	essentialHook = `set -eu
chroot "${1:?}" dpkg-divert --quiet --local --rename --add /usr/sbin/update-initramfs
ln -s /bin/true "$1/usr/sbin/update-initramfs"`

	customizeHook = `set -eu
mkdir "${1:?}/job" "$1/results"
chroot "$1" dpkg-query --show --showformat '${Package} ${Version}\n' > "$1/versions"
od -An -N16 -tx1 /dev/urandom | tr -d ' ' > "$1/etc/machine-id"
echo '127.0.0.1 localhost' > "$1/etc/hosts"
rm -f "$1/etc/resolv.conf" "$1/etc/hostname"`
)

// mmdebstrap puts packages of the suite into the directory root, as its options say.
func mmdebstrap(ctx context.Context, suite, root string, options ...string) error {
	uri, err := mirror()
	if err != nil {
		return err
	}
	args := append([]string{"--mode=root", "--format=directory", "--architectures=amd64"}, options...)
	for _, path := range []string{"doc", "man", "info", "locale"} {
		args = append(args, "--dpkgopt=path-exclude=/usr/share/"+path+"/*")
	}
	for _, option := range aptOptions() {
		args = append(args, "--aptopt="+option)
	}
	args = append(args, suite, root, fmt.Sprintf("deb [signed-by=%s] %s %s main", keyring, uri, suite))
	cmd := exec.CommandContext(ctx, "mmdebstrap", args...)
	// Its own mount namespace, so that a build that is killed leaves no mounts below a directory that the next one removes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	return run(cmd)
}

// makeDisk makes an ext4 image of the directory's content. Nothing survives a run, so there is nothing that a journal
// could save.
func makeDisk(ctx context.Context, dir, image, size string) error {
	return run(exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", dir, image, size))
}

// key returns a string that differs for images that are made from different lists of packages or by different recipes.
func (g Guest) key() string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendln(nil, recipe, initScript, essentialHook, customizeHook, diskSize, g)))[:12]
}

// run runs a command. Its error has the last lines of the command's output.
func run(cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd.Args[0], err, lastLines(out.Bytes(), 30))
	}
	return nil
}

// lastLines returns at most n lines from the end of the text, without the carriage returns and colours of consoles.
func lastLines(text []byte, n int) string {
	clean := strings.ReplaceAll(strings.TrimSpace(string(text)), "\r", "")
	lines := strings.Split(clean, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
