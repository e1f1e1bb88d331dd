package profile

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"os"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "compile the texts in testdata again, with the apparmor_parser of this machine")

// golden returns a committed blob, testdata/NAME.blob, that apparmor_parser 3.0.8 made of testdata/NAME.
func golden(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	file := "testdata/" + name + ".blob"
	if *update {
		c := realCompiler(t)
		c.Base = t.TempDir()
		b, err := c.Compile(t.Context(), name, Enforce, "testdata/"+name, text)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v (run the tests with -update where apparmor_parser is installed)", err)
	}
	return data
}

// patch returns a copy of data with old, which must be there, replaced once.
func patch(t testing.TB, data []byte, old, new string) []byte {
	t.Helper()
	if !bytes.Contains(data, []byte(old)) {
		t.Fatalf("%q is not in the blob", old)
	}
	return bytes.Replace(data, []byte(old), []byte(new), 1)
}

// Elements of blobs, as tests build them.
func u32(n uint32) string      { return "\x02" + string(binary.LittleEndian.AppendUint32(nil, n)) }
func str(s string) string      { return "\x05" + string(byte(len(s)+1)) + "\x00" + s + "\x00" }
func named(s, e string) string { return "\x04" + string(byte(len(s)+1)) + "\x00" + s + "\x00" + e }

// minimal returns a blob of one profile that holds no rules; head stands between its name and its flags.
func minimal(version uint32, name, head string, mode uint32) string {
	return named("version", u32(version)) + named("profile", "\x07") + str(name) + head +
		named("flags", "\x07") + u32(0) + u32(mode) + u32(0) + "\x08" + u32(0) + "\x08"
}

const version308 = 0x202007 // what apparmor_parser 3.0.8 writes

func TestParseReadsWhatTheParserWrote(t *testing.T) {
	tests := []struct {
		name string
		want []string
	}{
		{"plain", []string{"plain"}},
		{"family", []string{"family", "family//hat", "family//kid"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			data := golden(t, test.name)
			b, err := Parse(data)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, p := range b.Profiles {
				got = append(got, p.Name)
				if p.Mode != Enforce {
					t.Errorf("%s is in %s mode", p.Name, p.Mode)
				}
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("profiles %q, want %q", got, test.want)
			}
			if err := b.Check(test.name, Enforce); err != nil {
				t.Error(err)
			}
			if b.SHA256() != sha256.Sum256(data) {
				t.Error("SHA256 is not that of the bytes")
			}
		})
	}
}

// The kernel's hash covers the version word and what follows its element up to the next profile (confirmed on kernels
// 6.1, 6.12 and 7.2). Here the blob is cut at its version elements instead of walked.
func TestHashesAreTheKernels(t *testing.T) {
	const header = "\x04\x08\x00version\x00\x02"
	for _, name := range []string{"plain", "family"} {
		data := golden(t, name)
		b, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		parts := bytes.Split(data, []byte(header))[1:] // each: version word, profile
		if len(parts) != len(b.Profiles) {
			t.Fatalf("%d profiles, %d version elements", len(b.Profiles), len(parts))
		}
		for i, p := range b.Profiles {
			if p.SHA1 != sha1.Sum(parts[i]) || p.SHA256 != sha256.Sum256(parts[i]) {
				t.Errorf("%s: hash differs", p.Name)
			}
		}
	}
}

func TestParseRefuses(t *testing.T) {
	plain, family := string(golden(t, "plain")), string(golden(t, "family"))
	ok := minimal(version308, "x", "", 0)
	if _, err := Parse([]byte(ok)); err != nil {
		t.Fatalf("the minimal blob that the cases start from: %v", err)
	}
	tests := []struct {
		name, data, says string
	}{
		{"nothing", "", "no profile"},
		{"a text", "profile x { }", "byte 1 of 13"},
		{"zstd", zstdMagic + plain, "zstd"},
		{"a header in front", "\x00\x01" + plain, "not a compiled"},
		{"a byte behind", plain + "\x00", "missing"},
		{"a second profile cut off", plain + family[:40], "missing"},
		{"a last byte missing", plain[:len(plain)-1], "missing"},
		{"no features known", minimal(0x202005, "x", "", 0), "kernel ABI 5"},
		{"a newer kernel ABI", minimal(0x202009, "x", "", 0), "kernel ABI 9"},
		{"complain forced", minimal(version308|1<<11, "x", "", 0), "forced"},
		{"a namespace", string(patch(t, []byte(ok), named("profile", ""), named("namespace", str("lxd\n"))+
			named("profile", ""))), `policy namespace "lxd\n"`},
		{"no version", ok[len(named("version", u32(0))):], "where \"version\""},
		{"a struct of another name", string(patch(t, []byte(ok), "profile", "profilf")), "where a profile belongs"},
		{"a named name", named("version", u32(version308)) + named("profile", "\x07") + named("name", str("x")),
			"element \"name\""},
		{"a mode beyond", minimal(version308, "x", "", 5), "mode 5"},
		{"a path for a name", minimal(version308, "/usr/bin/x", "", 0), "begins with a slash"},
		{"a beginning of unconfined", minimal(version308, "unc", "", 0), "no confinement"},
		{"a NUL in the name", minimal(version308, "x\x00y", "", 0), `holds "\x00"`},
		{"a child with a wrong name", minimal(version308, "x//&y", "", 0), `in "x//&y"`},
		{"a child without a name", minimal(version308, "x//", "", 0), "empty"},
		{"a child with a path for a name", minimal(version308, "x///y", "", 0), "cx -> NAME"},
		{"an attachment", minimal(version308, "x", named("aadfa", "\x06\x02\x00\x00\x00ab")+u32(3), 0),
			"attaches to programs"},
		{"an attachment string", minimal(version308, "x", named("attach", str("/bin/*")), 0), "attaches to programs"},
		{"an attachment with permissions", minimal(version308, "x", named("permsv", u32(1)), 0), "attaches"},
		{"a rename", minimal(version308, "x", named("rename", str("y")), 0), "\"rename\""},
		{"an unnamed string before the flags", minimal(version308, "x", str("y"), 0), "not known to be harmless"},
		{"flags with too few words", string(patch(t, []byte(ok), u32(0)+"\x08"+u32(0), "\x08"+u32(0))), "belongs"},
		{"an unknown code", ok[:len(ok)-1] + "\x0d\x08", "0xd"},
		{"a name of a name", ok[:len(ok)-1] + named("a", named("b", u32(0))) + "\x08", "0x4"},
		{"an empty name", ok[:len(ok)-1] + named("", u32(0)), "empty name"},
		{"a string without NUL", ok[:len(ok)-1] + "\x05\x01\x00x\x08", "without an end"},
		{"a string of no bytes", ok[:len(ok)-1] + "\x05\x00\x00\x08", "without an end"},
		{"a huge table", ok[:len(ok)-1] + "\x06\xff\xff\xff\xff\x08", "table of"},
		{"a table beyond the end", ok[:len(ok)-1] + "\x06\x08\x00\x00\x00\x08", "missing"},
		{"an open struct", ok[:len(ok)-1], "missing"},
		{"twice the same", ok + ok, "defined twice"},
		{"too many", many(maxProfiles + 1), "more than 256"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse([]byte(test.data))
			wantError(t, err, test.says)
		})
	}
	if _, err := Parse([]byte(many(maxProfiles))); err != nil {
		t.Errorf("%d profiles: %v", maxProfiles, err)
	}
	harmless := named("disconnected", str("/d")) + named("kill", u32(9))
	if _, err := Parse([]byte(minimal(version308, "x", harmless, 0))); err != nil {
		t.Errorf("a disconnected path and a kill signal: %v", err)
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(minimal(version308, "x//"+string(rune('a'+i/26))+string(rune('a'+i%26)), "", 0))
	}
	return b.String()
}

func TestEveryCutOfABlobIsRefused(t *testing.T) {
	data := golden(t, "family")
	b, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	whole := 0
	for i := range data {
		if cut, err := Parse(data[:i]); err == nil {
			whole++
			if cut.Check("family", Enforce) == nil && len(cut.Profiles) == len(b.Profiles) {
				t.Fatalf("%d of %d bytes pass for the whole", i, len(data))
			}
		}
	}
	if whole != len(b.Profiles)-1 { // the cuts between two profiles
		t.Errorf("%d cuts were accepted, want %d", whole, len(b.Profiles)-1)
	}
}

func TestCheck(t *testing.T) {
	of := func(names ...string) Blob {
		var b Blob
		for _, n := range names {
			name, mode, _ := strings.Cut(n, " ")
			m := Enforce
			if mode != "" {
				m = map[string]Mode{"complain": Complain, "kill": Kill, "unconfined": Unconfined}[mode]
			}
			b.Profiles = append(b.Profiles, Compiled{Name: name, Mode: m})
		}
		return b
	}
	tests := []struct {
		name string
		blob Blob
		mode Mode
		says []string
	}{
		{"the profile", of("web"), Enforce, nil},
		{"with children", of("web", "web//kid", "web//kid//grandkid"), Enforce, nil},
		{"in the mode asked for", of("web complain", "web//kid complain"), Complain, nil},
		{"nothing", of(), Enforce, []string{`defines profile "web" 0 times`, "no profile"}},
		{"another", of("other"), Enforce, []string{`defines profile "other"`, `only "web"`}},
		{"one more", of("web", "unprivileged_userns"), Enforce,
			[]string{`profile "unprivileged_userns"`, `"web" (enforce), "unprivileged_userns" (enforce)`}},
		{"a name that only begins alike", of("web", "web2"), Enforce, []string{`"web2"`}},
		{"a child alone", of("web//kid"), Enforce, []string{"0 times"}},
		{"the profile twice", of("web", "web"), Enforce, []string{"2 times"}},
		{"another mode", of("web complain"), Enforce, []string{"complain mode, expected enforce"}},
		{"a child in another mode", of("web", "web//kid unconfined"), Enforce,
			[]string{`"web//kid" is in unconfined mode`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wantError(t, test.blob.Check("web", test.mode), test.says...) })
	}
	err := of(slices.Repeat([]string{"x"}, 100)...).Check("web", Enforce)
	wantError(t, err, "92 more")
}

func TestWithModeChangesTheModeAlone(t *testing.T) {
	data := golden(t, "family")
	before := slices.Clone(data)
	b, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []Mode{Complain, Kill, Enforce} {
		m, err := b.WithMode(mode)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Check("family", mode); err != nil {
			t.Error(err)
		}
		differ := 0
		for i := range m.Data {
			if m.Data[i] != data[i] {
				differ++
			}
		}
		want := len(b.Profiles)
		if mode == Enforce {
			want = 0
		}
		if differ != want || len(m.Data) != len(data) {
			t.Errorf("%s: %d bytes differ, want %d", mode, differ, want)
		}
		for i := range m.Profiles {
			if same := m.Profiles[i].SHA256 == b.Profiles[i].SHA256; same != (mode == Enforce) {
				t.Errorf("%s: hash of %s unchanged: %v", mode, m.Profiles[i].Name, same)
			}
		}
		back, err := m.WithMode(Enforce)
		if err != nil || !bytes.Equal(back.Data, data) {
			t.Errorf("%s and back is not what it was: %v", mode, err)
		}
	}
	if !bytes.Equal(data, before) {
		t.Error("WithMode changed the blob it was called on")
	}
	for _, mode := range []Mode{Unconfined, 9} {
		_, err := b.WithMode(mode)
		wantError(t, err, "can't be put into")
	}
	_, err = Blob{Data: []byte("junk")}.WithMode(Complain)
	wantError(t, err, "not a compiled")
}

func FuzzParse(f *testing.F) {
	f.Add(golden(f, "plain"))
	f.Add(golden(f, "family"))
	f.Add([]byte(minimal(version308, "x", "", 1)))
	f.Add([]byte(minimal(version308, "x", named("disconnected", str("/d")), 2) + minimal(version308, "x//y", "", 0)))
	f.Add([]byte(minimal(0x202005, "u", named("aadfa", "\x06\x00\x00\x00\x00"), 3)))
	f.Fuzz(func(t *testing.T, data []byte) {
		before := slices.Clone(data)
		b, err := Parse(data)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Fatalf("error of %d bytes", len(err.Error()))
			}
			return
		}
		if len(b.Profiles) == 0 {
			t.Fatal("no profile and no error")
		}
		for _, p := range b.Profiles {
			if checkFullName(p.Name) != nil || p.Mode > Unconfined {
				t.Fatalf("accepted %q in %s mode", p.Name, p.Mode)
			}
		}
		m, err := b.WithMode(Kill)
		if err != nil {
			t.Fatalf("accepted, but refused with another mode: %v", err)
		}
		for _, p := range m.Profiles {
			if p.Mode != Kill {
				t.Fatalf("%s is in %s mode after WithMode", p.Name, p.Mode)
			}
		}
		if !bytes.Equal(data, before) {
			t.Fatal("the bytes given were changed")
		}
	})
}

func BenchmarkParse(b *testing.B) {
	data := golden(b, "family")
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(data); err != nil {
			b.Fatal(err)
		}
	}
}
