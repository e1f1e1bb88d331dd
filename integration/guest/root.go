package guest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os/exec"
	"time"
)

// A Root is the root file system of a container, with packages of a guest's suite. Guests do not have these packages
// themselves, as few tests need them: Build makes a directory, which a Job takes among its Files.
type Root struct {
	Name     string
	Packages []string
	Before   string // a command of sh that runs before the packages are installed, with the directory as $1
	After    string // and one that runs when they are installed
}

// PostgreSQL is the database server, with its clients. Its wrappers in Perl are left out, and what only they and the
// generation of locales need: that is half of what the packages bring. So is just-in-time compilation, which needs LLVM: since
// forky it is a package of its own, and where its library is not there, the server does without it.
var PostgreSQL = Root{
	Name:     "postgresql",
	Packages: []string{"postgresql"},
	// Without it, the package makes a database, which takes longer than all the rest.
	Before: `mkdir -p "$1/etc/postgresql-common"
echo 'create_main_cluster = false' > "$1/etc/postgresql-common/createcluster.conf"`,
	After: `rm -rf "$1"/usr/share/perl "$1"/usr/share/perl5 "$1"/usr/share/i18n "$1"/usr/share/postgresql-common
rm -rf "$1"/usr/lib/x86_64-linux-gnu/perl "$1"/usr/lib/x86_64-linux-gnu/perl-base "$1"/usr/lib/x86_64-linux-gnu/libperl.so.*
rm -rf "$1"/usr/lib/systemd "$1"/usr/lib/x86_64-linux-gnu/systemd
rm -rf "$1"/usr/lib/postgresql/*/lib/llvmjit* "$1"/usr/lib/x86_64-linux-gnu/libLLVM* "$1"/usr/lib/llvm* "$1"/usr/lib/x86_64-linux-gnu/libz3*`,
}

// clean takes away what a container's root file system need not have, and what only root could make: device nodes.
const clean = `rm -rf "$1"/dev/* "$1"/run/* "$1"/var/lib/apt "$1"/var/lib/dpkg "$1"/var/cache/* "$1"/var/log/*
rm -f "$1/etc/resolv.conf" "$1/etc/hostname"`

// Build returns the directory of the root file system with packages of the suite. It takes it from the cache, or makes it as
// Guest.Build does, with the same needs.
func (r Root) Build(ctx context.Context, suite string, progress io.Writer) (dir string, err error) {
	what := "root file system " + r.Name + " of " + suite
	cache, err := cacheDir()
	if err == nil {
		version := fmt.Sprintf("%x", sha256.Sum256(fmt.Appendln(nil, recipe, clean, r)))[:12]
		dir, err = cached(ctx, progress, cache, what, "root-"+r.Name+"-"+suite+"-", thisMonth()+"-"+version, func(dir string) error {
			if err := canInstall(); err != nil {
				return err
			}
			began := time.Now()
			if err := r.install(ctx, suite, dir); err != nil {
				return err
			}
			fmt.Fprintf(progress, "%s: packages installed (%.1f s)\n", what, time.Since(began).Seconds())
			return nil
		})
	}
	if err != nil {
		return "", fmt.Errorf("building %s: %w", what, err)
	}
	return dir, nil
}

// install fills a directory. dpkg would ask whether to keep the files of Before. While mmdebstrap runs, there are mounts below
// the directory, so that what goes is removed afterwards.
func (r Root) install(ctx context.Context, suite, dir string) error {
	options := []string{"--variant=essential", "--dpkgopt=force-confold"}
	for _, name := range r.Packages {
		options = append(options, "--include="+name)
	}
	if r.Before != "" {
		options = append(options, "--essential-hook=set -eu\n"+r.Before)
	}
	if err := mmdebstrap(ctx, suite, dir, options...); err != nil {
		return err
	}
	return run(exec.CommandContext(ctx, "sh", "-euc", clean+"\n"+r.After, "sh", dir))
}
