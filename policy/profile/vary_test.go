package profile

import (
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// Blobs of one text that a parser lays out differently are alike; those of texts that say something else are not, but for
// rules that are in tables.
func TestLikeButForTables(t *testing.T) {
	c := realCompiler(t)
	text := "profile web flags=(attach_disconnected) {\n  /a/** rm,\n  /b/** rix,\n  capability chown,\n  profile kid {\n    /c r,\n  }\n}\n"
	compile := func(text string, mode Mode) []byte {
		t.Helper()
		b, err := c.Compile(t.Context(), "web", mode, "text", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return b.Data
	}
	one := compile(text, Enforce)
	if !likeButForTables(one, one) || !likeButForTables(one, compile(strings.Replace(text, "/a/** rm", "/a/** r", 1), Enforce)) {
		t.Error("not alike, and only a table is another")
	}
	for what, other := range map[string][]byte{
		"the mode":          compile(text, Complain),
		"a capability":      compile(strings.Replace(text, "chown", "chown,\n  deny capability kill", 1), Enforce),
		"flags":             compile(strings.Replace(text, "attach_disconnected", "attach_disconnected,chroot_relative", 1), Enforce),
		"a child":           compile(strings.Replace(text, "profile kid", "profile kit", 1), Enforce),
		"one child more":    compile(strings.Replace(text, "profile kid", "profile more {\n  }\n  profile kid", 1), Enforce),
		"a limit":           compile(strings.Replace(text, "capability", "set rlimit nofile <= 10,\n  capability", 1), Enforce),
		"nothing of it":     nil,
		"less of it":        one[:len(one)-1],
		"something more":    append(one[:len(one):len(one)], 0),
		"no blob but bytes": []byte("profile"),
	} {
		if likeButForTables(one, other) || likeButForTables(other, one) {
			t.Errorf("%s is another, and they are alike", what)
		}
	}
}

// The parser finds its memory where it always is, and we find ours as before.
func TestParserIsStartedWithoutRandomness(t *testing.T) {
	const script = "#!/bin/sh\necho $(cat /proc/self/personality) ${GLIBC_TUNABLES:-none} >&2\nexit 1\n"
	path := t.TempDir() + "/parser"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, _, _ := syscall.RawSyscall(syscall.SYS_PERSONALITY, 0xffffffff, 0, 0)
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PERSONALITY, before|addrNoRandomize, 0, 0); errno != 0 {
		t.Skipf("nobody may choose here how a program's memory is placed: %v", errno)
	}
	syscall.RawSyscall(syscall.SYS_PERSONALITY, before, 0, 0)
	for layout, want := range map[string]string{"": "00040000 none", "GLIBC_TUNABLES=x": "00000000 x"} {
		c := &Compiler{Parser: path, features: []byte("caps {mask {chown}}"), layout: layout}
		if _, err := c.Version(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("layout %q: %v, want personality and tunables %s", layout, err, want)
		}
	}
	if after, _, _ := syscall.RawSyscall(syscall.SYS_PERSONALITY, 0xffffffff, 0, 0); after != before {
		t.Errorf("our personality was %#x, and is %#x", before, after)
	}
}
