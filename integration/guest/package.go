package guest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// A Packaged is a program, or a library, of a Debian package that no guest has installed, since only a boot of its own uses it.
type Packaged struct {
	Suite, Package string
	Path           string // of the program, relative to the root directory; it may be a link there
}

// Etcd is the database of Kubernetes' API server, and Kubectl the command by which its users ask it.
var (
	Etcd    = Packaged{Suite: "trixie", Package: "etcd-server", Path: "usr/bin/etcd"}
	Kubectl = Packaged{Suite: "forky", Package: "kubectl", Path: "usr/bin/kubectl"}
)

// Auditd is the daemon that takes the kernel's records, with the libraries that no guest has.
var Auditd = []Packaged{
	{Suite: "forky", Package: "auditd", Path: "usr/sbin/auditd"},
	{Suite: "forky", Package: "libauparse0t64", Path: "usr/lib/x86_64-linux-gnu/libauparse.so.0"},
	{Suite: "forky", Package: "libwrap0", Path: "usr/lib/x86_64-linux-gnu/libwrap.so.0"},
}

// Unpack returns the path of the program. It takes it from the cache, or from the package, without the package's scripts.
func (p Packaged) Unpack(ctx context.Context, progress io.Writer) (file string, err error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	key := fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, p)))[:12]
	what := p.Package + " of " + p.Suite
	dir, err := cached(ctx, progress, cache, what, p.Package+"-", thisMonth()+"-"+key, func(dir string) error {
		if err := canInstall(); err != nil {
			return err
		}
		began, root := time.Now(), filepath.Join(dir, "root")
		if err := mmdebstrap(ctx, p.Suite, root, "--variant=extract", "--include="+p.Package); err != nil {
			return err
		}
		file, err := filepath.EvalSymlinks(filepath.Join(root, p.Path))
		if err != nil {
			return err
		}
		if err := os.Rename(file, filepath.Join(dir, filepath.Base(p.Path))); err != nil {
			return err
		}
		fmt.Fprintf(progress, "%s: package unpacked (%.1f s)\n", what, time.Since(began).Seconds())
		return os.RemoveAll(root) // what the package needs, the guest has
	})
	if err != nil {
		return "", fmt.Errorf("unpacking %s: %w", what, err)
	}
	return filepath.Join(dir, filepath.Base(p.Path)), nil
}
