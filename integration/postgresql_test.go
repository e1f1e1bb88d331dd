package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/oci-apparmor/oci-apparmor/integration/guest/guesttest"
)

// PostgreSQL in a container, as Debian packages it: many processes that share memory, a directory full of files whose names
// are numbers, and names that are others each time.

const (
	postgresTests = "PostgreSQL"                // is in the names of the tests that need its root file system
	postgresRoot  = "/var/lib/roots/postgresql" // where the guest has that
	postgresData  = "/var/lib/postgresql/data"  // where the container has its volume
)

// postgresLoad is what a small server does all day, in SQL: tables come and go, are filled, changed, indexed, sorted on disk,
// read by several processes at once, and cleaned, and the log of changes is switched and written out.
const postgresLoad = `SET client_min_messages = warning;
CREATE TABLE item (id serial PRIMARY KEY, name text, doc text);
INSERT INTO item (name, doc) SELECT md5(n::text), repeat(md5(n::text), 4) FROM generate_series(1, 1500) n;
UPDATE item SET name = upper(name) WHERE id % 3 = 0;
DELETE FROM item WHERE id % 7 = 0;
CREATE INDEX ON item (name);
CREATE UNLOGGED TABLE scratch AS SELECT * FROM item;
CREATE TEMP TABLE mine AS SELECT * FROM item LIMIT 10;
VACUUM (FULL, ANALYZE) scratch;
VACUUM (ANALYZE) item;
CHECKPOINT;
SET work_mem = '64kB';
SELECT count(*) FROM (SELECT * FROM item ORDER BY doc OFFSET 10) s;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SET max_parallel_workers_per_gather = 2;
SELECT count(*) FROM item a JOIN item b USING (doc);
DO $$ BEGIN PERFORM pg_sleep(0.01); END $$;
LISTEN shop;
NOTIFY shop, 'sold';
TRUNCATE scratch;
DROP TABLE scratch;
REINDEX TABLE item;
SELECT pg_switch_wal();
CHECKPOINT;
ALTER SYSTEM SET work_mem = 8192;
SELECT pg_reload_conf();
`

// postgresTPS is a transaction of pgbench.
const postgresTPS = `\set id random(1, 1500)
BEGIN;
UPDATE item SET name = name || 'x' WHERE id = :id;
SELECT doc FROM item WHERE id = :id;
END;
`

// postgresBefore gives the container a new database, unless it is started again in the midst of the work: what a run under too
// few rules has left would fail all those after it.
const postgresBefore = `[ -n "$again" ] || { rm -rf $BUNDLE/volume-0/* && cp --archive ` + postgresRoot + postgresData + `/. $BUNDLE/volume-0; }`

// postgresReady has a function of its own: sql asks the server by its socket, from outside of the profile.
const postgresReady = `sql() { nsenter --target $pid --mount --net $BIN/psql -qXAt -v ON_ERROR_STOP=1 -U postgres -h /run/postgresql "$@" 2>&1; }
	sql -c 'SELECT 1' >/dev/null`

// postgresWork stops the server by SIGTERM in its midst, which lets clients finish, and starts it anew. The harness stops it by
// SIGINT, which does not.
const postgresWork = `again=yes
	sql -c 'CREATE DATABASE shop'
	sql -d shop -f /load.sql
	nsenter --target $pid --mount --net $BIN/pgbench -n -f /transaction.sql -c 2 -j 1 -t 5 -U postgres -h 127.0.0.1 shop
	[ "$(sql -d shop -c 'SELECT count(*) FROM item')" = 1286 ]
	$runtime kill $ID TERM
	for _ in $(busybox seq 100); do gone && break; sleep 0.1; done
	gone
	$runtime delete $ID
	starts
	again=
	soon ready
	[ "$(sql -d shop -c 'SELECT count(*) FROM item')" = 1286 ]
	sql -c 'DROP DATABASE shop'
	! grep -h -e PANIC -e FATAL -e 'could not' $BUNDLE/volume-0/log/* | grep -v 'database system is starting up'`

// postgreSQL returns the workload. It skips the test where the guest has no root file system for it.
func postgreSQL(t *testing.T) *workload {
	t.Helper()
	bins, _ := filepath.Glob(postgresRoot + "/usr/lib/postgresql/*/bin")
	if len(bins) != 1 {
		t.Skip("needs PostgreSQL's root file system, which the guest gets where make test-all or -run names the test")
	}
	bin := strings.TrimPrefix(bins[0], postgresRoot)
	script := func(text string) string { return strings.ReplaceAll(text, "$BIN", bin) }
	return &workload{
		name:    "postgresql",
		image:   func(t *testing.T) string { return postgresImage(t, bin) },
		program: bin + "/postgres",
		args: []string{"setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", bin + "/postgres", "-D", postgresData,
			"-c", "listen_addresses=127.0.0.1", "-c", "logging_collector=on", "-c", "max_wal_size=8MB", "-c", "min_wal_size=2MB"},
		edit: func(s *specs.Spec) {
			// As Debian's pg_ctlcluster has it: each process says how soon it is to be killed where memory is short.
			s.Process.Env = append(s.Process.Env, "PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj", "PG_OOM_ADJUST_VALUE=0")
		},
		volumes: []string{postgresData},
		before:  postgresBefore,
		ready:   script(postgresReady),
		work:    script(postgresWork),
		stop:    "INT",
		never: []string{
			"x /{,usr/}{,s}bin/*", "w " + postgresData + "/{postgresql,pg_hba}.conf", "x " + postgresData + "/**", "m " + postgresData + "/**",
			"network inet dgram", "capability (chown, dac_override, net_raw, kill)",
		},
		wholly: true,
		tightens: func(t *testing.T) bool {
			if guesttest.Emulated(t) {
				t.Log("in emulation it would take an hour: the profile is enforced as it was learned")
			}
			return !guesttest.Emulated(t)
		},
		sockets: true,
	}
}

// postgresImage returns the root file system, with an empty database in it. It is made once for all tests of a guest.
func postgresImage(t *testing.T, bin string) string {
	t.Helper()
	if _, err := os.Stat(postgresRoot + "/load.sql"); err == nil {
		return postgresRoot
	}
	for _, dir := range []string{"/dev/shm", "/proc", postgresData, "/run/postgresql"} {
		if err := os.MkdirAll(postgresRoot+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	in := func(args ...string) { guesttest.MustRun(t, "chroot", append([]string{postgresRoot}, args...)...) }
	in("chmod", "1777", "/tmp", "/dev/shm")
	in("chown", "-R", "postgres:postgres", "/var/lib/postgresql", "/run/postgresql")
	in("mknod", "-m", "666", "/dev/null", "c", "1", "3")
	in("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", bin+"/initdb", "--pgdata="+postgresData,
		"--auth=trust", "--no-sync", "--wal-segsize=1", "--no-locale", "--encoding=UTF8")
	write(t, postgresRoot+"/transaction.sql", postgresTPS)
	write(t, postgresRoot+"/load.sql", postgresLoad)
	return postgresRoot
}

func TestProfileProvenOfPostgreSQL(t *testing.T) {
	guesttest.Require(t)
	guesttest.Leave(t, manyRuns)
	w := postgreSQL(t)
	w.prove(t)
	w.copiesFromNoProgram(t)
}

// copiesFromNoProgram tries what whoever may run SQL as the superuser can do: have the server run a program. The profile that is
// in force denies it.
func (w *workload) copiesFromNoProgram(t *testing.T) {
	t.Helper()
	rt := armsOf(t, "runc")
	copied := func(runtime string) string {
		b := w.newBundle(t, postgresRoot)
		guesttest.MustRun(t, "cp", "--archive", postgresRoot+postgresData+"/.", b.Dir+"/volume-0")
		c := b.Start(t, runtime)
		script := fmt.Sprintf("pid=%d\nready() {\n%s\n}\nfor _ in $(busybox seq 100); do if ready; then break; fi; sleep 0.1; done\n"+
			"sql -c 'CREATE TEMP TABLE said (line text)' -c \"COPY said FROM PROGRAM 'id'\" -c 'SELECT * FROM said'", c.Pid(t), w.ready)
		o := guesttest.Run(t, "sh", "-c", script)
		return o.Stdout + o.Stderr
	}
	if out := copied(rt.bare); !strings.Contains(out, "uid=101(postgres)") {
		t.Errorf("without a profile, COPY FROM PROGRAM says %s", out)
	}
	log := guesttest.KernelLog(t)
	if out := copied(rt.wrapped); strings.Contains(out, "uid=") || !strings.Contains(out, "could not execute command \"id\": Permission denied") {
		t.Errorf("COPY FROM PROGRAM is not denied: %s", out)
	}
	if len(log.Grep(t, `apparmor="DENIED"`, `operation="exec"`, `profile="app"`, `comm="postgres"`)) == 0 {
		t.Error("there is no record of the denial")
	}
}
