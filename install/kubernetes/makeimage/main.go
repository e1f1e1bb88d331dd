// makeimage writes the container image that the DaemonSet runs, for several architectures: make images runs it, in the
// repository's root.
//
//	makeimage [--reference NAME] [--version VERSION] [--date SECONDS] [--push] FILE ARCH=DIR...
//
// FILE becomes a tar of an OCI image layout, which ctr images import, podman load, skopeo and Docker 25 and later read. DIR has the
// programs for the architecture ARCH, as Go names it. With --push the image goes to NAME's registry as well, with the
// credentials of ~/.docker/config.json.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/oci-apparmor/oci-apparmor/install/kubernetes/image"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintf(os.Stderr, "makeimage: %v\n", err)
		os.Exit(1)
	}
}

func run() error {
	reference := flag.String("reference", "oci-apparmor:latest", "name and tag of the image")
	version := flag.String("version", "unknown", "version of the programs")
	date := flag.Int64("date", 0, "date of all files, in seconds after 1970")
	push := flag.Bool("push", false, "push it to the registry of the reference")
	flag.Parse()
	if flag.NArg() < 2 {
		return errors.New("usage: makeimage [FLAG]... FILE ARCH=DIR [ARCH=DIR]")
	}
	ref, err := name.ParseReference(*reference)
	if err != nil {
		return err
	}
	i := image.Image{
		Others:  []string{"install/place.sh", "install/systemd/oci-apparmor.service", "LICENSE"},
		Version: *version,
		Date:    time.Unix(*date, 0).UTC(),
	}
	for _, arg := range flag.Args()[1:] {
		arch, dir, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%q is not ARCH=DIR", arg)
		}
		i.Builds = append(i.Builds, image.Build{Arch: arch, Dir: dir})
	}
	if err := i.Write(flag.Arg(0), ref.Name()); err != nil {
		return err
	}
	if !*push {
		return nil
	}
	index, err := i.Index()
	if err != nil {
		return err
	}
	return remote.WriteIndex(ref, index, remote.WithAuthFromKeychain(authn.DefaultKeychain))
}
