package meaning_test

import (
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/profiletest"
)

// topical are profiles with which topics are tested, by what they are called.
func topical(t *testing.T) map[string][]*Profile {
	t.Helper()
	all := make(map[string][]*Profile)
	add := func(name string, data []byte) {
		profiles, err := Read(data)
		if err != nil {
			t.Fatal(err)
		}
		all[name] = profiles
	}
	add("decided", profiletest.Several(t, profiletest.Decided))
	add("compared", profiletest.Several(t, compared))
	add("labels", profiletest.Several(t, `abi <abi/3.0>,
profile labels {
  signal (send) peer={a,b//&c,unconfined},
  signal (receive) peer=a//&*,
  deny signal (receive) peer=a//&x,
  ptrace peer=a*,
  ptrace (readby) peer=*//c,
  change_profile -> a,
  change_profile -> &b,
  change_profile /usr/bin/* -> {a,c},
  audit change_profile unsafe /usr/bin/sh -> a//&b,
  link subset /srv/* -> /srv/**, /srv/* rwk, /srv/a rwkix, /srv/b rwl,
  audit owner link /x/** -> /y,
}
profile blind { capability, deny capability sys_ptrace, }
profile loud-labels flags=(audit) { signal peer=a, ptrace peer=a, }
`))
	for _, name := range []string{"web.permissions2", "web.permissions3", "sockets.permissions5"} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		add(name, data)
	}
	return all
}

// keyMaker makes keys of topics.
type keyMaker struct{ *rand.Rand }

func (k keyMaker) of(list ...string) string { return list[k.IntN(len(list))] }

func (k keyMaker) field(f Field) string {
	switch f {
	case PathField:
		return k.of("/srv", "/usr/bin", "/mnt", "/x", "/home", "/links", "/disk", "/run") +
			k.of("", "/", "/a", "/b", "/secret/x", "/sh", "/same", "/same-1", "/more-1", "/run-1", "/plain-2", "/start", "/x/")
	case TextField:
		return k.of("", "x", "tmpfs", "proc", "ext4", "/srv/", "/dev/sda1", "system", "org.x.Y")
	case LabelField:
		part := func() string {
			return k.of("a", "b", "c", "x", "unconfined", "labels", "blind", "decided", "a//c", "web", "/", "a/", "elsewhere")
		}
		return part() + k.of("", "", "//&"+part(), "//&"+part()+"//&"+part(), "///&"+part(), "//&")
	case SignalField:
		return string([]byte{byte(k.IntN(35) + 1)})
	case FlagsField:
		return k.of("", "\x01", "\x02\x03", "\x01\x0d", "\x0d", "\x0d\x0f", "\x0e", "\x06", "\x01\x06", "\x14", "\x0f\x14", "\x02\x04")
	case DataField:
		return k.of("", "x", "size=1")
	case FamilyField:
		return string([]byte{0, byte(k.of("\x01", "\x02", "\x0a", "\x10")[0])})
	case TypeField:
		return string([]byte{0, byte(1 + k.IntN(5))})
	case AddressField:
		return k.of("\x01", "\x00", "\x00x", "\x00secret", "\x00srv/a")
	}
	return string([]byte{0, byte(k.IntN(20))})
}

func (k keyMaker) key(q *Topic) string {
	var b strings.Builder
	for i, f := range q.Fields {
		field := k.field(f)
		if f == DataField && field == "" {
			return strings.TrimSuffix(b.String(), "\x00")
		}
		b.WriteString(field)
		if i+1 < len(q.Fields) && strings.Contains("\x00\x01\x02\x04\x05\x09", string([]byte{byte(f)})) {
			b.WriteByte(0)
		}
	}
	return b.String()
}

// What a profile answers is what it decides about the access, for each key that an access can have.
func TestAnswersAreDecisions(t *testing.T) {
	for name, profiles := range topical(t) {
		t.Run(name, func(t *testing.T) {
			make := keyMaker{rand.New(rand.NewPCG(1, 2))}
			for _, q := range Topics() {
				shape, whole := q.Shape(), 0
				for _, p := range profiles {
					answers := q.Answers(p)
					for range 500 {
						key := make.key(q)
						at, in := answers.Start(), shape.Start()
						for i := range len(key) {
							at, in = answers.Step(at, key[i]), shape.Step(in, key[i])
						}
						if !shape.Whole(in) {
							continue
						}
						whole++
						outcomes := answers.Outcomes(answers.Mark(at))
						for i, ask := range q.Asks {
							access := q.Access(key, ask)
							if access == nil {
								if q.Name != "attachment" {
									t.Fatalf("%s: %q is no key", q.Name, key)
								}
								continue
							}
							decided := p.Decide(access)
							o := outcomes[i]
							if o.Allowed != decided.Allowed || o.Logged != decided.Logged || o.Killed != decided.Killed ||
								o.Missing != decided.Missing || o.Denied != (decided.Denied != 0) {
								t.Fatalf("%s: %s: %q: %+v: %+v, and decided is %+v", p.Name, q.Name, key, access, o, decided)
							}
							if ask.Exec {
								if _, to := p.Exec(access.(ExecAccess)); to != o.Exec {
									t.Fatalf("%s: %+v: %+v, and it is %+v", p.Name, access, o.Exec, to)
								}
							}
						}
					}
				}
				if whole < 50 {
					t.Errorf("%s: only %d keys", q.Name, whole)
				}
			}
		})
	}
}

// Bytes of one class lead to the same state, which is what makes an alphabet small.
func TestClassesOfAnswers(t *testing.T) {
	for name, profiles := range topical(t) {
		make := keyMaker{rand.New(rand.NewPCG(3, 4))}
		for _, q := range Topics() {
			shape := q.Shape()
			for _, p := range profiles {
				answers := q.Answers(p)
				for range 3 {
					key := make.key(q)
					at, in := answers.Start(), shape.Start()
					for i := range len(key) {
						by := func(classes *[256]uint32, step func(byte) any) {
							seen := map[uint32]any{}
							for b := range 256 {
								next := step(byte(b))
								if was, ok := seen[classes[b]]; ok && was != next {
									t.Fatalf("%s, %s, %s: behind %q the byte %d leads to %v, others of its class to %v", name, p.Name, q.Name,
										key[:i], b, next, was)
								}
								seen[classes[b]] = next
							}
						}
						by(answers.Classes(), func(b byte) any { return answers.Step(at, b) })
						by(shape.Classes(), func(b byte) any { return shape.Step(in, b) })
						at, in = answers.Step(at, key[i]), shape.Step(in, key[i])
					}
				}
			}
		}
	}
}

// Labels and signals that no process has are in no key.
func TestShape(t *testing.T) {
	shapes := make(map[string]*Shape)
	for _, q := range Topics() {
		shapes[q.Name] = q.Shape()
	}
	for _, test := range []struct {
		topic string
		yes   bool
		keys  []string
	}{
		{"ptrace", true, []string{"a", "/", "a/", "/a", "a//b", "a///b", "a//&b", "a///&b", "///&b", "/a//&/b/", "a/&b", "unconfined",
			"unconfined//&b", "a//&unconfined", "unconfined//&unconfined//b", "unconfined//&unconfined/", "unconfined///&unconfined",
			"unconfined//&xunconfined", "unconfined//&unconfine", "/unconfined//&unconfined", "unconfined//&uncon/fined"}},
		{"ptrace", false, []string{"", "//", "//a", "///", "a//", "a///", "a////&b", "a//&", "a//&//b", "//&a", "a//&//&b", "////&a",
			"unconfined//&unconfined", "a//&unconfined//&unconfined", "unconfined//&a//&unconfined", "unconfined//&unconfined//&a"}},
		{"change_profile onexec", true, []string{"/a\x00b", "/a/\x00b", "/a/b\x00b"}},
		{"change_profile onexec", false, []string{"/\x00b", "//a\x00b", "a\x00b"}},
		{"change_profile", true, []string{"a", "/a//&b"}},
		{"change_profile", false, []string{"//a", "a//", "a//&"}},
		{"signal", true, []string{"\x01a", "\x0fa//&b", "\x1fa", "\x23a", "\x80a", "\xa0a"}},
		{"signal", false, []string{"\x00a", "\x20a", "\x21a", "\x22a", "\x24a", "\xa1a", "\x01//"}},
	} {
		for _, key := range test.keys {
			s := shapes[test.topic]
			at := s.Start()
			for i := range len(key) {
				at = s.Step(at, key[i])
			}
			if s.Whole(at) != test.yes {
				t.Errorf("%s: %q: it is a key: %v", test.topic, key, s.Whole(at))
			}
		}
	}
}
