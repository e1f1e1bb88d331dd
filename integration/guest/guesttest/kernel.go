package guesttest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const securityfs = "/sys/kernel/security/apparmor"

// Label returns the AppArmor label of a process as the kernel writes it, such as "web (enforce)" or "unconfined".
func Label(t testing.TB, pid int) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/current", pid))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimRight(string(text), "\x00\n")
}

// Profiles returns the profiles that the kernel has. The key is the name, with the parents' names for a child, such as
// web//helper. The value is the mode ("enforce", "complain", "kill" or "unconfined").
func Profiles(t testing.TB) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(securityfs, "profiles"))
	if err != nil {
		t.Fatal(err)
	}
	profiles := map[string]string{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if i := strings.LastIndex(line, " ("); i > 0 {
			profiles[line[:i]] = strings.Trim(line[i:], " ()")
		}
	}
	return profiles
}

// LoadProfile loads the profiles in the text by apparmor_parser, as an administrator does by hand. It replaces profiles
// of the same names. At the end of the test, it removes all profiles that the kernel did not have before the call.
func LoadProfile(t testing.TB, text string) {
	t.Helper()
	RemoveProfilesAtEnd(t)
	cmd := exec.Command("apparmor_parser", "--replace", "--skip-cache")
	cmd.Stdin = strings.NewReader(text)
	if o := RunCommand(t, cmd); o.Code != 0 {
		t.Fatalf("apparmor_parser: exit code %d\n%s%s\nthe profile:\n%s", o.Code, o.Stdout, o.Stderr, text)
	}
}

// RemoveProfilesAtEnd removes, at the end of the test, all profiles that the kernel does not have now.
func RemoveProfilesAtEnd(t testing.TB) {
	t.Helper()
	before := Profiles(t)
	t.Cleanup(func() {
		for name := range Profiles(t) {
			if _, ok := before[name]; !ok && !strings.Contains(name, "//") { // children go with their parents
				RemoveProfile(t, name)
			}
		}
	})
}

// RemoveProfile removes a profile from the kernel, as an administrator does by hand. Processes under it become
// unconfined.
func RemoveProfile(t testing.TB, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(securityfs, ".remove"), []byte(name), 0); err != nil {
		t.Errorf("removing profile %s: %v", name, err)
	}
}

// A Log is a position in the kernel's log.
type Log struct {
	fd   int
	read []string
}

// KernelLog returns the present end of the kernel's log.
func KernelLog(t testing.TB) *Log {
	t.Helper()
	fd, err := syscall.Open("/dev/kmsg", syscall.O_RDONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal("/dev/kmsg:", err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if _, err := syscall.Seek(fd, 0, io.SeekEnd); err != nil {
		t.Fatal("/dev/kmsg:", err)
	}
	return &Log{fd: fd}
}

// Lines returns the messages after the position, without their times. AppArmor's audit records are among them.
func (l *Log) Lines(t testing.TB) []string {
	t.Helper()
	record := make([]byte, 8192) // one read gives one record; the kernel makes none longer than that (Documentation/ABI/testing/dev-kmsg)
	for {
		n, err := syscall.Read(l.fd, record)
		switch {
		case err == syscall.EAGAIN:
			return l.read
		case err == syscall.EPIPE: // records were overwritten before we came to them; the next read goes on behind the gap
			l.read = append(l.read, overwritten)
			continue
		case errors.Is(err, syscall.EINTR):
			continue
		case err != nil:
			t.Fatal("/dev/kmsg:", err)
		}
		_, message, _ := strings.Cut(string(record[:n]), ";")
		first, _, _ := strings.Cut(message, "\n") // lines after it are properties of a device
		l.read = append(l.read, first)
	}
}

// Grep returns the messages that contain all of the words.
func (l *Log) Grep(t testing.TB, words ...string) []string {
	t.Helper()
	var found []string
lines:
	for _, line := range l.Lines(t) {
		for _, w := range words {
			if !strings.Contains(line, w) {
				continue lines
			}
		}
		found = append(found, line)
	}
	return found
}

// Gaps returns the messages that say that others are missing, AppArmor's records perhaps: the log was overwritten, the kernel's limit on
// messages held some back, or the audit subsystem dropped some.
func (l *Log) Gaps(t testing.TB) []string {
	t.Helper()
	return slices.DeleteFunc(slices.Clone(l.Lines(t)), func(line string) bool { return !isGap(line) })
}

const overwritten = "(messages lost)"

// isGap reports whether a message says so. The words are those of audit_log_lost and its callers (kernel/audit.c), and of ___ratelimit
// (lib/ratelimit.c), which names the function that wanted to log.
func isGap(line string) bool {
	if who, _, ok := strings.Cut(line, " callbacks suppressed"); ok {
		return strings.Contains(who, "audit")
	}
	for _, begin := range []string{overwritten, "audit: audit_lost=", "audit: backlog limit exceeded", "audit: rate limit exceeded",
		"audit: kauditd hold queue overflow", "audit: kauditd retry queue overflow"} {
		if strings.HasPrefix(line, begin) {
			return true
		}
	}
	return false
}

// WantNoDenials wants no record of a denial that contains all of the words, and nothing missing in which one may have been.
func (l *Log) WantNoDenials(t testing.TB, what string, words ...string) {
	t.Helper()
	for i, line := range l.Grep(t, append([]string{`apparmor="DENIED"`}, words...)...) {
		if i == 20 {
			t.Error("and more")
			return
		}
		t.Errorf("%s: %s", what, line)
	}
	if gaps := l.Gaps(t); len(gaps) > 0 {
		t.Errorf("%s: whether nothing was denied is not known, as the kernel's log has gaps: %q", what, gaps)
	}
}
