package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// workloads are those whose profiles are proven from nothing to enforced.
var workloads = []*workload{pageserverWorkload, scriptWorkload, nginxWorkload}

// manyRuns is why make test leaves a workload.
const manyRuns = "it takes a run of the workload for each rule; unit tests tighten a profile with a kernel that is made up"

// nginxWorkload serves a page, reads its configuration anew, as by docker exec, and serves again, with nothing in its log that is worse than a
// warning.
var nginxWorkload = &workload{
	name:  "nginx",
	leave: manyRuns,
	image: func(t *testing.T) string {
		needNginx(t)
		return nginxImage(t, "merged")
	},
	program: "/usr/sbin/nginx",
	args:    []string{"nginx", "-g", "daemon off;"},
	before:  `: >$ROOT/var/log/nginx/error.log`,
	ready:   `[ "$(asks /)" = "a page" ]`,
	work: `inside nginx -s reload
	sleep 0.5
	soon ready
	if asks /none; then return 1; fi
	for _ in 1 2 3; do ready; done
	if grep -v '\[\(notice\|warn\|info\)\]\|/none' $ROOT/var/log/nginx/error.log; then return 1; fi`,
	stop:    "QUIT",
	sockets: true, // between its processes
}

// scriptWorkload is the script of scriptImage, which waits at its end, as for the next day's work, until it is told to stop.
var scriptWorkload = &workload{
	name:    "script",
	leave:   manyRuns,
	image:   scriptImage,
	program: "/usr/bin/dash", // the script's interpreter, which is all that the profile of a script knows of the script
	args:    []string{"/job/script", "and-wait"},
	before:  `find $ROOT/job -mindepth 1 ! -name script -delete`, // what one leaves that has failed would be in the way of the next
	ready:   `grep -qx done $BUNDLE/output`,
	work:    `kill -USR1 $pid; soon grep -qx "still there" $BUNDLE/output`,
	stop:    "TERM",
	sockets: true, // by abstractions/base
	never:   []string{"x /usr/bin/{busybox,sh,bash,dash}", "w /etc/**", "network inet", "network inet6"},
}

// pageserverWorkload is a server of Go in an image without anything else, hardened as far as its description can: it runs as
// a user, without capabilities, with no_new_privs and a root file system that cannot be written.
var pageserverWorkload = &workload{
	name:    "pageserver",
	leave:   manyRuns,
	image:   pageserverImage,
	program: "/pageserver",
	args:    []string{"/pageserver", ":8080", "/pages", "/notes"},
	edit: func(s *specs.Spec) {
		s.Process.User = specs.User{UID: 1000, GID: 1000}
		s.Process.Capabilities, s.Process.NoNewPrivileges, s.Root.Readonly = &specs.LinuxCapabilities{}, true, true
		s.Hostname = "pages"
	},
	volumes: []string{"/notes"},
	owner:   1000,
	ready:   `[ "$(asks :8080/health)" = ok ]`,
	work: `[ "$(asks :8080/page.html)" = "a page" ]
	[ "$(asks :8080/below/)" = "another page" ]
	if asks :8080/none; then return 1; fi
	within busybox wget -T 2 -qO- --post-data "a note" http://127.0.0.1:8080/notes/one
	[ "$(asks :8080/notes/one)" = "a note" ]
	[ "$(cat $BUNDLE/volume-0/one)" = "a note" ]
	[ "$(within busybox wget -T 2 -qO- --post-data now http://127.0.0.1:8080/reload)" = reloaded ]
	kill -CONT $pid # from outside of all profiles, as systemd and engines without one send signals
	ready`,
	stop:  "TERM",
	never: []string{"x /**", "w /{etc,pages}/**", "capability chown", "network unix"},
}

func pageserverImage(t *testing.T) string {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	for name, text := range map[string]string{
		"pages/page.html": "a page\n", "pages/below/index.html": "another page\n",
		"etc/hosts": "127.0.0.1 localhost\n127.0.0.2 pages\n", "etc/resolv.conf": "nameserver 127.0.0.1\n", "etc/hostname": "pages\n",
		"etc/passwd": "pages:x:1000:1000::/:/none\n", "etc/nsswitch.conf": "hosts: files dns\n",
	} {
		writeFile(t, filepath.Join(root, name), text)
	}
	for _, dir := range strings.Fields("dev proc sys notes") {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	guesttest.MustRun(t, "cp", program(t, "pageserver"), root)
	return root
}

// Each workload has a profile that is made of nothing and proven.
func TestProfileProven(t *testing.T) {
	for _, w := range workloads {
		t.Run(w.name, w.prove)
	}
}
