package integration

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/combine"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// combined are pairs of texts that are merged and intersected.
var combined = [][2]string{
	{"m-docker-default", "m-docker-nginx"},
	{"m-docker-default", "m-docker-nginx-today"},
	{"m-docker-nginx", "m-docker-nginx-today"},
	{"m-globs", "m-owner"},
	{"m-owner", "m-signals"},
	{"m-signals", "m-ptrace"},
	{"m-all", "m-ptrace"},
	{"m-changes", "m-changes-2"},
	{"m-changes", "m-all"},
}

// changers are profiles that go on under profiles, children and stacks, with programs and without.
var changers = map[string]string{
	"m-changes": "change_profile -> /u/*//b,\n  change_profile /b/* -> a//b,\n  change_profile /b/* -> a//&b,\n  change_profile /c/x -> &a//b,",
	"m-changes-2": "change_profile -> /u/foo//b,\n  change_profile /b/x -> a//b,\n  change_profile /b/x -> c//d,\n" +
		"  change_profile /b/x -> a//&b,\n  change_profile /c/* -> &a//b,",
}

// questionsOfChanges are about labels, alone and with programs.
func questionsOfChanges() (all []question) {
	for _, label := range []string{"a", "a//b", "c//d", "/u/foo//b", "/u/a//b", "/u/foo", "a//&b", "b//&a", "&a//b", "&c//d"} {
		all = append(all, question{meaning.File, label, false})
		for _, program := range []string{"/b/x", "/b/a", "/c/x", "/c/a", "/d"} {
			all = append(all, question{meaning.File, program + "\x00" + label, false}, question{meaning.File, program + "\x00" + label, true})
		}
	}
	return all
}

// The kernel allows under a merged profile what it allows under one of two profiles, and under an intersected one what
// it allows under both.
func TestMeaningOfCombined(t *testing.T) {
	guesttest.Require(t)
	guesttest.EnoughIn(t, guesttest.Forky) // make test-all has it on each kernel
	guesttest.RemoveProfilesAtEnd(t)
	c := guestCompiler(t)
	version, err := c.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	texts := make(map[string]string)
	for _, text := range ownTexts(t, version) {
		texts[text.name] = text.text
	}
	for name, rules := range changers {
		texts[name] = "abi <abi/3.0>,\nprofile " + name + " {\n  " + rules + "\n}\n"
	}
	kernel := openAccess(t)
	asked, made := 0, 0
	n := guesttest.Count(t, 500, 5000, "questions about each combined profile")
	for _, pair := range combined {
		t.Run(strings.Join(pair[:], " "), func(t *testing.T) {
			var sources []combine.Source
			for _, name := range pair {
				loadBlob(t, compiledHere(t, texts[name]))
				sources = append(sources, combine.Source{Name: name, Text: []byte(texts[name])})
			}
			for _, combination := range []struct {
				name string
				make func(context.Context, combine.Compiler, combine.Target, ...combine.Source) (string, error)
				of   func(a, b uint32) uint32
			}{
				{"m-merged", combine.Merge, func(a, b uint32) uint32 { return a | b }},
				{"m-intersected", combine.Intersect, func(a, b uint32) uint32 { return a & b }},
			} {
				text, err := combination.make(t.Context(), c, combine.Target{Name: combination.name}, sources...)
				if err != nil {
					t.Logf("%s: %v", combination.name, err)
					continue
				}
				made++
				loadBlob(t, compiledHere(t, text))
				questions := newAsker(uint64(len(text)), texts[pair[0]]+texts[pair[1]], pair[0], pair[1]).questions(n)
				questions = append(questions, questionsOfChanges()...)
				questions = slices.DeleteFunc(questions, func(q question) bool { return comparedOf(q) == 0 })
				asked += len(questions)
				all := func(other bool) {
					for _, q := range questions {
						if q.other != other {
							continue
						}
						ask := func(label string) uint32 { return kernel.ask(t, label, q.class, q.key)[0] & comparedOf(q) }
						if got, want := ask(combination.name), combination.of(ask(pair[0]), ask(pair[1])); got != want {
							t.Fatalf("%s: class %d, key %q, other %v: %#x, want %#x, by\n%s", combination.name, q.class, q.key, other, got, want, text)
						}
					}
				}
				all(false)
				asUser(t, func() { all(true) })
			}
		})
	}
	t.Logf("%d questions about %d combined profiles, kernel %s, parser %s", asked, made, release(t), version)
	if asked < made*n/10 { // what a combined profile is not compared by is left out
		t.Errorf("only %d questions were asked about %d profiles", asked, made)
	}
	if made < len(combined) {
		t.Errorf("only %d profiles are made of %d pairs", made, len(combined))
	}
}

// comparedOf returns the permissions by which a combined profile is compared: none for what no access asks about. Of
// links the kernel asks about several keys; of locks and ptrace its answer here is not that to a process whose profile has no
// rules about files or peers.
func comparedOf(q question) uint32 {
	switch q.class {
	case meaning.File:
		program, _, changes := strings.Cut(q.key, "\x00")
		switch {
		case changes && (!strings.HasPrefix(program, "/") || strings.Contains(program, "//")):
			return 0
		case changes: // on exec, to a label
			return meaning.MayOnExec
		case !strings.HasPrefix(q.key, "/"): // a label, on exec as well
			return meaning.MayChangeProfile | meaning.MayOnExec
		case strings.Contains(q.key, "//"): // no path
			return meaning.MayChangeProfile
		}
		return meaning.MayChangeProfile | meaning.MayExec | meaning.MayWrite | meaning.MayRead | meaning.MayAppend | meaning.MayCreate | meaning.MayDelete |
			meaning.MaySetAttr | meaning.MayChmod | meaning.MayChown | meaning.MayMmapExec
	case meaning.Signals:
		return meaning.MayRead | meaning.MayWrite
	case meaning.Mount:
		return 7 // mount, umount, pivot_root
	case meaning.Net, meaning.NetV9:
		if len(q.key) < 4 {
			return 0
		}
		return meaning.MayCreate | meaning.MayBind | meaning.MayConnect
	}
	return 0
}
