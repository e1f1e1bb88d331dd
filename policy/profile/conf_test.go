package profile

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadConf(t *testing.T) {
	for _, test := range []struct{ name, text, want, kernel string }{
		{"nothing", "", "", ""},
		{"comments and what is not about a text's meaning",
			"# policy-features=/a\n\t#x\nwrite-cache\nOptimize=compress-fast\ncache-loc /c\nwarn=no-abi\ncomplain\n", "", ""},
		{"Debian's", "policy-features=/usr/share/apparmor-features/features\n",
			"policy-features=/usr/share/apparmor-features/features\n", ""},
		{"blanks", "  policy-features   /a b\n\toverride-policy-abi = /c", "  policy-features   /a b\n\toverride-policy-abi = /c\n", ""},
		{"the last kernel counts", "kernel-features=/a\nkernel-features /b\n", "", "/b"},
		{"features of both", "features-file=/a\nInclude /etc/more\n", "features-file=/a\nInclude /etc/more\n", "/a"},
		{"the kernel's", "policy-features=<kernel>\n", "policy-features=/proc/self/fd/3\n", ""},
		{"no option of that name", "policy-featuresx=/a\npolicy-feature=/b\n", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "parser.conf")
			if err := os.WriteFile(path, []byte(test.text), 0o644); err != nil {
				t.Fatal(err)
			}
			c, err := ReadConf(path)
			wantError(t, err)
			if string(c.Text) != test.want || c.KernelFeatures != test.kernel {
				t.Errorf("%q, kernel %q, want %q, kernel %q", c.Text, c.KernelFeatures, test.want, test.kernel)
			}
		})
	}
	if c, err := ReadConf(filepath.Join(t.TempDir(), "nothing")); err != nil || c.Text != nil || c.KernelFeatures != "" {
		t.Errorf("where there is none: %v, %v", c, err)
	}
	long := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(long, bytes.Repeat([]byte("#"), maxConf+1), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := ReadConf(long)
	wantError(t, err, "more than 65536 bytes")
}

// A text that names no ABI compiles as the node's own apparmor_parser compiles it, byte for byte, and one that names an ABI
// under that one; what the configuration says about caches and layout does not count.
func TestTheNodesConfigurationDecides(t *testing.T) {
	c := realCompiler(t)
	features := string(testFeatures(t))
	for name, without := range map[string]string{"all": "", "no-signal": "signal", "no-mount": "mount"} {
		text := features
		if without != "" {
			var err error
			if text, err = withoutFeature(features, without); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(c.Base, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	compiled := func(conf, text string) (ours, theirs string) {
		t.Helper()
		if err := os.WriteFile(c.Conf, []byte(strings.ReplaceAll(conf, "BASE", c.Base)), 0o644); err != nil {
			t.Fatal(err)
		}
		b, err := c.Compile(t.Context(), "web", Enforce, "text", []byte(text))
		wantError(t, err)
		loaded, err := c.AsLoaded(t.Context(), []byte(text))
		wantError(t, err)
		return string(b.Data), string(loaded.Data)
	}
	const plain, named = "profile web { file, mount, signal, }\n", "abi <no-mount>,\nprofile web { file, mount, signal, }\n"
	all, _ := compiled("policy-features=BASE/all\n", plain)
	for _, test := range []struct {
		conf, text string
		same       bool // as with all features
	}{
		{"policy-features=BASE/all\nwrite-cache\n", plain, true},
		{"policy-features=BASE/no-signal\n", plain, false},
		{"policy-features=BASE/no-signal\npolicy-features=BASE/all\n", plain, true},
		{"policy-features=BASE/all\n", named, false},
		{"override-policy-abi=BASE/all\n", named, true},
	} {
		ours, theirs := compiled(test.conf, test.text)
		if ours != theirs {
			t.Errorf("%q: %q compiles to something else than the node's own parser makes of it", test.conf, test.text)
		}
		if (ours == all) != test.same {
			t.Errorf("%q: %q: same as with all features: %v", test.conf, test.text, ours == all)
		}
	}
	if ours, _ := compiled("policy-features=BASE/all\nOptimize=no-equiv\n", plain); ours != all {
		t.Error("the layout that the configuration asks for changes what is compiled")
	}
}
