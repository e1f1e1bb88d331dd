package integration

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// A question is one that the kernel answers at .access: the key of a class. With other, whoever asks does not own the file.
type question struct {
	class meaning.Class
	key   string
	other bool
}

// accessFile is the kernel's file for questions.
type accessFile int

func openAccess(t *testing.T) accessFile {
	t.Helper()
	fd, err := unix.Open(securityfs+"/.access", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return accessFile(fd)
}

// answered is an answer of the kernel: what is allowed, logged where it is allowed, and not logged where it is not.
type answered [3]uint32

// ask returns the kernel's answer to a question about a label, of whoever asks now.
func (a accessFile) ask(t testing.TB, label string, class meaning.Class, key string) answered {
	t.Helper()
	var buffer [4096]byte
	query := append(buffer[:0], "label\x00"...)
	query = append(append(append(query, label...), 0, byte(class)), key...)
	if _, err := unix.Pwrite(int(a), query, 0); err != nil {
		t.Fatalf("%q: %v", query, err)
	}
	n, err := unix.Pread(int(a), buffer[:], 0)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := parseAnswered(string(buffer[:n]))
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// parseAnswered reads "allow 0x…", "deny 0x…", "audit 0x…" and "quiet 0x…", a line each. What is denied is always 0.
func parseAnswered(answer string) (all answered, err error) {
	lines := strings.Split(answer, "\n")
	for i, line := range map[int]int{0: 0, 1: 2, 2: 3} {
		names := [...]string{"allow 0x", "audit 0x", "quiet 0x"}
		if line >= len(lines) || !strings.HasPrefix(lines[line], names[i]) {
			return all, fmt.Errorf("%q is no answer about permissions", answer)
		}
		n, err := strconv.ParseUint(lines[line][len(names[i]):], 16, 32)
		if err != nil {
			return all, err
		}
		all[i] = uint32(n)
	}
	return all, nil
}

// asUser runs f as a user who owns no file, and whom the kernel takes for none's owner.
func asUser(t testing.TB, f func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Setfsuid(1000); err != nil {
		t.Fatal(err)
	}
	defer unix.Setfsuid(0)
	f()
}

// compare puts questions about a label to the evaluator and to the kernel, and reports where the two disagree.
func (a accessFile) compare(t *testing.T, label string, stack meaning.Stack, questions []question) {
	t.Helper()
	wrong := 0
	all := func(other bool) {
		for _, q := range questions {
			if q.other != other {
				continue
			}
			got, want := evaluated(stack, q), a.ask(t, label, q.class, q.key)
			if q.class != meaning.File && got[0] != ^uint32(0) {
				// Kernels since 6.4 add it to each answer about another class, of which none asks for it.
				for i := range got {
					got[i] &^= meaning.MayLock
					want[i] &^= meaning.MayLock
				}
			}
			if got != want && wrong < 10 {
				wrong++
				t.Errorf("%s, class %d, key %q, other %v: allow, audit, quiet %08x, the kernel says %08x", label, q.class, q.key,
					q.other, got, want)
			}
		}
	}
	all(false)
	asUser(t, func() { all(true) })
}

// evaluated is the evaluator's answer to a question.
func evaluated(stack meaning.Stack, q question) answered {
	perms, _ := stack.Query(q.class, q.key)
	if q.other {
		perms, _ = stack.QueryOther(q.class, q.key)
	}
	return answered{perms.Allow, perms.Audit, perms.Quiet}
}

// asker makes questions that have to do with what a text says.
type asker struct {
	*rand.Rand
	paths, labels []string
	variables     map[string][]string
}

// variable is a line of a text that says what a variable stands for.
var variable = regexp.MustCompile(`(?m)^\s*(@\{\w+\})\s*\+?=\s*(.*)$`)

func newAsker(seed uint64, text string, names ...string) *asker {
	a := asker{Rand: rand.New(rand.NewPCG(8, seed)), variables: map[string][]string{"@{profile_name}": names}}
	for _, m := range variable.FindAllStringSubmatch(text, -1) {
		a.variables[m[1]] = append(a.variables[m[1]], strings.Fields(m[2])...)
	}
	a.paths = []string{"/", "/etc/shadow", "/proc/1/mem", "/srv/a/b"}
	a.labels = []string{"unconfined", "runc", "crun", "x", "a", "b//&c", ""}
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(" \t\n\",;()=", r) }) {
		if strings.ContainsAny(w, "/@") && len(w) < 200 {
			a.paths = append(a.paths, w)
		}
	}
	for _, name := range names {
		a.labels = append(a.labels, name, name+"//&x", "x//&"+name, "x//&"+name+"//&y", name+"//kid")
	}
	return &a
}

func chosen[T any](a *asker, list []T) T { return list[a.IntN(len(list))] }

// globPart is a part of a glob that stands for something else.
var globPart = regexp.MustCompile(`\*+|\?|\[[^]]*\]|@\{[^}]*\}|\{[^{}]*\}`)

// expanded returns something that a glob may match.
func (a *asker) expanded(glob string) string {
	for range 8 { // a variable may stand for a glob
		if !globPart.MatchString(glob) {
			break
		}
		glob = globPart.ReplaceAllStringFunc(glob, func(part string) string {
			switch {
			case strings.HasPrefix(part, "@{"):
				if values := a.variables[part]; len(values) > 0 {
					return chosen(a, values)
				}
				return "7"
			case strings.HasPrefix(part, "{"):
				return chosen(a, strings.Split(strings.Trim(part, "{}"), ","))
			case strings.HasPrefix(part, "["):
				return string([]byte{part[1+a.IntN(len(part)-2)]})
			}
			return chosen(a, []string{"", "a", "0", "b/c", ".x", "ab"})
		})
	}
	return glob[:min(len(glob), 800)]
}

// mutated returns what a glob may match, and often with some bytes of it changed.
func (a *asker) mutated(globs []string) string {
	s := a.expanded(chosen(a, globs))
	for range a.IntN(4) {
		const bytes = "/abcrs019.-_ ^*{}\x01\x80\xff"
		at := a.IntN(len(s) + 1)
		switch b := bytes[a.IntN(len(bytes))]; a.IntN(4) {
		case 0:
			s = s[:at] + string([]byte{b}) + s[at:]
		case 1:
			s = s[:at]
		case 2:
			s = s[:at] + string([]byte{b}) + s[min(at+1, len(s)):]
		default:
			s += string([]byte{b})
		}
	}
	return s
}

func (a *asker) path() string { return "/" + strings.TrimLeft(a.mutated(a.paths), "/") }

// questions returns n questions, of all classes.
func (a *asker) questions(n int) []question {
	list := make([]question, n)
	for i := range list {
		list[i] = a.question()
	}
	return list
}

func (a *asker) question() question {
	switch n := a.IntN(100); {
	case n < 25:
		return question{meaning.File, a.path(), false}
	case n < 45:
		return question{meaning.File, a.path(), true}
	case n < 55:
		return question{meaning.File, a.path() + "\x00" + a.path(), n < 50}
	case n < 60:
		label := chosen(a, []string{"", "&"}) + a.mutated(a.labels) // of change_profile
		if label == "" {
			label = "x" // no file and no label is asked about by no name
		}
		return question{meaning.File, label, false}
	case n < 70:
		signal := a.IntN(40)
		if a.IntN(4) == 0 {
			signal = 126 + a.IntN(40)
		}
		return question{meaning.Signals, string([]byte{byte(signal)}) + a.mutated(a.labels), false}
	case n < 77:
		return question{meaning.Label, "\x09" + a.mutated(a.labels), false}
	case n < 87:
		return question{meaning.Mount, a.mountKey(), false}
	case n < 94:
		return question{meaning.Class(chosen(a, []int{14, 15})), a.socketKey(), false}
	}
	class := a.IntN(40)
	for class == int(meaning.DBus) || class == int(meaning.File) { // about D-Bus each kernel answers by rules of its own
		class = a.IntN(40)
	}
	key := chosen(a, []string{"", "\x00", "\x01", "\x00\x0a", a.path(), a.mutated(a.labels), string([]byte{byte(a.IntN(256))})})
	return question{meaning.Class(class), key, false}
}

// mountKey returns the fields of a mount that is asked about, each with a NUL behind it: where, what, which type; then
// the flags, and at times data behind another NUL.
func (a *asker) mountKey() string {
	key := a.path()
	if a.IntN(4) == 0 {
		return key
	}
	key += "\x00" + chosen(a, []string{"", "tmpfs", "none", a.path(), a.path()}) + "\x00" +
		chosen(a, []string{"", "tmpfs", "proc", "ext4", "overlay"}) + "\x00"
	for bit := 1; bit <= 32; bit++ {
		if a.IntN(8) == 0 {
			key += string([]byte{byte(bit)})
		}
	}
	if a.IntN(4) == 0 {
		key += "\x00" + chosen(a, []string{"", "size=1k", "ro,x", a.mutated(a.labels)})
	}
	return key
}

// socketKey returns a family and a type, and at times a protocol and more.
func (a *asker) socketKey() string {
	key := []byte{0, byte(a.IntN(46)), 0, byte(a.IntN(11))}
	if a.IntN(3) > 0 {
		key[1], key[3] = byte(chosen(a, []int{1, 2, 10, 16, 17})), byte(1+a.IntN(3))
	}
	return string(append(key[:a.IntN(5)], []byte{0, 6, 0, 0}[:a.IntN(5)]...))
}
