package learn_test

import (
	"strings"
	"testing"

	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// came returns records of a file that a program makes, writes, and takes away again.
func came(path string) []string {
	return []string{file("mknod", path, "c", false), file("open", path, "wrc", false), file("unlink", path, "d", false)}
}

// makes returns records of what a program makes and leaves.
func makes(path string) []string {
	return []string{file("mknod", path, "c", false), file("open", path, "wrc", false)}
}

// What programs name by numbers is allowed next time, and nothing else is.
func TestNumbersInNames(t *testing.T) {
	reads := func(path string) []string { return []string{file("open", path, "r", false)} }
	several := func(record func(string) []string, paths ...string) (all []string) {
		for _, path := range paths {
			all = append(all, record(path)...)
		}
		return all
	}
	const data = "/var/lib/db/"
	for name, test := range map[string]struct {
		records        []string
		allows, denies string // accesses as "w /path", with commas between
	}{
		"a file that came and went": {
			came(data + "tmp/sort31.0"),
			"w " + data + "tmp/sort4711.12", "w " + data + "tmp/sort, w " + data + "tmp/other1.0, w " + data + "tmp/sort1.0/x",
		},
		"one that stayed": {makes(data + "table31"), "w " + data + "table31", "w " + data + "table32"},
		"a directory that came and went, and what was in it": {
			several(came, data+"set31.0/", data+"set31.0/part1", data+"set31.0/kept"),
			"w " + data + "set77.1/, w " + data + "set77.1/part9, w " + data + "set77.1/kept", "w " + data + "set77.1/other",
		},
		"a directory that came and went under a name by chance": {
			several(came, data+"dirK3xYz1/", data+"dirK3xYz1/kept"),
			"w " + data + "dirAAAAAA/kept", "w " + data + "dirAAAAAA/other",
		},
		"several that stayed": {
			several(makes, data+"5/16384", data+"5/16389", data+"5/16390", data+"5/16384_map"),
			"w " + data + "5/99999, w " + data + "5/123456789, w " + data + "5/16384_map", "w " + data + "5/x, w " + data + "6/16384",
		},
		"two that stayed": {several(makes, data+"5/16384", data+"5/16389"), "w " + data + "5/16384", "w " + data + "5/16390"},
		"several that are read, and one that is written": {
			append(several(reads, data+"5/1", data+"5/2", data+"5/3", data+"5/4"), file("open", data+"5/4", "w", false)),
			"r " + data + "5/9, w " + data + "5/4", "w " + data + "5/1, w " + data + "5/9",
		},
		"directories with the same files": {
			several(reads, data+"5/version", data+"16384/version", data+"5/only"),
			"r " + data + "16390/version, r " + data + "16390/only", "w " + data + "5/version, r " + data + "16390/x, r " + data + "x/version",
		},
		"directories with other files": {several(reads, data+"5/a", data+"6/b"), "r " + data + "5/a", "r " + data + "5/b, r " + data + "7/a"},
		"a directory beside those with the same files": {
			several(reads, data+"5/version", data+"6/version", data+"7/key"), "r " + data + "16390/version, r " + data + "7/key", "r " + data + "5/key, r " + data + "8/key",
		},
		"two kinds of directories with the same files": {
			several(reads, data+"x86-1/a", data+"x86-2/a", data+"x87-1/b", data+"x87-2/b"),
			"r " + data + "x86-9/a, r " + data + "x87-9/b", "r " + data + "x86-9/b, r " + data + "x88-1/a",
		},
		"directories by way of a third one": {
			several(reads, data+"5/a", data+"6/b", data+"7/a", data+"7/b", data+"5/c"), "r " + data + "8/a, r " + data + "8/b, r " + data + "8/c", "r " + data + "8/d",
		},
		"two directories that were listed": {
			several(reads, data+"1/", data+"2/", data+"1/key"), "r " + data + "1/, r " + data + "1/key", "r " + data + "3/, r " + data + "2/key",
		},
		"several that were listed": {
			several(reads, data+"1/", data+"2/", data+"3/", data+"1/key"), "r " + data + "4/, r " + data + "1/key", "r " + data + "2/key, r " + data + "4/key",
		},
		"a directory beside a file that came and went": {
			append(came(data+"4711"), reads(data+"1/key")...), "w " + data + "4712, r " + data + "1/key", "r " + data + "2/key",
		},
		"an id that is read beside several numbers that are written": {
			append(several(func(path string) []string { return []string{file("open", path, "w", false)} }, data+"5/1", data+"5/2", data+"5/3"), reads(data+"5/12345678901234567")...),
			"w " + data + "5/4, r " + data + "5/99995678901234567", "r " + data + "5/4",
		},
		"homes": {
			several(reads, "/home/user1/.netrc", "/home/user2/.netrc", "/home/user1/site/a", "/home/user2/site/a"),
			"r /home/user1/.netrc, r /home/user2/site/a", "r /home/user3/.netrc, r /home/user3/site/a",
		},
		"hidden directories":         {several(reads, "/home/me/.ssh/key1", "/home/me/.ssh/key2", "/home/me/.ssh/key3"), "r /home/me/.ssh/key1", "r /home/me/.ssh/key4"},
		"other directories of homes": {several(reads, "/home/me/site/p1", "/home/me/site/p2", "/home/me/site/p3"), "r /home/me/site/p4", "r /home/you/site/p1"},
		"numbers below numbers": {
			several(makes, data+"1/1249", data+"5/1249", data+"5/16384", data+"5/16390"),
			"w " + data + "16400/16401", "w " + data + "16400/x, w " + data + "16400/1/1",
		},
		"a number that is the same in all": {
			several(makes, data+"v18/t1", data+"v18/t2", data+"v18/t3", data+"x86-1", data+"x86-2", data+"x86-3"),
			"w " + data + "v18/t9, w " + data + "x86-9", "w " + data + "v19/t1, w " + data + "x87-1",
		},
		"what counts up": {makes(data + "xact/0000"), "w " + data + "xact/000A", "w " + data + "xact/00000, w " + data + "xact/zzzz"},
		"what counts, and is written only": {
			[]string{file("open", data+"xact/0000", "wr", false)}, "w " + data + "xact/0000", "w " + data + "xact/0001",
		},
		"what counts, and is read": {reads(data + "xact/0000"), "r " + data + "xact/0000", "r " + data + "xact/0001"},
		"a log of a day":           {makes(data + "log/db-2026-11-30_200034.log"), "w " + data + "log/db-2027-01-02_030405.log", "w " + data + "log/db.log, w " + data + "log/other-2027-01-02_030405.log"},
		"logs of one day": {
			several(makes, data+"log/db-2026-11-30_200034.log", data+"log/db-2026-11-30_200101.log", data+"log/db-2026-11-30_210000.log"),
			"w " + data + "log/db-2027-01-02_030405.log", "w " + data + "log/db.log",
		},
		"a log that is read": {reads(data + "log/db-2026-11-30_200034.log"), "r " + data + "log/db-2026-11-30_200034.log", "r " + data + "log/db-2027-01-02_030405.log"},
		"a long number":      {makes(data + "wal/000000010000000000000001"), "w " + data + "wal/00000001000000000000000A", "w " + data + "wal/1, w " + data + "wal/000000010000000000000001.x"},
		"the system's own":   {several(came, "/etc/conf.d/10", "/etc/conf.d/20", "/etc/conf.d/30", "/usr/lib/x1", "/run/x1.sock"), "w /etc/conf.d/10", "w /etc/conf.d/40, w /usr/lib/x2, w /run/x2.sock"},
		"programs and libraries": {
			append(several(func(path string) []string { return []string{file("file_mmap", path, "rm", false)} }, data+"a1.so", data+"a2.so", data+"a3.so"),
				file("exec", data+"p1", "x", false), file("exec", data+"p2", "x", false), file("exec", data+"p3", "x", false)),
			"r " + data + "a1.so", "r " + data + "a4.so, x " + data + "p4",
		},
		"names with what patterns have": {several(makes, data+"[1]*", data+"[2]*", data+`\3`, data+"[3]*"), "w " + data + "[9]*", "w " + data + "1, w " + data + "[1]x"},
	} {
		t.Run(name, func(t *testing.T) {
			text, p := made(t, recorded(t, test.records...))
			ask := func(list string, want bool) {
				for one := range strings.SplitSeq(list, ", ") {
					kind, path, _ := strings.Cut(one, " ")
					var a meaning.Access = meaning.ExecAccess{Path: path}
					if kind != "x" {
						a = meaning.FileAccess{Path: path, Want: map[string]uint32{"r": meaning.MayRead, "w": meaning.MayWrite}[kind]}
					}
					if p.Decide(a).Allowed != want {
						t.Errorf("%s: allowed is %v in\n%s", one, !want, text.Text)
					}
				}
			}
			ask(test.allows, true)
			ask(test.denies, false)
		})
	}
}
