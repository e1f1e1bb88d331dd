package profile

import (
	"reflect"
	"strings"
	"testing"
)

func TestDigestsAreReadAsTheyAreWritten(t *testing.T) {
	for _, text := range []string{
		"", "profile web {\n}\n", "include <tunables/global>\ninclude \"/a b/c,d\"\nabi <abi/3.0>,\nprofile web {\n}\n",
	} {
		d, err := DigestOf([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		s := d.String()
		if again, err := ParseDigest(s); err != nil || !reflect.DeepEqual(again, d) {
			t.Errorf("%q is read as %+v, %v; want %+v", s, again, err, d)
		}
		sum, _, _ := strings.Cut(s, "\x00")
		for n := range sum {
			if again, err := ParseDigest(s[:n]); err == nil {
				t.Errorf("%q is read as %+v", s[:n], again)
			}
		}
		for _, bad := range []string{"", "x", "z" + s[1:], sum + "00", sum[2:] + "\x00", "\x00" + sum} {
			if again, err := ParseDigest(bad); err == nil {
				t.Errorf("%q is read as %+v", bad, again)
			}
		}
	}
	if d, err := DigestOf([]byte("include <@{X}/a>\n")); err == nil {
		t.Errorf("a text whose includes cannot be told has the digest %+v", d)
	}
}
