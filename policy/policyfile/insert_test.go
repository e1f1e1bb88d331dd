package policyfile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/profile"
)

// An entry is put into a policy file, and nothing else of it changes.
func TestInsert(t *testing.T) {
	entry := Entry{Policy: "shop", Profile: "shop", File: "profiles/shop", EnforceAfter: 24 * time.Hour}
	const file, is = "shop: {file: profiles/shop}", "shop: {profile: shop, mode: complain, enforceAfter: 24h}"
	never := entry
	never.EnforceAfter = 0
	for name, c := range map[string]struct {
		before, after, says string
		never               bool // the entry has no time
	}{
		"an empty file": {after: "version: 1\nprofiles:\n  " + file + "\npolicies:\n  " + is + "\n"},
		"comments alone": {
			before: "# to be written\n\n# soon",
			after:  "# to be written\n\n# soon\nversion: 1\nprofiles:\n  " + file + "\npolicies:\n  " + is + "\n",
		},
		"the beginning of a document": {
			before: "---\n# soon\n",
			after:  "---\n# soon\nversion: 1\nprofiles:\n  " + file + "\npolicies:\n  " + is + "\n",
		},
		"null":               {before: "null\n", says: "write it by hand"},
		"no mapping":         {before: "- version: 1\n", says: "write it by hand"},
		"a list of policies": {before: "version: 1\nprofiles: [a]\npolicies: [b]\n", says: "write it by hand"},
		"an alias": {
			before: "version: 1\nprofiles: {" + file + "}\npolicies: {sold: &a {profile: shop}, shop: *a}\n",
			says:   "policy shop is written in an unusual way; write it by hand",
		},
		"a merge key": {
			before: "version: 1\nprofiles: {" + file + "}\npolicies: {sold: &a {profile: shop}, shop: {<<: *a}}\n",
			says:   "policy shop is written in an unusual way; write it by hand",
		},
		"no time any more": {
			never:  true,
			before: "version: 1\nprofiles: {" + file + "}\npolicies: {" + is + "} # sold\n",
			after:  "version: 1\nprofiles: {" + file + "}\npolicies: {shop: {profile: shop, mode: complain}} # sold\n",
		},
		"no time any more, which was first": {
			never:  true,
			before: "version: 1\nprofiles: {" + file + "}\npolicies: {shop: {enforceAfter: 1d12h , mode: complain, profile: shop}}\n",
			after:  "version: 1\nprofiles: {" + file + "}\npolicies: {shop: {mode: complain, profile: shop}}\n",
		},
		"no time any more, which was between others in lines": {
			never:  true,
			before: "version: 1\nprofiles: {" + file + "}\npolicies: {shop: {profile: shop,\n  enforceAfter: 24h,\n  mode: complain}}\n",
			after:  "version: 1\nprofiles: {" + file + "}\npolicies: {shop: {profile: shop,\n  mode: complain}}\n",
		},
		"no time any more, in lines": {
			never:  true,
			before: "version: 1\nprofiles: {" + file + "}\npolicies:\n  shop:\n    # ours\n    enforceAfter: 7d # a week\n    mode: complain # for now\n    profile: shop\n",
			after:  "version: 1\nprofiles: {" + file + "}\npolicies:\n  shop:\n    # ours\n    mode: complain # for now\n    profile: shop\n",
		},
		"no time any more, in the last line": {
			never:  true,
			before: "version: 1\nprofiles: {" + file + "}\npolicies:\n  shop:\n    mode: complain\n    profile: shop\n    enforceAfter: 7d",
			after:  "version: 1\nprofiles: {" + file + "}\npolicies:\n  shop:\n    mode: complain\n    profile: shop\n",
		},
		"no time any more, which is quoted": {
			never:  true,
			before: "version: 1\nprofiles: {" + file + "}\npolicies: {shop: {profile: shop, mode: complain, enforceAfter: \"24h\"}}\n",
			says:   "enforceAfter of policy shop is written in an unusual way; write it by hand",
		},
		"no time any more, which was last behind a comment": {
			never:  true,
			before: "version: 1\nprofiles: {" + file + "}\npolicies: {shop: {profile: shop, mode: complain, # sold\n  enforceAfter: 24h}}\n",
			says: mainFile + ": no entry can be put into it as it is written, for example because of a comment within braces; write it by hand: " +
				"profiles: {" + file + "}, policies: {shop: {profile: shop, mode: complain}}",
		},
		"no time, and none before": {
			never:  true,
			before: "version: 1\nprofiles: {" + file + "}\npolicies: {shop: {profile: shop, mode: complain}}\n",
			after:  "version: 1\nprofiles: {" + file + "}\npolicies: {shop: {profile: shop, mode: complain}}\n",
		},
		"no time any more, for one of two": {
			never:  true,
			before: "version: 1\nprofiles: {" + file + "}\npolicies: {" + is + ", sold: {profile: shop, mode: complain, enforceAfter: 24h}}\n",
			says:   "say the same for both",
		},
		"lines": {
			before: "version: 1 # ours\nprofiles: # all\n    # the web's\n    web: {file: profiles/web}\n\npolicies:\n  web:\n    profile: web # as it is\nassign:\n  - policy: web\n",
			after: "version: 1 # ours\nprofiles: # all\n    " + file + "\n    # the web's\n    web: {file: profiles/web}\n\npolicies:\n  " + is +
				"\n  web:\n    profile: web # as it is\nassign:\n  - policy: web\n",
		},
		"braces": {
			before: "version: 1\nprofiles: {web: {file: profiles/web}}   # one\npolicies: { web: {profile: web} }\nassign: [{policy: web}]\n",
			after: "version: 1\nprofiles: {" + file + ", web: {file: profiles/web}}   # one\npolicies: {" + is +
				",  web: {profile: web} }\nassign: [{policy: web}]\n",
		},
		"empty braces": {
			before: "version: 1\nprofiles: {}\npolicies: {}\n",
			after:  "version: 1\nprofiles: {" + file + "}\npolicies: {" + is + "}\n",
		},
		"no sections": {
			before: "version: 1 # no more",
			after:  "version: 1 # no more\nprofiles:\n  " + file + "\npolicies:\n  " + is + "\n",
		},
		"nothing in a section": {
			before: "version: 1\nprofiles:\npolicies:\nassign: []\n",
			after:  "version: 1\nprofiles:\n  " + file + "\npolicies:\n  " + is + "\nassign: []\n",
		},
		"a policy of the profile in braces": {
			before: "version: 1\nprofiles: {" + file + "}\npolicies: {shop: {profile: shop, floor: base}}\n",
			says:   `profile "base" is not defined`,
		},
		"a policy of the profile that is enforced": {
			before: "version: 1\nprofiles: {" + file + ", base: {template: docker-default}}\npolicies: {shop: {profile: shop, floor: base}} # sold\n",
			after: "version: 1\nprofiles: {" + file + ", base: {template: docker-default}}\npolicies: {shop: {profile: shop, mode: complain, " +
				"enforceAfter: 24h, floor: base}} # sold\n",
		},
		"a policy of the profile in lines, with another time": {
			before: "version: 1\nprofiles: {" + file + "}\npolicies:\n  shop:\n    enforceAfter: 7d # a week\n    mode: complain\n    profile: shop # sold\n",
			after:  "version: 1\nprofiles: {" + file + "}\npolicies:\n  shop:\n    enforceAfter: 24h # a week\n    mode: complain\n    profile: shop # sold\n",
		},
		"a policy of the profile in lines": {
			before: "version: 1\nprofiles: {" + file + "}\npolicies:\n  shop:\n    profile: shop # sold\n",
			after:  "version: 1\nprofiles: {" + file + "}\npolicies:\n  shop:\n    profile: shop # sold\n    mode: complain\n    enforceAfter: 24h\n",
		},
		"it is there": {
			before: "version: 1\nprofiles: {" + file + "}\npolicies: {" + is + "}\n",
			after:  "version: 1\nprofiles: {" + file + "}\npolicies: {" + is + "}\n",
		},
		"a policy of another profile": {
			before: "version: 1\nprofiles: {web: {file: profiles/web}}\npolicies: {shop: {profile: web}}\n",
			says:   "is there with another profile",
		},
		"a profile from elsewhere": {
			before: "version: 1\nprofiles: {shop: {file: profiles/old}}\npolicies: {}\n",
			says:   "is there with another text",
		},
		"another policy enforces the profile": {
			before: "version: 1\nprofiles: {" + file + "}\npolicies: {sold: {profile: shop}}\n",
			says:   "in mode enforce",
		},
		"all in braces": {before: "{version: 1, profiles: {}, policies: {}}\n", says: "write it by hand"},
		"no YAML":       {before: "version: [\n", says: "write it by hand"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, mainFile)
			if err := os.WriteFile(path, []byte(c.before), 0o644); err != nil {
				t.Fatal(err)
			}
			e := entry
			if c.never {
				e = never
			}
			got, err := Insert(dir, e)
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("%v, want %q", err, c.says)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got.Path != path || string(got.Before) != c.before || string(got.After) != c.after {
				t.Errorf("of %s\n%s\nwant\n%s", got.Path, got.After, c.after)
			}
		})
	}
	if _, err := Insert(t.TempDir(), entry); err == nil || !strings.Contains(err.Error(), "has no policy file") {
		t.Errorf("without a policy file: %v", err)
	}
}

// A policy goes into the file of policy.d that has it.
func TestInsertIntoPartOfThePolicy(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, dropIns), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		mainFile:             "version: 1\n",
		dropIns + "/a.yaml":  "version: 1\nprofiles: {shop: {file: profiles/shop}}\npolicies: {shop: {profile: shop}}\n",
		dropIns + "/b.yaml":  "version: 1\n",
		"profiles/unrelated": "",
	} {
		if strings.HasPrefix(name, "profiles/") {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	in, err := Insert(dir, Entry{Policy: "shop", Profile: "shop", File: "profiles/shop"})
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(in.Path) != "a.yaml" || !strings.Contains(string(in.After), "{profile: shop, mode: complain}") {
		t.Errorf("%s: %s", in.Path, in.After)
	}
	if in.Had == nil || in.Had.Name != "shop" || in.Had.Mode != profile.Enforce {
		t.Errorf("it was %+v", in.Had)
	}
	if _, err := Insert(dir, Entry{Policy: "keep", Profile: "keep", File: "profiles/keep"}); err == nil || !strings.Contains(err.Error(), "cannot be called keep") {
		t.Errorf("what stands for the engine's choice: %v", err)
	}
	if in, err := Insert(dir, Entry{Policy: "new", Profile: "new", File: "profiles/new"}); err != nil || in.Had != nil {
		t.Errorf("a new one: %v, %+v", err, in)
	}
}

// The reader and the schema agree on each time.
func TestQuietTimes(t *testing.T) {
	schema := compileSchema(t, Schema())
	for _, value := range []string{"24h", "10s", "1d12h", "1d12h30m5s", "90m", "00h10s", "366d", "0s", "9s", "0d0h0m09s", "0h5s", "5", "1.5h", "-1h", "+1h", "1h30", "30m1h", "1w",
		"24H", "24 h", "h", "", "1h1h", "０1h"} {
		text := []byte("version: 1\nprofiles: {a: {file: profiles/docker-nginx}}\npolicies: {a: {profile: a, mode: complain, enforceAfter: \"" + value + "\"}}\n")
		_, read := parseOne(text)
		if _, err := ParseQuiet(value); (err == nil) != (read == nil) {
			t.Errorf("%q: %v, and in a file %v", value, err, read)
		}
		if err := schema.Validate(generic(t, text)); (err == nil) != (read == nil) {
			t.Errorf("%q: the reader says %v, the schema %v", value, read, err)
		}
	}
	for _, d := range []time.Duration{ShortestQuiet, LongestQuiet, 36*time.Hour + 5*time.Second, 49 * time.Hour} {
		if got, err := ParseQuiet(FormatQuiet(d)); err != nil || got != d {
			t.Errorf("%v is written %s, and read as %v, %v", d, FormatQuiet(d), got, err)
		}
	}
}
