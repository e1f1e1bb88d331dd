package policy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// full is a policy that has something in every field of the index.
func full() *Config {
	p := node()
	p.Assignments[4].AcceptChoice = []string{"batch", "loaded-by-hand"}
	for i := range p.Profiles {
		one := &p.Profiles[i]
		one.OnDrift = profile.Drift(i % 3)
		one.Blob = [32]byte{31: byte(i)}
		for j := range i {
			one.Compiled = append(one.Compiled, profile.Compiled{
				Name: fmt.Sprintf("%s//hat%d", one.Name, j), Mode: one.Mode,
				SHA1: [20]byte{0: byte(j)}, SHA256: [32]byte{31: byte(i)},
			})
		}
	}
	return p
}

func TestIndexGivesBackThePolicy(t *testing.T) {
	p := full()
	got, err := index(t, p).Config()
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(p.Profiles, func(a, b Profile) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(p.Policies, func(a, b Policy) int { return strings.Compare(a.Name, b.Name) })
	for i := range p.Assignments {
		a := &p.Assignments[i]
		a.Request = append([]string{}, a.Request...)
	}
	if !reflect.DeepEqual(got, p) {
		t.Errorf("got  %+v\nwant %+v", got, p)
	}
}

func TestIndexGivesBackTheBlobs(t *testing.T) {
	x := index(t, full())
	p, err := x.Config()
	if err != nil {
		t.Fatal(err)
	}
	blobs, err := x.Blobs()
	if err != nil || len(blobs) != len(p.Profiles) {
		t.Fatalf("%d blobs of %d profiles, %v", len(blobs), len(p.Profiles), err)
	}
	for i, pr := range p.Profiles {
		if blobs[i] != pr.Blob {
			t.Errorf("profile %s has blob %x, not %x", pr.Name, pr.Blob, blobs[i])
		}
	}
}

func TestIndexLeavesTextsOut(t *testing.T) {
	p := full()
	p.Profiles[0].Text, p.Profiles[1].Template = []byte("secret"), "secret"
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "secret") {
		t.Error("the index has a profile's text or its template's name")
	}
}

func TestEncodeLeavesThePolicyAlone(t *testing.T) {
	p := full()
	if _, err := p.Encode(); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(p, full()) {
		t.Error("Encode changed its receiver")
	}
}

func TestIndexProfile(t *testing.T) {
	p := full()
	x := index(t, p)
	for _, want := range p.Profiles {
		if got, ok := x.Profile(want.Name); !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, %v; want %+v", got, ok, want)
		}
	}
	for _, name := range []string{"", "docker", "docker-nginx2", "a", "z", "web"} {
		if got, ok := x.Profile(name); ok {
			t.Errorf("%q: found %+v", name, got)
		}
	}
}

func TestEmptyPolicyKeepsAndRefuses(t *testing.T) {
	for name, x := range map[string]Index{"encoded": index(t, new(Config)), "zero": {}} {
		if d, err := x.Decide(Facts{}); err != nil || !d.Keep {
			t.Errorf("%s: decided %+v, error %v", name, d, err)
		}
		var refusal *Refusal
		if d, err := x.Decide(Facts{Request: new("web")}); !errors.As(err, &refusal) {
			t.Errorf("%s: decided %+v, error %v", name, d, err)
		}
	}
}

func TestEncodeRefuses(t *testing.T) {
	for _, test := range []struct {
		name  string
		spoil func(*Config)
		want  string
	}{
		{"a profile twice", func(p *Config) { p.Profiles = append(p.Profiles, Profile{Name: "batch"}) },
			`profile "batch" is there twice`},
		{"a policy twice", func(p *Config) { p.Policies = append(p.Policies, Policy{Name: "web", Profile: "batch"}) },
			`policy "web" is there twice`},
		{"no profile of that name", func(p *Config) { p.Policies[0].Profile = "nginx" },
			`policy "web" names the profile "nginx", which is not there`},
		{"no profile at all", func(p *Config) { p.Policies[0].Profile = "" },
			`policy "web" names the profile "", which is not there`},
		{"no floor of that name", func(p *Config) { p.Policies[0].Floor = "nginx" },
			`policy "web" names the profile "nginx", which is not there`},
		{"keep is no floor", func(p *Config) { p.Policies[0].Floor = Keep },
			`policy "web" names the profile "keep", which is not there`},
		{"a name that is a stack", func(p *Config) { p.Profiles = append(p.Profiles, Profile{Name: "&x"}) }, `"&x"`},
		{"a profile that confines nothing", func(p *Config) { p.Profiles[0].Mode = profile.Unconfined },
			`profile "docker-nginx" is in mode unconfined`},
		{"a floor below a kept choice", func(p *Config) { p.Policies[3].Floor = "batch" },
			`policy "hands-off" keeps the engine's choice`},
		{"a rule's floor below a kept choice", func(p *Config) { p.Assignments[0].Floor = "batch" },
			`policy.yaml line 3 has the floor "batch"`},
		{"a rule's floor below a kept choice that may be asked for", func(p *Config) { p.Assignments[4].Floor = "batch" },
			`policy.yaml line 11 has the floor "batch"`},
		{"a rule without a policy", func(p *Config) { p.Assignments[0].Policy = "" },
			`policy.yaml line 3 names the policy "", which is not there`},
		{"a request for nothing", func(p *Config) { p.Assignments[0].Request = []string{"nginx"} },
			`policy.yaml line 3 names the policy "nginx", which is not there`},
		{"a rule with a floor that is not there", func(p *Config) { p.Assignments[6].Floor = "nginx" },
			`policy.yaml line 15 names the profile "nginx", which is not there`},
		{"a bad pattern", func(p *Config) { p.Assignments[0].Pod = []string{"a[b"} },
			`policy.yaml line 3 has the pattern "a[b" for pod: syntax error in pattern`},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := node()
			test.spoil(p)
			if _, err := p.Encode(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one with %s", err, test.want)
			}
		})
	}
}

// decoders uses everything of an index.
func decoders(b []byte) error {
	x, err := OpenIndex(b)
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range []Facts{
		{},
		{Engine: "containerd", Namespace: "a", Pod: "b", Container: "c", Image: "docker.io/library/nginx:1"},
		{Engine: "containerd", Request: new("web"), RequestKey: Annotation},
		{Engine: "docker", Container: "once", Request: new("none"), RequestKey: Annotation},
		{Sandbox: true, Privileged: Privileged, Namespace: "locked"},
	} {
		d, err := x.Decide(f)
		var refusal *Refusal
		if err != nil && !errors.As(err, &refusal) {
			errs = append(errs, err)
		} else if err == nil && d.Keep != (len(d.Profiles) == 0) {
			return fmt.Errorf("neither kept nor confined: %+v", d)
		}
	}
	x.Profile("docker-nginx")
	_, err = x.Config()
	return errors.Join(append(errs, err)...)
}

// resum makes the checksum right.
func resum(b []byte) []byte {
	b = slices.Clone(b)
	if len(b) >= headerSize {
		binary.LittleEndian.PutUint32(b[12:], checksum(b[16:]))
	}
	return b
}

func TestOpenIndexNoticesEveryChange(t *testing.T) {
	whole, err := full().Encode()
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		if _, err := OpenIndex(whole[:n]); !errors.Is(err, ErrIndex) {
			t.Fatalf("cut to %d bytes: error %v", n, err)
		}
		changed := slices.Clone(whole)
		changed[n] ^= 1
		if _, err := OpenIndex(changed); !errors.Is(err, ErrIndex) {
			t.Fatalf("byte %d changed: error %v", n, err)
		}
	}
	if _, err := OpenIndex(append(whole, 0)); !errors.Is(err, ErrIndex) {
		t.Errorf("a byte more: error %v", err)
	}
}

func TestIndexOfAnotherVersionIsRefused(t *testing.T) {
	b, err := full().Encode()
	if err != nil {
		t.Fatal(err)
	}
	b[8]++
	_, err = OpenIndex(b)
	if !errors.Is(err, ErrIndex) || !strings.Contains(err.Error(), "version 5, this program reads 4") ||
		!strings.Contains(err.Error(), "oci-apparmor policy apply") {
		t.Errorf("error %v", err)
	}
}

// A writer that gets its checksums right and the rest wrong leads to errors, never to a panic.
func TestDamagedRecordsAreErrors(t *testing.T) {
	whole, err := full().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := decoders(whole); err != nil {
		t.Fatal(err)
	}
	for n := headerSize; n < len(whole); n++ {
		if err := decoders(resum(whole[:n])); !errors.Is(err, ErrIndex) {
			t.Errorf("cut to %d of %d bytes: error %v", n, len(whole), err)
		}
		for _, value := range []byte{0, 1, 0x7f, 0x80, 0xff} {
			changed := slices.Clone(whole)
			changed[n] = value
			if err := decoders(resum(changed)); err != nil && !errors.Is(err, ErrIndex) {
				t.Errorf("byte %d set to %#x: %v", n, value, err)
			}
		}
	}
}

func FuzzIndex(f *testing.F) {
	for _, p := range []*Config{full(), node(), {}} {
		b, err := p.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := decoders(b); err != nil && !errors.Is(err, ErrIndex) {
			t.Error(err)
		}
		if err := decoders(resum(b)); err != nil && !errors.Is(err, ErrIndex) {
			t.Error(err)
		}
	})
}

func FuzzDecide(f *testing.F) {
	x := index(f, node())
	f.Add("web", "app", "kube-system", "docker.io/library/nginx:1", byte(Unprivileged))
	f.Add("x//&unconfined", "once", "", "", byte(PartlyPrivileged))
	f.Add("\xff\n", "\x00", "*", "a[", byte(Privileged))
	f.Fuzz(func(t *testing.T, request, container, namespace, image string, privileged byte) {
		facts := Facts{Engine: "containerd", Namespace: namespace, Container: container, Image: image,
			Privileged: Privilege(privileged % 3), Request: &request, RequestKey: Annotation + "." + container}
		d, err := x.Decide(facts)
		if err != nil {
			wantLine(t, err.Error())
			return
		}
		wantLine(t, d.Reason)
		if d.Warning == "" && d.Policy != request {
			t.Errorf("%q was asked for, %q given without a word", request, d.Policy)
		}
		for _, p := range d.Profiles {
			if _, ok := x.Profile(p.Name); !ok {
				t.Errorf("%q is no profile of the policy", p.Name)
			}
		}
	})
}

// large is a policy of n assignments, n policies and n profiles; the container of the benchmarks matches the last one.
func large(n int, image string) *Config {
	p := new(Config)
	for i := range n {
		name := fmt.Sprintf("workload-%05d", i)
		p.Profiles = append(p.Profiles, Profile{Name: name, Source: "profiles/" + name,
			Compiled: []profile.Compiled{{Name: name}}})
		p.Policies = append(p.Policies, Policy{Name: name, Profile: name})
		p.Assignments = append(p.Assignments, Assignment{File: "policy.yaml", Line: i,
			Namespace: []string{fmt.Sprintf("team-%05d", i), "shared"},
			Image:     []string{fmt.Sprintf(image, i)}, Policy: name})
	}
	p.Assignments[n-1].Request = []string{p.Policies[n/2].Name}
	return p
}

// BenchmarkDecide is what a container start spends: it opens the index and decides, by the last of n rules.
func BenchmarkDecide(b *testing.B) {
	for _, patterns := range []struct{ name, image string }{
		{"names", "registry.example.org/team/workload-%05d:latest"},
		{"patterns", "registry.example.org/team/workload-%05d:*"},
	} {
		for _, n := range []int{10, 1000, 10000} {
			b.Run(fmt.Sprintf("%s/%d", patterns.name, n), func(b *testing.B) {
				p := large(n, patterns.image)
				data, err := p.Encode()
				if err != nil {
					b.Fatal(err)
				}
				facts := Facts{Engine: "containerd", Namespace: "shared", Request: &p.Policies[n/2].Name,
					Image: fmt.Sprintf("registry.example.org/team/workload-%05d:latest", n-1), RequestKey: Annotation}
				b.ReportAllocs()
				b.ReportMetric(float64(len(data)), "index-bytes")
				for b.Loop() {
					x, err := OpenIndex(data)
					if err != nil {
						b.Fatal(err)
					}
					d, err := x.Decide(facts)
					if err != nil || d.Policy != p.Policies[n/2].Name {
						b.Fatal(d, err)
					}
				}
			})
		}
	}
}

// An index of another list of conditions is one of another format: a reader that does not know a condition would take its
// bytes for something else.
func TestConditionsAreThoseOfTheFormat(t *testing.T) {
	var list strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&list, "%s:%d.%d ", k.Name, k.Kind, k.bits)
	}
	const want = "engine:0.0 namespace:0.0 pod:0.0 container:0.0 image:0.0 label:1.0 sandbox:2.0 privileged:2.2 "
	if got := list.String(); got != want || formatVersion != 4 {
		t.Errorf("the conditions are %q in format %d: with other conditions than %q raise formatVersion, and change both here",
			got, formatVersion, want)
	}
}
