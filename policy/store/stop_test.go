package store

import (
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel/kerneltest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// compiler is the machine's, for a kernel with the features of profile's tests.
func compiler(t *testing.T) *profile.Compiler {
	t.Helper()
	c := profiletest.Compiler(t, profiletest.Features())
	return c
}

// Whether anybody may kill a container is read in what was compiled, however the text is written.
func TestStop(t *testing.T) {
	c := compiler(t)
	for _, test := range []struct {
		rules     string
		stoppable bool
	}{
		{"", false},
		{"file, audit deny /** w,", false},
		{"signal,", true},
		{"signal (receive) peer=unconfined,", true},
		{"signal (receive) peer={unconfined,runc,crun},", true},
		{"signal receive set=(term, kill) peer=unconfined,", true},
		{"signal (receive) set=kill,", true},
		{"signal (receive) set=(term) peer=unconfined,", false},
		{"signal (send) peer=unconfined,", false},
		{"signal (send,receive) peer=@{profile_name},", false},
		{"signal,\n deny signal (receive) peer=unconfined,", false},
		{"signal,\n deny signal (receive) set=(kill) peer=un*,", false},
		{"signal,\n deny signal (receive) set=(usr1),", true},
		{"hat child { signal, }", false},
		{"signal peer = unconfined,", true},
		{"signal peer = runc,", false},
		// Where the branch is taken, it depends on the parser: 3.0.8 loses such rules of it.
		{"if $trusting { signal, }", false},
		{"if defined @{nowhere} { signal, }", false},
		{"deny /srv/@{ports}/** w,", false},
		{"deny /srv/@{ports}/** w, signal peer=@{who},", true},
	} {
		text := "$trusting = false\n@{ports}=http,https\n@{who}=unconfined\n\n# profile web {}\nprofile web flags=(attach_disconnected) {\n" + test.rules + "\n}\n"
		p := &policy.Config{Profiles: []policy.Profile{{Name: "web", Source: "profiles/web", Text: []byte(text)}}}
		_, err := Compile(t.Context(), p, c, nil, nil)
		if test.stoppable {
			if err != nil {
				t.Errorf("%q: %v", test.rules, err)
			}
			continue
		}
		if err == nil || !strings.HasPrefix(err.Error(), "profiles/web:6: an unconfined runtime cannot kill what runs under profile web") {
			t.Errorf("%q: %v", test.rules, err)
		}
		p.Profiles[0].Mode = profile.Complain
		if _, err := Compile(t.Context(), p, c, nil, nil); (err != nil) != strings.Contains(test.rules, "deny signal") {
			t.Errorf("%q in complain mode: %v", test.rules, err)
		}
	}
}

// A container's program can be led into a child or hat, which must let itself be killed, too.
func TestStopOfChildren(t *testing.T) {
	c := compiler(t)
	for _, test := range []struct{ children, want string }{
		{"profile inner { file, signal, }\n", ""},
		{"profile inner { file, network, capability, }\n", "profiles/web:5: an unconfined runtime cannot kill what runs under profile web//inner"},
		{"\nprofile inner flags=(attach_disconnected) {\nsignal (receive) peer=runc,\n}\n", "profiles/web:6: an unconfined runtime cannot kill what runs under profile web//inner"},
		{"profile inner { signal (receive) peer=unconfined, }\n^hat { file, }\n", "profiles/web:6: an unconfined runtime cannot kill what runs under profile web//hat"},
		{"hat \"hat\" {\nfile,\n}\n", "profiles/web:5: an unconfined runtime cannot kill what runs under profile web//hat"},
		{"profile inner { signal, deny signal (receive) set=(kill) peer=un*, }\n", "profiles/web:5: an unconfined runtime cannot kill what runs under profile web//inner"},
	} {
		text := "# profile inner {}\nprofile web {\nfile, signal, ptrace,\n/usr/bin/app cx -> inner,\n" + test.children + "profile more { signal, }\n}\n"
		p := &policy.Config{Profiles: []policy.Profile{{Name: "web", Source: "profiles/web", Text: []byte(text)}}}
		_, err := Compile(t.Context(), p, c, nil, nil)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%q: %v", test.children, err)
		case test.want != "" && (err == nil || !strings.HasPrefix(err.Error(), test.want)):
			t.Errorf("%q: %v, want %s", test.children, err, test.want)
		}
	}
}

// What cannot be read is not put in force.
func TestStopOfWhatCannotBeRead(t *testing.T) {
	data := kerneltest.Blob("content", "web")
	p := policy.Profile{Name: "web", Source: "profiles/web", Text: []byte("profile web {}")}
	if err := checkStop(&p, profile.Blob{Data: data}, nil); err != nil {
		t.Error(err)
	}
	err := checkStop(&p, profile.Blob{Data: data[:len(data)-1]}, nil)
	if err == nil || !strings.Contains(err.Error(), "profiles/web: what profile web compiles to cannot be read") {
		t.Error(err)
	}
}
