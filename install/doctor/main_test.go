package doctor

import (
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/safefile/safefiletest"
)

func TestMain(m *testing.M) { safefiletest.Main(m) }
