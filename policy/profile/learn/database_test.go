package learn_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// recordsIn returns the records of a file.
func recordsIn(t *testing.T, name string) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		lines = append(lines, string(bytes.TrimSpace(line)))
	}
	return lines
}

// What a database server does once is what it may do again, though nearly all its files have other names then, and no more. The
// files are what Linux 7.2.7 recorded of PostgreSQL 18.6 in a container that did the same work twice, with a restart each
// time: of accesses to names that differ in numbers alone three, and two of the second time. Libraries are left out.
func TestADatabaseIsLearnedAtOnce(t *testing.T) {
	text, p := made(t, recorded(t, recordsIn(t, "testdata/postgresql.records")...))
	again := recordsIn(t, "testdata/postgresql-again.records")
	for _, line := range again {
		var record audit.Record
		record.Parse([]byte(strings.ReplaceAll(line, `"rec"`, `"web"`)))
		asked, err := record.Asked()
		if err != nil {
			t.Fatal(err)
		}
		if a := asked.Accesses[0]; !p.Decide(a).Allowed {
			t.Errorf("done again, this is denied: %s", access.Format(a))
		}
	}
	const data = "/var/lib/postgresql/data/"
	for _, a := range []meaning.Access{
		meaning.FileAccess{Path: data + "postgresql.conf", Want: meaning.MayWrite}, meaning.FileAccess{Path: data + "pg_hba.conf", Want: meaning.MayWrite},
		meaning.FileAccess{Path: data + "base/5/x", Want: meaning.MayRead}, meaning.FileAccess{Path: data + "pg_wal/x", Want: meaning.MayWrite},
		meaning.FileAccess{Path: data + "1", Want: meaning.MayWrite}, meaning.FileAccess{Path: "/run/postgresql/.s.PGSQL.5433", Want: meaning.MayWrite},
		meaning.FileAccess{Path: "/proc/1/mem", Want: meaning.MayRead}, meaning.ExecAccess{Path: data + "base/5/1259"},
		meaning.ExecAccess{Path: "/usr/bin/dash"}, meaning.ExecAccess{Path: "/usr/lib/postgresql/18/bin/psql"},
	} {
		if p.Decide(a).Allowed {
			t.Errorf("allowed is %s", access.Format(a))
		}
	}
	if t.Failed() || text.Rules > 80 {
		t.Errorf("of %d records %d rules were made:\n%s", len(again), text.Rules, text.Text)
	}
}
