package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/hook/programs"
	"github.com/oci-apparmor/oci-apparmor/hook/version"
	"github.com/oci-apparmor/oci-apparmor/policy/safefile"
	"github.com/oci-apparmor/oci-apparmor/policy/store"
)

// The image's files beside the programs, from install/ of this repository.
const (
	placeScript = "place.sh"
	unitName    = "oci-apparmor.service"
)

// units is where a unit that an administrator has placed is, and what enabling it makes.
const units = "/etc/systemd/system"

// Wiring is how an engine is connected.
type Wiring struct {
	Engines        []string // as package engines names them
	Default        bool     // ours is the runtime of pods that name no RuntimeClass
	Restart        bool     // the engine takes it over at once
	StopContainers bool     // also where that stops containers
}

// Install puts the image's programs and a policy on the node, and connects its engine. It may be called at any time again,
// and is at each start of a pod of the DaemonSet: what is there already stays, and an engine that has taken the runtime over is
// not restarted. policy is the directory of a mounted ConfigMap. Without one the node has a policy of its own.
//
// A bad policy is an error where none is in force yet. Later it is said, and the last good one stays in force.
func (n *Node) Install(ctx context.Context, w Wiring, policy string) error {
	image, err := os.OpenRoot(n.Image)
	if err != nil {
		return err
	}
	defer image.Close()
	for _, name := range append([]string{placeScript, unitName}, programs.Names...) {
		if _, err := image.Stat(name); err != nil {
			return fmt.Errorf("%s is no directory of our image: %w", n.Image, err)
		}
	}
	mirror, err := OpenMirror(policy)
	if err != nil {
		return err
	}
	defer mirror.Close()
	return n.do(func() error {
		r, err := n.claim()
		if err != nil {
			return err
		}
		n.stay(ctx)
		if err := n.place(ctx, &r, image); err != nil {
			return fmt.Errorf("the programs cannot be put on the node: %w", err)
		}
		if err := n.enableUnit(ctx, image); err != nil {
			return fmt.Errorf("%s: %w", unitName, err)
		}
		if err := n.firstPolicy(ctx, mirror); err != nil {
			return err
		}
		return n.connect(ctx, w)
	})
}

// claim returns the record of an earlier Install, or a new one. It is an error if the node has programs of ours that something
// else has put there: Leave would take them away.
func (n *Node) claim() (record, error) {
	r, ok, err := n.read()
	if err != nil {
		return record{}, err
	}
	if ok {
		if r.Prefix != n.Prefix {
			return record{}, fmt.Errorf("this node's programs are below %s, and --prefix is %s: delete the DaemonSet first, so that they are taken away", r.Prefix, n.Prefix)
		}
		return r, nil
	}
	for _, prefix := range []string{n.Prefix, "/usr", "/usr/local"} {
		if _, err := os.Lstat(n.path(prefix, "bin", programs.Names[0])); err == nil {
			return record{}, fmt.Errorf("the node has %s/bin/%s, which no DaemonSet has put there: remove that first (its package, or make uninstall)", prefix, programs.Names[0])
		}
	}
	return record{Prefix: n.Prefix}, nil
}

// place puts the programs on the node, by the script that make install and the packages call as well.
func (n *Node) place(ctx context.Context, r *record, image *os.Root) error {
	lib := path.Join(n.Prefix, "lib/oci-apparmor")
	if err := n.write(r, path.Join(n.Prefix, "bin"), path.Join(lib, "programs"), store.Dir); err != nil {
		return err
	}
	incoming := n.path(lib, "incoming")
	defer os.RemoveAll(incoming)
	if err := os.RemoveAll(incoming); err != nil {
		return err
	}
	if err := os.Mkdir(incoming, 0o755); err != nil {
		return err
	}
	for _, name := range append([]string{placeScript}, programs.Names...) {
		if err := copyFile(image, name, path.Join(incoming, name), 0o755); err != nil {
			return err
		}
	}
	return n.run(ctx, "/bin/sh", path.Join(incoming, placeScript), incoming, n.path(n.Prefix), version.String())
}

// copyFile copies a file of the image to a path of the node.
func copyFile(image *os.Root, name, to string, mode fs.FileMode) error {
	from, err := image.Open(name)
	if err != nil {
		return err
	}
	defer from.Close()
	f, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Chmod(mode), f.Close())
}

// enableUnit has systemd apply the policy at each boot, before the engine and the kubelet start.
func (n *Node) enableUnit(ctx context.Context, image *os.Root) error {
	if !n.systemd() {
		return nil
	}
	text, err := image.ReadFile(unitName)
	if err != nil {
		return err
	}
	text = []byte(strings.ReplaceAll(string(text), "/usr/local/", n.Prefix+"/"))
	at := n.path(units, unitName)
	if old, err := os.ReadFile(at); err != nil || string(old) != string(text) {
		if err := safefile.Replace(at, text, safefile.Options{Mode: 0o644, Sync: true}); err != nil {
			return err
		}
		if err := n.run(ctx, "systemctl", "daemon-reload"); err != nil {
			return err
		}
	}
	return n.run(ctx, "systemctl", "--quiet", "enable", unitName)
}

// firstPolicy puts the ConfigMap's policy in force.
func (n *Node) firstPolicy(ctx context.Context, mirror *Mirror) error {
	if mirror != nil {
		if _, err := mirror.to(n.path(mirrorDir)); err != nil {
			return fmt.Errorf("the policy's ConfigMap: %w", err)
		}
	}
	err := n.run(ctx, n.program(), "policy", "apply")
	if err == nil {
		return nil
	}
	if _, e := os.Stat(n.path(store.Dir, "current/index")); e == nil {
		n.say("the policy is not applied, and the last good one stays in force: %v", err)
		return nil
	}
	return fmt.Errorf("no policy can be put in force, and without one no pod starts by our runtime: %w", err)
}

// connect has the engine start containers through us.
func (n *Node) connect(ctx context.Context, w Wiring) error {
	args := []string{"install", "--yes", fmt.Sprintf("--default=%t", w.Default)}
	if w.Restart {
		args = append(args, "--restart")
	}
	if w.StopContainers {
		args = append(args, "--stop-containers")
	}
	return n.run(ctx, n.program(), append(args, w.Engines...)...)
}
