package guest

import (
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

// recipe is raised when an image is made differently from the same packages; init.sh counts by itself.
const recipe = 1

// diskSize is that of a guest's root file system. The file is sparse, and so is what a run adds to it.
const diskSize = "6G"

// An Image is a guest that is ready to boot. Its files are never written after they were made.
type Image struct {
	Guest
	Dir string
}

func (i *Image) disk() string      { return filepath.Join(i.Dir, "disk.img") }
func (i *Image) kernel() string    { return filepath.Join(i.Dir, "vmlinuz") }
func (i *Image) initramfs() string { return filepath.Join(i.Dir, "initramfs") }

// Versions gives the version of every package that the guest has, by name.
func (i *Image) Versions() map[string]string { return i.table("versions") }

// Missing gives the optional packages that the suite did not have, each with what apt said about it.
func (i *Image) Missing() map[string]string { return i.table("missing") }

// NotShown says of every package that is missing that no test has shown what needs it, a line each.
func (i *Image) NotShown() (lines []string) {
	missing := i.Missing()
	for _, name := range slices.Sorted(maps.Keys(missing)) {
		lines = append(lines, fmt.Sprintf("guest %s: NOT SHOWN is what needs %s, which the suite did not have: %s", i.Suite, name, missing[name]))
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

// Build gives the guest's image: from the cache, or made anew when this month's is not there yet, its package list has changed or the recipe has.
// That takes about a minute and root's rights; progress hears of every step, with its seconds.
// Only one image is built at a time on a machine; who comes second waits and finds the first one's work.
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
	month := time.Now().UTC().Format("2006-01")
	image := &Image{Guest: g, Dir: filepath.Join(cache, g.Suite+"-"+month+"-"+g.key())}
	if exists(image.Dir) {
		return image, nil
	}
	lock, err := lockFile(ctx, filepath.Join(cache, "lock"), func() {
		fmt.Fprintf(progress, "guest %s: waiting for another build to finish\n", g.Suite)
	})
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	if exists(image.Dir) {
		return image, nil
	}
	fmt.Fprintf(progress, "guest %s: not built yet; it takes about a minute and is kept in %s\n", g.Suite, image.Dir)

	const half = "building-"
	if err := removeMatching(cache, func(name string) bool { return strings.HasPrefix(name, half) }); err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(cache, half+g.Suite+"-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := g.make(ctx, dir, func(what string, began time.Time) {
		fmt.Fprintf(progress, "guest %s: %s (%.1f s)\n", g.Suite, what, time.Since(began).Seconds())
	}); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whoever may use the cache may boot what root has built
		return nil, err
	}
	if err := os.Rename(dir, image.Dir); err != nil {
		return nil, err
	}
	for name, why := range image.Missing() {
		fmt.Fprintf(progress, "guest %s: goes without %s: %s\n", g.Suite, name, why)
	}
	return image, removeMatching(cache, func(name string) bool {
		return strings.HasPrefix(name, g.Suite+"-") && !strings.HasPrefix(name, g.Suite+"-"+month)
	})
}

// make fills dir with the files of an Image, and calls done after every step.
func (g Guest) make(ctx context.Context, dir string, done func(what string, began time.Time)) error {
	if runtime.GOARCH != "amd64" {
		return fmt.Errorf("guests are amd64, and packages of that architecture can't be installed on %s", runtime.GOARCH)
	}
	if os.Geteuid() != 0 {
		return errors.New("installing a root file system needs root: run this once as root; booting does not need it")
	}
	if err := need("mmdebstrap", "mke2fs", "xz", "zstd"); err != nil {
		return err
	}
	if !exists(keyring) {
		return fmt.Errorf("%s is missing: apt-get install debian-archive-keyring", keyring)
	}
	uri, err := mirror()
	if err != nil {
		return err
	}

	began := time.Now()
	root := filepath.Join(dir, "root")
	missing, err := g.install(ctx, uri, root)
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
	if err := makeInitramfs(ctx, root, version, filepath.Join(dir, "initramfs")); err != nil {
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

// install makes a root file system below root. What it had to leave out of the optional packages it tells, a line each: the name and apt's reason.
func (g Guest) install(ctx context.Context, uri, root string) (missing string, err error) {
	optional := slices.Clone(g.Optional)
	for {
		err := g.mmdebstrap(ctx, uri, root, slices.Concat(g.Packages, optional))
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

// refusal finds the line in which apt says that it can't install the package.
func refusal(output, name string) string {
	about := regexp.MustCompile(`^(E:.*[ ']` + regexp.QuoteMeta(name) + `([ ']|$)| *` + regexp.QuoteMeta(name) + ` : )`)
	for line := range strings.Lines(output) {
		if line = strings.TrimRight(line, "\n"); about.MatchString(line) {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

// The hooks get the new root file system as $1. They must change nothing outside of it: whatever they run of Debian's tools runs in it, by chroot.
// (apt-get with mmdebstrap's APT_CONFIG is not enough for that. It would resolve packages for the new system, and then have them unpacked by the
// dpkg of this one.)
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

func (g Guest) mmdebstrap(ctx context.Context, uri, root string, packages []string) error {
	args := []string{
		"--mode=root", "--format=directory", "--variant=essential", "--architectures=amd64",
		"--include=" + strings.Join(packages, ","),
		"--essential-hook=" + essentialHook, "--customize-hook=" + customizeHook,
	}
	for _, path := range []string{"doc", "man", "info", "locale"} {
		args = append(args, "--dpkgopt=path-exclude=/usr/share/"+path+"/*")
	}
	for _, option := range aptOptions() {
		args = append(args, "--aptopt="+option)
	}
	args = append(args, g.Suite, root, fmt.Sprintf("deb [signed-by=%s] %s %s main", keyring, uri, g.Suite))
	cmd := exec.CommandContext(ctx, "mmdebstrap", args...)
	// Its own mount namespace, so that a build that is killed leaves no mounts below a directory that the next one removes.
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGTERM}
	return run(cmd)
}

// makeDisk makes an ext4 image of the directory's content. Nothing survives a run, so there is nothing that a journal could save.
func makeDisk(ctx context.Context, dir, image, size string) error {
	return run(exec.CommandContext(ctx, "mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", dir, image, size))
}

// key tells images apart that are made from different lists or by different recipes.
func (g Guest) key() string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendln(nil, recipe, initScript, essentialHook, customizeHook, diskSize, g)))[:12]
}

// cacheDir is where images are kept, outside of any checkout.
func cacheDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil { // neither HOME nor XDG_CACHE_HOME, as in some CI systems
		base = "/var/cache"
	}
	dir := filepath.Join(base, "oci-apparmor", "guests")
	return dir, os.MkdirAll(dir, 0o755)
}

// lockFile takes a lock between processes, which the returned file's Close releases; busy is called once when another one holds it.
func lockFile(ctx context.Context, name string, busy func()) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if err != syscall.EWOULDBLOCK {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", name, err)
		}
		if busy != nil {
			busy()
			busy = nil
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(300 * time.Millisecond):
		}
	}
}

func removeMatching(dir string, match func(name string) bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if match(e.Name()) {
			err = errors.Join(err, os.RemoveAll(filepath.Join(dir, e.Name())))
		}
	}
	return err
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// run gives the command's last lines with its error.
func run(cmd *exec.Cmd) error {
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd.Args[0], err, lastLines(out.Bytes(), 30))
	}
	return nil
}

// lastLines gives at most n lines from the end of the text, without the carriage returns and colours of consoles.
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
