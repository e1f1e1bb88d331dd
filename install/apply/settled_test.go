package apply

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/install/node"
	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/policyfile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/templates"
)

// configMap is a directory as the kubelet makes it.
type configMap struct {
	t   *testing.T
	dir string
	at  int
}

// put replaces all files, as the kubelet does: the earlier version is gone right after the link leads to the new one.
func (c *configMap) put(files map[string]string) {
	c.t.Helper()
	c.at++
	version := fmt.Sprintf("..2026_%d", c.at)
	for name, text := range files {
		path := filepath.Join(c.dir, version, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			c.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			c.t.Fatal(err)
		}
		top, _, _ := strings.Cut(name, "/")
		if err := os.Symlink(filepath.Join(dataLink, top), filepath.Join(c.dir, top)); err != nil && !os.IsExist(err) {
			c.t.Fatal(err)
		}
	}
	before, _ := os.Readlink(filepath.Join(c.dir, dataLink))
	if err := os.Symlink(version, filepath.Join(c.dir, dataLink+"_tmp")); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(c.dir, dataLink+"_tmp"), filepath.Join(c.dir, dataLink)); err != nil {
		c.t.Fatal(err)
	}
	if before != "" {
		if err := os.RemoveAll(filepath.Join(c.dir, before)); err != nil {
			c.t.Fatal(err)
		}
	}
}

// versionOf returns a policy whose files are all of one number.
func versionOf(n int) map[string]string {
	files := map[string]string{
		"policy.yaml": fmt.Sprintf("version: 1\nrequire: tests\nprofiles: {a%d: {file: profiles/a}, b%[1]d: {file: profiles/b}}\n"+
			"policies: {a: {profile: a%[1]d}, b: {profile: b%[1]d}}\nassign: [{policy: a, request: b}]\n", n),
		"policy.d/x.yaml": fmt.Sprintf("version: 1\npolicies: {c: {profile: a%d}}\n", n),
		"tests.yaml":      fmt.Sprintf("version: 1\nnever: [{allow: \"w /etc/x%d\"}]\n", n),
	}
	for _, name := range []string{"a", "b"} {
		files["profiles/"+name] = fmt.Sprintf("profile %s%d { # %[2]d\n}\n", name, n)
	}
	return files
}

// A reader gets one version of a ConfigMap whole, however often it is replaced meanwhile.
func TestReadsOneVersion(t *testing.T) {
	c := &configMap{t: t, dir: t.TempDir()}
	c.put(versionOf(0))
	stop, done := make(chan struct{}), make(chan int)
	go func() {
		n := 1
		for ; ; n++ {
			select {
			case <-stop:
				done <- n
				return
			case <-time.After(time.Duration(n%5) * 100 * time.Microsecond):
				c.put(versionOf(n))
			}
		}
	}()
	read, again := 0, 0
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		s, err := readSettled(new(node.Node), c.dir, policyfile.Reader{}, func() templates.Target { return templates.Target{} })
		if err != nil {
			again++
			if err.Error() != errChanging.Error() {
				t.Fatal(err)
			}
			continue
		}
		read++
		of := strings.TrimPrefix(s.policy.Profiles[0].Name, "a")
		for _, p := range s.policy.Profiles {
			if !strings.HasSuffix(p.Name, of) || !strings.Contains(string(p.Text), "# "+of+"\n") {
				t.Fatalf("profile %s of version %s: %q", p.Name, of, p.Text)
			}
		}
		for _, p := range s.policy.Policies {
			if p.Profile != policy.Keep && p.Name != policy.Baseline && !strings.HasSuffix(p.Profile, of) {
				t.Fatalf("policy %+v of version %s", p, of)
			}
		}
		if s.tests == nil {
			t.Fatal("no tests were read")
		}
	}
	close(stop)
	if n := <-done; read < 20 || n < 20 {
		t.Errorf("%d readings of %d versions, %d were left", read, n, again)
	}
}

// The digest is of what is written, and not of what the node makes of it.
func TestDigest(t *testing.T) {
	dir := t.TempDir()
	c := &configMap{t: t, dir: dir}
	of := func(to templates.Target) string {
		t.Helper()
		p, err := Read(dir, to)
		if err != nil {
			t.Fatal(err)
		}
		d, err := digest(p)
		if err != nil || len(d) != 64 {
			t.Fatal(d, err)
		}
		return d
	}
	base := map[string]string{
		"policy.yaml":  "version: 1\nprofiles: {web: {file: profiles/web}, gen: {template: docker-default}}\npolicies: {web: {profile: web, floor: gen}}\n",
		"profiles/web": "profile web { }\n",
	}
	c.put(base)
	first := of(templates.Target{})
	if again := of(templates.Target{Senders: []string{"dockerd"}}); again != first {
		t.Error("another node's is another")
	}
	for name, text := range map[string]string{
		"policy.yaml":  strings.Replace(base["policy.yaml"], ", floor: gen", "", 1),
		"profiles/web": "profile web { deny /x w, }\n",
	} {
		changed := map[string]string{"policy.yaml": base["policy.yaml"], "profiles/web": base["profiles/web"]}
		changed[name] = text
		c.put(changed)
		if of(templates.Target{}) == first {
			t.Errorf("another %s has the same", name)
		}
	}
	c.put(base)
	if of(templates.Target{}) != first {
		t.Error("the same again is another")
	}
}
