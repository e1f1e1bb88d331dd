package main

import (
	"bufio"
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/oci-apparmor/oci-apparmor/policy/audit"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
)

// others are the programs that read a log with AppArmor's own code, in C and in Python.
//
//go:embed records/parse.c records/logprof.py
var others embed.FS

// records times reading a log beside libapparmor's parser, and the whole of oci-apparmor audit beside aa-logprof's reading.
func records(bin, dir string) error {
	log, short := filepath.Join(dir, "audit.log"), filepath.Join(dir, "short.log")
	const lines = 1_000_000
	if err := errors.Join(writeRecords(log, lines), writeRecords(short, lines/10)); err != nil {
		return err
	}
	for _, name := range []string{"parse.c", "logprof.py"} {
		program, err := others.ReadFile("records/" + name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), program, 0o644); err != nil {
			return err
		}
	}
	parse := filepath.Join(dir, "parse")
	if err := quiet("gcc", "-O2", "-o", parse, parse+".c", "-lapparmor"); err != nil {
		return err
	}
	times, err := compare(5, func() (time.Duration, error) { return readRecords(log, lines) }, func() (time.Duration, error) {
		out, err := exec.Command(parse, log).Output()
		if err != nil {
			return 0, fmt.Errorf("libapparmor's parser: %w", err)
		}
		var n int
		var took time.Duration
		if _, err := fmt.Sscan(string(out), &n, &took); err != nil || n != lines {
			return 0, fmt.Errorf("libapparmor's parser found %d records (%v)", n, err)
		}
		return took, nil
	})
	if err != nil {
		return err
	}
	ratio("audit records read ÷ libapparmor's parse_record", 0.33, times[0], times[1], "1,000,000 records of one file", "")

	program, profiles := filepath.Join(bin, "oci-apparmor"), filepath.Join(dir, "logprof.d")
	if err := writeProfiles(profiles); err != nil {
		return err
	}
	for _, one := range []struct {
		name, log, until, detail, why string
	}{
		{"oci-apparmor audit ÷ aa-logprof's reading", log, "read", "1,000,000 records of one file, from the program's start to its end; Python's start is not counted",
			"aa-logprof's reading has libapparmor's parser in C do most, and keeps what it has read. audit also finds out of which container " +
				"each record is, groups what repeats, and prints 20,000 groups: reading alone is half of it, see the row before"},
		{"oci-apparmor audit ÷ aa-logprof until its first question", short, "asked", "100,000 records of one file: it has put together what repeats by then, as audit has", ""},
	} {
		times, err = compare(2, func() (time.Duration, error) { return audited(program, one.log) }, func() (time.Duration, error) {
			out, err := exec.Command("/usr/bin/python3", filepath.Join(dir, "logprof.py"), one.log, profiles, one.until).Output()
			if err != nil {
				return 0, fmt.Errorf("aa-logprof's reading: %w", err)
			}
			var took time.Duration
			_, err = fmt.Sscan(string(out), &took)
			return took, err
		})
		if err != nil {
			return err
		}
		ratio(one.name, 0.05, times[0], times[1], one.detail, one.why)
	}
	return nil
}

// writeProfiles writes a directory like /etc/apparmor.d with the profiles of writeRecords.
func writeProfiles(dir string) error {
	err := os.MkdirAll(dir, 0o755)
	for _, name := range []string{"abi", "abstractions", "tunables"} {
		err = errors.Join(err, os.Symlink("/etc/apparmor.d/"+name, filepath.Join(dir, name)))
	}
	for i := range profilesOfRecords {
		text := fmt.Sprintf("include <tunables/global>\nprofile web-%d {\n  include <abstractions/base>\n}\n", i)
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, fmt.Sprintf("web-%d", i)), []byte(text), 0o644))
	}
	return err
}

// audited runs oci-apparmor audit on a log, whose output nobody reads.
func audited(program, log string) (time.Duration, error) {
	var said bytes.Buffer
	cmd := exec.Command(program, "audit", "--source", log)
	cmd.Stderr = &said
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("oci-apparmor audit: %w: %s", err, said.Bytes())
	}
	return time.Since(began), nil
}

// profilesOfRecords is how many profiles deny something in the log of writeRecords.
const profilesOfRecords = 7

// writeRecords writes a log of auditd's, as a kernel of before 6.8 makes it: libapparmor 3 knows no class.
func writeRecords(path string, lines int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for i := range lines {
		fmt.Fprintf(w, "type=AVC msg=audit(%d.%03d:%d): apparmor=\"DENIED\" ", 1700000000+i/1000, i%1000, i+1)
		if i%5 == 0 {
			fmt.Fprintf(w, "operation=\"capable\" profile=\"web-%d\" pid=%d comm=\"busybox\" capability=13  capname=\"net_raw\"\n", i%profilesOfRecords, i%30000+1)
			continue
		}
		fmt.Fprintf(w, "operation=\"open\" profile=\"web-%d\" name=\"/srv/data/%d/file\" pid=%d comm=\"nginx\" requested_mask=\"r\" denied_mask=\"r\" fsuid=33 ouid=0\n", i%profilesOfRecords, i%100000, i%30000+1)
	}
	return errors.Join(w.Flush(), f.Close())
}

// readRecords reads a log to its end.
func readRecords(path string, want int) (time.Duration, error) {
	began := time.Now()
	s, err := source.Open(context.Background(), path, source.Options{})
	if err != nil {
		return 0, err
	}
	defer s.Close()
	var e source.Entry
	n := 0
	for {
		if err := s.Next(context.Background(), &e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return 0, err
		}
		if e.Record.Type == audit.Denied && e.Kernel {
			n++
		}
	}
	if n != want {
		return 0, fmt.Errorf("%d records of %d were read", n, want)
	}
	return time.Since(began), nil
}
