package profile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A text that stands alone gives the same profiles with includes gone, to AppArmor's service under the node's configuration,
// and in the mode that the policy says.
func TestStandaloneIsTheSameWhoeverCompilesIt(t *testing.T) {
	texts := map[string]string{
		"plain": "profile web { /etc/** r, }\n",
		"children and hats": "include <tunables>\nprofile web flags=(attach_disconnected, mediate_deleted) {\n" +
			"  include <base>\n  /bin/{a,b} Cx -> kid,\n  /x Px -> kid2, deny /{y,z}/** w, # {\n" +
			"  profile kid { # its own\n    /{etc,usr}/** r,\n    include <base>\n  }\n" +
			"  profile kid2 { file, }\n  ^hatty flags=(attach_disconnected) { include if exists <nothing>\n file, }\n  hat other {\n    file,\n  }\n}\n",
		"its own ABI":             "abi <abi/other>,\nprofile web { file, signal, }\n",
		"the ABI of what it has":  "profile web {\n  include <with-abi>\n  file, signal, mount, }\n",
		"the include has the ABI": "include <preamble>\nprofile web { file, signal, mount, }\n",
		"flags in brackets":       "profile web (attach_disconnected) { file, }\n",
		"words in quotes":         "profile \"web\" {\n  \"/a b/# c\" r,\n  \"/d {g,h}\n# e\n\n/f\" r, }\n",
		"a name in quotes":        "profile \"web\"{ file, profile \"kid\" { /x r, } }\n",
		"a header in lines":       "profile web\n  flags=(attach_disconnected)\n{\n  file,\n}\n",
		"flags in lines":          "profile web flags =\n(attach_disconnected,\n\tmediate_deleted\n)\n\n{\n  file,\n}\n",
		"a comment ahead":         "profile web # a {\n  flags=(attach_disconnected) # b {\n  # c {\n{ file, }\n",
		"a comment behind":        "profile web {# a\n file, # profile x {\n}\n",
		"the flag enforce":        "profile web flags=(enforce,attach_disconnected,mediate_deleted) {\n  file, signal, ptrace, capability,\n}\n",
		"the flag enforce alone":  "profile web flags=(enforce) { file, profile kid (\"enforce\" mediate_deleted){ /x r, } }\n",
		"conditions": "@{EXTRA}=/srv/x\n$trusting=true\nprofile web flags=(attach_disconnected) {\n  file, signal,\n" +
			"  if defined @{EXTRA} {\n    deny @{EXTRA}/** w,\n  }\n  if not $trusting {\n    network,\n  } else {\n    capability,\n  }\n}\n",
		"variables ahead":        "@{A}=/a,b /{c,d} \"/e {f,g}\" \\\n  /profile \"/h{i,j} # {k,l}\"\n@{B} = x {y,z}\n@{A}+=/f\n$c = true\nprofile web {\n  @{A}/** r,\n  /@{B}/ r,\n}\n",
		"a variable in the name": "@{N}=eb\nprofile w@{N} { file, profile k@{N} { /x r, } }\n",
		"an alias":               "alias /a -> /{b,c},\nprofile web { /a/** r, }\n",
		"values like headers": "profile web {\n  signal (send) peer={web,web//&**},\n  ptrace peer=web,\n  mount options=(rw, bind) {/a,/b}/ -> /c{,d}/,\n" +
			"  network inet stream, unix (send) type=stream peer=(label=a),\n  change_profile /x -> {web,kid},\n  /a px -> {y},\n  set rlimit nofile <= 1024,\n}\n",
		"blocks that are no profiles": "profile web {\n  audit {\n    /etc/** r,\n  }\n  owner { /home/** rw, }\n  file, audit {/x w,}\n}\n",
	}
	allModes := []Mode{Enforce, Complain, Kill}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := realCompiler(t)
			write := func(path, text string) string {
				path = filepath.Join(c.Base, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				return path
			}
			features := string(testFeatures(t))
			less, err := withoutFeature(features, "signal")
			if err != nil {
				t.Fatal(err)
			}
			write("abi/3.0", features)
			write("abi/other", less)
			write("tunables", "@{ETC}=/etc /usr/etc\n")
			write("base", "# comment\n@{ETC}/* r,\n/tmp/** rw,\n")
			write("with-abi", "abi <abi/3.0>,\n")
			write("preamble", "abi <abi/other>,\n")
			write("parser.conf", "# pinned\nwrite-cache\npolicy-features="+filepath.Join(c.Base, "abi/other")+"\n")
			for _, mode := range allModes {
				want, err := c.Compile(t.Context(), "web", mode, "text", []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				alone, err := c.Standalone(t.Context(), []byte(text), mode, func() (Blob, error) { return want, nil })
				if err != nil {
					t.Errorf("%s: %v", mode, err)
					continue
				}
				if strings.Contains(string(alone), "include") {
					t.Errorf("it still includes files:\n%s", alone)
				}
				loaded, err := c.AsLoaded(t.Context(), alone)
				if err != nil {
					t.Fatalf("%s: %v\n%s", mode, err, alone)
				}
				if string(loaded.Data) != string(want.Data) {
					t.Errorf("%s: AppArmor's service compiles it to something else:\n%s", mode, alone)
				}
			}
		})
	}
}

// What would be another profile is refused, and not written.
func TestStandaloneRefusesWhatComesOutDifferently(t *testing.T) {
	c := realCompiler(t)
	want, err := c.Compile(t.Context(), "web", Complain, "text", []byte("profile web { /a/** r, }\n"))
	if err != nil {
		t.Fatal(err)
	}
	if alone, err := c.Standalone(t.Context(), []byte("profile web { /a/** rw, }\n"), Complain,
		func() (Blob, error) { return want, nil }); err == nil {
		t.Errorf("no error, and\n%s", alone)
	}
}
