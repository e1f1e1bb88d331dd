package suggest

import (
	"fmt"
	"strings"
	"testing"
)

func TestGives(t *testing.T) {
	t.Parallel()
	r, _ := reader(t)
	const text = "abi <abi/3.0>,\nprofile web {\n  /usr/bin/** rix,\n  /srv/** rw,\n}\n"
	for _, test := range []struct{ record, want string }{
		{file("open", "/srv2/x", "r", true), ""},
		{`operation="capable" capability=0  capname="chown"`, ""},
		{`operation="ptrace" requested_mask="read" denied_mask="read" peer="web"`, ""},
		{`operation="signal" requested_mask="send" denied_mask="send" signal=term peer="web"`, ""},
		{file("open", "/run/docker.sock", "wr", false), "who can write to docker.sock"},
		{file("open", "/host/run/containerd/containerd.sock", "w", false), "who can write to containerd.sock"},
		{file("open", "/var/run/crio/crio.sock", "w", false), "who can write to crio.sock"},
		{file("open", "/run/user/0/podman/podman.sock", "w", false), "who can write to podman.sock"},
		{`operation="capable" capability=21  capname="sys_admin"`, "sys_admin is most of"},
		{`operation="capable" capability=16  capname="sys_module"`, "sys_module loads code"},
		{`operation="mount" name="/m/" fstype="tmpfs" srcname="none" flags="ro"`, "a process that can mount"},
		{`operation="umount" name="/m/"`, "a process that can mount"},
		{`operation="ptrace" requested_mask="trace" denied_mask="trace" peer="unconfined"`, "the container looks into processes under another profile"},
		{`operation="signal" requested_mask="send" denied_mask="send" signal=kill peer="unconfined"`, "the container sends signals"},
		{`operation="change_profile" name="q" target="q"`, "the process leaves this profile"},
		{file("open", "/proc/sysrq-trigger", "w", false), "whoever writes to it restarts"},
		{file("open", "/proc/sys/kernel/core_pattern", "w", false), "settings of the kernel"},
		{file("open", "/proc/7/environ", "r", false), "the environment of processes"},
		{file("open", "/dev/mem", "r", false), "it is the memory of the whole node"},
		{file("open", "/dev/sda1", "r", false), "it is a disk"},
		{file("open", "/etc/shadow", "r", false), "it has the hashes"},
		{file("open", "/usr/bin/x", "w", false), `what is at "/usr/bin/x" can be both written and executed`},
		{file("exec", "/srv/x", "x", false), `what is at "/srv/x" can be both written and executed`},
		{`operation="create" family="alg" sock_type="seqpacket" protocol=0 requested_mask="create" denied_mask="create"`, "the kernel's crypto sockets"},
		{`operation="create" family="packet" sock_type="raw" protocol=0 requested_mask="create" denied_mask="create"`, "raw sockets read"},
	} {
		s, err := For(t.Context(), r, "web", []byte(text), []Denial{denied(t, test.record)}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Rules) != 1 {
			t.Errorf("%s: %+v", test.record, s)
			continue
		}
		if got := fmt.Sprint(s.Rules[0].Gives); (test.want == "") != (len(s.Rules[0].Gives) == 0) || !strings.Contains(got, test.want) {
			t.Errorf("%s gives up %s, want %q", s.Rules[0].Text, got, test.want)
		}
	}
}

func TestStyle(t *testing.T) {
	t.Parallel()
	r, _ := reader(t)
	for _, test := range []struct{ name, rules, want string }{
		{"quotes", "  \"/a\" r,\n  \"/b\" w,\n", `  "/srv/x" rw,`},
		{"permissions first", "    r /a,\n    rw /b,\n", "    rw /srv/x,"},
		{"with the word", "\tfile /a r,\n", "\tfile /srv/x rw,"},
		{"no rules", "", "  /srv/x rw,"},
		{"a comment at the end", "  /a r, # why\n  # and so on\n", "  /srv/x rw,"},
		{"behind those that allow", "  /a r,\n  deny /b w,\n", "  /srv/x rw,"},
		{"in no condition", "  /a r,\n  audit {\n    /c r,\n  }\n", "  /srv/x rw,"},
	} {
		text := "abi <abi/3.0>,\nprofile web {\n" + test.rules + "}\n"
		s, err := For(t.Context(), r, "web", []byte(text), []Denial{denied(t, file("open", "/srv/x", "wr", false))}, Options{})
		if err != nil {
			t.Fatalf("%s: %v", test.name, err)
		}
		if got := strings.Join(added(t, s.Patch), "\n"); got != test.want {
			t.Errorf("%s: %q, want %q\n%s", test.name, got, test.want, s.Text)
		}
	}
	crlf := "abi <abi/3.0>,\r\nprofile web {\r\n  /a r,\r\n}\r\n"
	s, err := For(t.Context(), r, "web", []byte(crlf), []Denial{denied(t, file("open", "/srv/x", "r", false))}, Options{})
	if err != nil || s.Text != strings.Replace(crlf, "  /a r,\r\n", "  /a r,\r\n  /srv/x r,\r\n", 1) {
		t.Errorf("lines that end in another way: %v %q", err, s.Text)
	}
}

// What the change brings about is checked as profile check does.
func TestChecks(t *testing.T) {
	t.Parallel()
	r, _ := reader(t)
	const text = "abi <abi/3.0>,\nprofile web flags=(attach_disconnected) {\n  /a r,\n  network inet dgram,\n}\n"
	s, err := For(t.Context(), r, "web", []byte(text), []Denial{denied(t, `operation="change_profile" name="unconfined" target="unconfined"`)}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Checks) == 0 || s.Checks[0].Line != s.Rules[0].Line {
		t.Errorf("%+v\n%+v", s.Rules, s.Checks)
	}
}
