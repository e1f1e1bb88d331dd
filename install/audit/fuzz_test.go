package audit

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

// Whatever a line is, its event is one line of printable ASCII in every form, and no panic.
func FuzzEventIsOneLine(f *testing.F) {
	f.Add([]byte(`type=AVC msg=audit(1.000:1): apparmor="DENIED" operation="open" class="file" profile="web" name="/x" pid=1 comm="x" requested_mask="r" denied_mask="r"`))
	f.Add([]byte(`audit: type=1400 audit(1.000:1): apparmor="ALLOWED" operation="create" family="inet" sock_type="x` + "\n\x1b" + `" info="a" error=-13 profile=0A`))
	f.Add([]byte(`type=USER_AVC msg=audit(1.000:1): pid=1 msg='apparmor="DENIED" operation="dbus_method_call" bus="system" member="` + "\u202e" + `" mask="send" pid=9'`))
	f.Add([]byte(`apparmor="STATUS" operation="profile_load" name=FF pid=99999999999999999999`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var e source.Entry
		if _, ok := e.Record.Parse(line); !ok {
			return
		}
		var s shapes
		ev := s.event(&e, false)
		for _, text := range append(ev.Accesses(), ev.Sentence(), ev.Whose(), ev.what()) {
			if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
				t.Errorf("%q says %q", line, text)
			}
		}
		data, err := ev.JSON(nil)
		if err != nil || !json.Valid(data) || strings.ContainsFunc(strings.TrimSuffix(string(data), "\n"), func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("%q gives %v, %q", line, err, data)
		}
		if again := s.event(&e, false); again.content != ev.content || again.PID != ev.PID || again.Sentence() != ev.Sentence() {
			t.Errorf("%q: read again it says %q, and first %q", line, again.Sentence(), ev.Sentence())
		}
	})
}

// What was read before makes no difference to what is read then.
func FuzzRepeats(f *testing.F) {
	f.Add([]byte(`type=AVC msg=audit(1.000:1): apparmor="DENIED" operation="open" profile="web" name="/x" pid=1`),
		[]byte(`type=AVC msg=audit(1.000:1): apparmor="DENIED" operation="open" profile="web" name="/x" pid=2 pid=3`))
	f.Add([]byte(`type=AVC msg=audit(1.000:1): apparmor="DENIED" operation="ptrace" profile="web" pid=1 peer_pid=2`),
		[]byte(`type=AVC msg=audit(1.000:1): apparmor="DENIED" operation="ptrace" profile="web" peer_pid=2`))
	f.Add([]byte(`type=AVC msg=audit(1.000:1): apparmor="DENIED" operation="signal" profile="web" pid=1 requested_mask="receive" denied_mask="receive" signal=term peer="unconfined"`),
		[]byte(`type=AVC msg=audit(1.000:1): apparmor="DENIED" operation="capable" namespace="root//box" label=776562 pid=1`))
	f.Add([]byte(`type=AVC msg=audit(1.000:1): apparmor="DENIED" operation="capable" profile="web" profile="other" pid=01`),
		[]byte(`type=AVC msg=audit(1.000:1): apparmor="DENIED" profile= operation=6F label="x"`))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		var s shapes
		for _, line := range [][]byte{first, second, first} {
			var e source.Entry
			if _, ok := e.Record.Parse(line); !ok {
				return
			}
			bare := *s.event(&e, true)
			got, want := s.event(&e, false), eventOf(&e)
			want.content = got.content
			if !reflect.DeepEqual(got, want) {
				t.Errorf("after %q, %q is\n%+v\nwant\n%+v", first, line, got, want)
			}
			if bare.subject() != want.subject() || bare.content != want.content || bare.Kind != want.Kind || bare.Trusted != want.Trusted || !bare.Time.Equal(want.Time) {
				t.Errorf("after %q, %q is, bare,\n%+v\nwant\n%+v", first, line, bare, want)
			}
		}
	})
}
