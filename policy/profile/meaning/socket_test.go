package meaning_test

import (
	"os"
	"testing"

	. "github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// testdata/sockets.permissions5 is what parser 5.0.2 makes of testdata/sockets for Linux 7.2: with addresses of unix
// sockets, and with rules about D-Bus that this kernel takes.
func TestSocketsWithAddresses(t *testing.T) {
	data, err := os.ReadFile("testdata/sockets.permissions5")
	if err != nil {
		t.Fatal(err)
	}
	p := read(t, data, "sockets")
	const stream, dgram, seqpacket = 1, 2, 5
	for _, test := range []struct {
		access  Access
		allowed bool
	}{
		{UnixAccess{Type: stream, Want: MayCreate}, true},
		{UnixAccess{Type: dgram, Want: MayCreate}, false},
		{UnixAccess{Type: stream, Want: MayBind, Address: "@srv1"}, true},
		{UnixAccess{Type: stream, Want: MayBind, Address: "@other"}, false},
		{UnixAccess{Type: stream, Want: MayBind, Address: "/run/x"}, true}, // that is asked of the file
		{UnixAccess{Type: stream, Want: MayListen, Address: "@srv", Backlog: 5}, true},
		{UnixAccess{Type: stream, Want: MayListen, Address: "@other", Backlog: 5}, false},
		{UnixAccess{Type: stream, Want: MayListen, Address: "/run/x"}, true}, // files are all allowed
		{UnixAccess{Type: stream, Want: MayAccept, Address: "@srv"}, true},
		{UnixAccess{Type: stream, Want: MayAccept, Address: "@other"}, false},
		{UnixAccess{Type: stream, Want: MayConnect, PeerAddress: "@peer", Peer: "a"}, true},
		{UnixAccess{Type: stream, Want: MayConnect, PeerAddress: "@peer", Peer: "b"}, false},
		{UnixAccess{Type: stream, Want: MayConnect, PeerAddress: "@pee", Peer: "a"}, false},
		{UnixAccess{Type: stream, Want: MaySend, PeerAddress: "@peer", Peer: "a//&b"}, false},
		{UnixAccess{Type: dgram, Want: MayConnect, PeerAddress: "@any", Peer: "b"}, true},
		{UnixAccess{Type: dgram, Want: MayConnect, PeerAddress: "@never", Peer: "b"}, false},
		{UnixAccess{Type: seqpacket, Want: MayGetAttr}, true},
		{UnixAccess{Type: seqpacket, Want: MaySetOpt, Option: 7}, true},
		{UnixAccess{Type: seqpacket, Want: MaySetOpt, Option: 7, Address: "@named"}, false},
		{SocketAccess{Family: 2, Type: stream, Protocol: 6, Want: MayCreate}, true},
		{SocketAccess{Family: 2, Type: seqpacket, Protocol: 132, Want: MayCreate}, false},
		{SocketAccess{Family: 10, Type: stream, Want: MayCreate}, false},

		{DBusAccess{Want: DBusSend, Bus: "session", Name: "org.x", Label: "a", Path: "/org/x", Interface: "org.x", Member: "Get"}, true},
		{DBusAccess{Want: DBusSend, Bus: "session", Name: "org.x", Label: "a", Path: "/org/x", Interface: "org.x", Member: "Set"}, false},
		{DBusAccess{Want: DBusReceive, Bus: "session", Name: "org.x", Label: "a", Path: "/org/x", Interface: "org.x", Member: "Get"}, false},
		{DBusAccess{Want: DBusBind, Bus: "session", Name: "org.mine"}, true},
		{DBusAccess{Want: DBusBind, Bus: "session", Name: "org.yours"}, false},
		{DBusAccess{Want: DBusEavesdrop, Bus: "system"}, true},
		{DBusAccess{Want: DBusEavesdrop, Bus: "session"}, false},

		{UsernsAccess{}, true},
		{IOUringAccess{}, true},
		{IOUringAccess{Override: true, Label: "x"}, false},
	} {
		if got := p.Decide(test.access); got.Allowed != test.allowed {
			t.Errorf("%T%+v: %+v", test.access, test.access, got)
		}
	}
}
