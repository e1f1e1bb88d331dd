package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

var kernelChecks = []Check{
	{
		ID: "apparmor-off", Severity: Error,
		Looks: "Whether AppArmor is in the running kernel and switched on.",
		Do:    "Boot with apparmor=1 and with apparmor among the modules of lsm=.",
		find:  isReadiness(kernel.NoAppArmor),
	},
	{
		ID: "securityfs-missing", Severity: Error,
		Looks: "Whether AppArmor's files are there, below /sys/kernel/security/apparmor.",
		Do:    "Mount securityfs: mount -t securityfs securityfs /sys/kernel/security.",
		find:  isReadiness(kernel.NoSecurityfs),
	},
	{
		ID: "no-right", Severity: Error,
		Looks: "Whether root may load profiles: it has CAP_MAC_ADMIN outside of any user namespace, and the kernel's policy is not locked.",
		Do:    "Run this outside of containers, and boot without locking AppArmor's policy.",
		find: func(x *exam) ([]found, error) {
			if !x.Root {
				return nil, errAsUser("whether profiles can be loaded, and whether the kernel keeps hashes and enforces")
			}
			return isReadiness(kernel.NoRight)(x)
		},
	},
	{
		ID: "no-hashes", Severity: Error,
		Looks: "Whether the kernel shows a hash of each profile, without which no content can be verified: in the file sha256 of its " +
			"directory, or sha1 before Linux 6.8.",
		Do:   "Write Y to /sys/module/apparmor/parameters/hash_policy, and boot with apparmor.hash_policy=1.",
		find: findHashes,
	},
	{
		ID: "not-enforcing", Severity: Error,
		Looks: "Whether AppArmor as a whole enforces: its global mode counts in addition to the mode of each profile.",
		Do:    "Write enforce to /sys/module/apparmor/parameters/mode, and boot without apparmor.mode=.",
		find:  isReadiness(kernel.NotEnforcing),
	},
	{
		ID: "policy-namespace", Severity: Note,
		Looks: "Whether this process is in a policy namespace of AppArmor's, so that profiles go into that alone.",
		Do:    "Run this on the node itself, if that is where containers are to be confined.",
		find:  isReadiness(kernel.Namespaced),
	},
	{
		ID: "kernel-unfixed", Severity: Warning,
		Looks: "Whether the kernel has the fixes of March 2026 (CVE-2026-23268, CVE-2026-23269, CVE-2026-23403 to CVE-2026-23411, called " +
			"CrackArmor). Without them an unprivileged user can load, replace and remove profiles. It goes by the version: Linux 7.0 " +
			"and later have them, 6.1.192, 6.12.94 and later ones of these series, and Debian's from 6.1.164-1 and 6.12.74-2 on.",
		Do:   "Install the distribution's newest kernel, and boot it.",
		find: func(x *exam) ([]found, error) { return x.findFixes(unfixed), nil },
	},
	{
		ID: "kernel-unknown", Severity: Note,
		Looks: "Whether it is known by the kernel's version that it has these fixes. Of most kernels before Linux 7.0 that are not Debian's " +
			"it is not.",
		Do:   "Look into the distribution's list of fixes for CVE-2026-23268.",
		find: func(x *exam) ([]found, error) { return x.findFixes(unknown), nil },
	},
	{
		ID: "loads-refused", Severity: Warning,
		Looks: "Whether the kernel refuses every new profile, because an earlier load of somebody's failed half-way: a defect of Linux up " +
			"to 7.2.12.",
		Do: "Nothing, if only ours matter, since our next load ends that; for others, remove any profile by apparmor_parser -R, or boot " +
			"anew.",
		find: findRefusedLoads,
	},
	{
		ID: "parser-missing", Severity: Error,
		Looks: "Whether apparmor_parser is there, which compiles profiles, and whether it and the features of the kernel that its " +
			"configuration names can be used.",
		Do:   "Install the package apparmor, or apparmor-parser on SUSE.",
		find: findParser,
	},
	{
		ID: "abi-missing", Severity: Warning,
		Looks: "Whether there are ABIs below /etc/apparmor.d/abi, one of which a profile names: by it the parser knows which rules the " +
			"text means.",
		Do:   "Install the package apparmor anew, or give the policy's profiles an ABI that is there.",
		find: findABIs,
	},
	{
		ID: "unit-missing", Severity: Warning,
		Looks: "Whether systemd knows oci-apparmor.service, which applies the policy and loads its profiles before engines start.",
		Do:    "Run make install, or systemctl link for the unit of another prefix.",
		find:  findUnit(func(p map[string]string) bool { return p["LoadState"] != "loaded" }, "systemd does not know %s"),
	},
	{
		ID: "unit-off", Severity: Warning,
		Looks: "Whether oci-apparmor.service is enabled. Otherwise a boot loads profiles only as containers start, and an engine that looks " +
			"for one before finds none.",
		Do: "Run systemctl enable --now oci-apparmor.",
		find: findUnit(func(p map[string]string) bool {
			on := []string{"enabled", "enabled-runtime", "static", "linked", "alias", "generated"}
			return p["LoadState"] == "loaded" && !slices.Contains(on, p["UnitFileState"])
		}, "%s is not enabled, so that no boot applies the policy"),
	},
	{
		ID: "unit-failed", Severity: Error,
		Looks: "Whether oci-apparmor.service has failed: then the policy on disk has a fault, or its profiles cannot be loaded.",
		Do:    "Read journalctl -u oci-apparmor, mend the policy, and run systemctl restart oci-apparmor.",
		find:  findUnit(func(p map[string]string) bool { return p["ActiveState"] == "failed" }, "%s has failed"),
	},
}

// isReadiness returns a check for one grade of AppArmor's readiness.
func isReadiness(grade kernel.Readiness) func(*exam) ([]found, error) {
	return func(x *exam) ([]found, error) {
		if x.readiness() != grade {
			return nil, nil
		}
		what, _, _ := strings.Cut(grade.String(), ": ")
		return one("%s", what), nil
	}
}

func findHashes(x *exam) ([]found, error) {
	if all, err := isReadiness(kernel.NoHash)(x); all != nil || err != nil {
		return all, err
	}
	list, err := x.loaded()
	if err != nil {
		return nil, err
	}
	var all []found
	for _, l := range list {
		if l.found.Status == kernel.Drifted && l.found.Have == "none" && l.found.Want != "" && l.found.Part == l.Name {
			all = append(all, found{what: fmt.Sprintf("the kernel keeps no hash of profile %s, which was loaded while it made none", l.Name),
				do: "Load it anew: oci-apparmor policy load."})
		}
	}
	return all, nil
}

// fixes is what is known of a kernel and the fixes of March 2026.
type fixes uint8

const (
	fixed fixes = iota
	unfixed
	unknown
)

func (x *exam) findFixes(is fixes) []found {
	if x.readiness() == kernel.NoAppArmor || fixesOf(x.Uname, x.Build) != is {
		return nil
	}
	if is == unfixed {
		return one("Linux %s (%s) lacks the fixes of March 2026, so that any user can replace and remove profiles", x.Uname, x.Build)
	}
	return one("whether Linux %s has the fixes of March 2026 is not known by its version", x.Uname)
}

// debian finds the version of Debian's package in what uname -v prints: "#1 SMP PREEMPT_DYNAMIC Debian 6.12.74-2 (2026-03-08)".
// Backports append to it.
var debian = regexp.MustCompile(`\bDebian (\d+)\.(\d+)\.(\d+)-(\d+)`)

var release = regexp.MustCompile(`^(\d+)\.(\d+)(?:\.(\d+))?`)

// stableFixed has versions with the fixes, for the series that were looked at. Earlier ones of a series may have them as well.
var stableFixed = [][]int{{6, 1, 192}, {6, 12, 94}}

// debianFixed has the first versions with the fixes, for the series that Debian has had for longer.
var debianFixed = [][]int{{6, 1, 164, 1}, {6, 12, 74, 2}}

// fixesOf reports by a kernel's release and build whether it has the fixes.
func fixesOf(uname, build string) fixes {
	r := numbers(release.FindStringSubmatch(uname))
	if slices.Compare(r, []int{7, 0}) >= 0 || slices.ContainsFunc(stableFixed, func(first []int) bool {
		return len(r) == 3 && slices.Equal(r[:2], first[:2]) && r[2] >= first[2]
	}) {
		return fixed
	}
	version := numbers(debian.FindStringSubmatch(build))
	for _, first := range debianFixed {
		if len(version) != len(first) || !slices.Equal(version[:2], first[:2]) {
			continue
		}
		if slices.Compare(version, first) < 0 {
			return unfixed
		}
		return fixed
	}
	return unknown
}

// numbers returns the groups of a match as numbers; none if one is too large.
func numbers(match []string) []int {
	var all []int
	for i := 1; i < len(match) && match[i] != ""; i++ {
		n, err := strconv.Atoi(match[i])
		if err != nil {
			return nil
		}
		all = append(all, n)
	}
	return all
}

// findRefusedLoads looks for the directory that the next load would make: see the cure in package kernel.
func findRefusedLoads(x *exam) ([]found, error) {
	if !x.Root || !x.readiness().Usable() {
		return nil, nil
	}
	revision, err := x.Kernel.Revision()
	if err != nil {
		return nil, err
	}
	if _, err := os.Lstat(filepath.Join(x.Kernel.FS, "policy/raw_data", strconv.FormatInt(revision, 10))); err != nil {
		return nil, nil
	}
	return one("the kernel refuses every new profile, because an earlier load of somebody's failed half-way"), nil
}

func findParser(x *exam) ([]found, error) {
	if r := x.readiness(); r == kernel.NoAppArmor || r == kernel.NoSecurityfs {
		return nil, nil // there are no features to compile for
	}
	_, err := x.compiler()
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, profile.ErrNoParser):
		return one("apparmor_parser is not installed, so that no policy can be applied"), nil
	case errors.Is(err, os.ErrPermission) && !x.Root:
		return nil, err
	}
	return []found{{what: "profiles cannot be compiled here: " + err.Error(), do: "Mend what it names, or install the package apparmor anew."}}, nil
}

func findABIs(x *exam) ([]found, error) {
	if !x.Service.Exists() {
		return nil, nil
	}
	dir := filepath.Join(string(x.Service), "abi")
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, os.ErrPermission):
		return nil, err
	case err != nil || len(entries) == 0:
		return one("there is no ABI in %s, which profiles name", dir), nil
	}
	return nil, nil
}

// findUnit returns a check of what systemd says of our unit, on a node with a policy.
func findUnit(is func(map[string]string) bool, format string) func(*exam) ([]found, error) {
	return func(x *exam) ([]found, error) {
		if x.Unit == nil {
			return nil, nil
		}
		if _, err := os.Stat(x.Config); errors.Is(err, os.ErrNotExist) {
			return nil, nil
		}
		properties, err := x.unit()
		if err != nil {
			return nil, err
		}
		if is(properties) {
			return one(format, unit), nil
		}
		return nil, nil
	}
}
