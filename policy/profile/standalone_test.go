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
		"words in quotes":         "profile \"web\" {\n  \"/a b/# c\" r,\n}\n",
		"a header in lines":       "profile web\n  flags=(attach_disconnected)\n{\n  file,\n}\n",
	}
	modes := map[string][]Mode{"plain": {Enforce, Complain, Kill}, "children and hats": {Enforce, Complain, Kill},
		"words in quotes": {Enforce, Complain}, "flags in brackets": {Enforce, Complain}, "a header in lines": {Enforce}}
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
			list := modes[name]
			if list == nil {
				list = []Mode{Enforce}
			}
			for _, mode := range list {
				want, err := c.Compile(t.Context(), "web", mode, "text", []byte(text))
				if err != nil {
					t.Fatal(err)
				}
				alone, err := c.Standalone(t.Context(), []byte(text), want.Profiles)
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

// What cannot be written so is refused, and not written differently.
func TestStandaloneRefusesWhatComesOutDifferently(t *testing.T) {
	c := realCompiler(t)
	text := []byte("profile web\n  flags=(attach_disconnected)\n{ file, }\n")
	want, err := c.Compile(t.Context(), "web", Complain, "text", text)
	if err != nil {
		t.Fatal(err)
	}
	if alone, err := c.Standalone(t.Context(), text, want.Profiles); err == nil {
		t.Errorf("no error, and\n%s", alone)
	}
}
