package watcher

import (
	"errors"
	"testing"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/quiet"
)

// A proof that is older than two looks serves no decision. A new one that comes while it is waited for does.
func TestProven(t *testing.T) {
	boot, err := quiet.Boot()
	if err != nil {
		t.Skip(err)
	}
	d := quiet.Dir(t.TempDir())
	release, err := d.Hold(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	prove := func(age time.Duration) {
		if err := d.Write(&quiet.State{Boot: boot, PID: 7, Every: time.Minute, Proved: quiet.Clock() - age}); err != nil {
			t.Error(err)
		}
	}
	if _, err := proven(t.Context(), d, 0); !errors.Is(err, quiet.ErrNobody) {
		t.Errorf("without a state: %v", err)
	}
	prove(2*time.Minute - time.Second)
	if s, err := proven(t.Context(), d, 0); s == nil || err != nil {
		t.Errorf("with a recent proof: %v", err)
	}
	const old = 2*time.Minute + time.Second // and not so old that nothing is said
	prove(old)
	if _, err := d.Read(); err != nil {
		t.Errorf("what is shown is not said: %v", err)
	}
	if _, err := proven(t.Context(), d, time.Millisecond); !errors.Is(err, quiet.ErrOld) {
		t.Errorf("with an old proof: %v", err)
	}
	go func() {
		time.Sleep(10 * time.Millisecond)
		prove(0)
	}()
	if s, err := proven(t.Context(), d, time.Minute); s == nil || err != nil {
		t.Errorf("with a proof that comes meanwhile: %v", err)
	}
}
