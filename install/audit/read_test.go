package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
	"github.com/oci-apparmor/oci-apparmor/hook/notice/reader"
	"github.com/oci-apparmor/oci-apparmor/install/output/outputtest"
	"github.com/oci-apparmor/oci-apparmor/install/profiles"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/access"
	"github.com/oci-apparmor/oci-apparmor/policy/profile/meaning"
)

// logged writes lines into a file, and opens it as a source.
func logged(t *testing.T, lines ...string) source.Source {
	t.Helper()
	path := filepath.Join(t.TempDir(), "audit.log")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	src, err := source.Open(t.Context(), path, source.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

// serial makes each record one of its own.
var serial int

// avc is a line of auditd's about a moment.
func avc(at time.Time, fields string) string {
	serial++
	return fmt.Sprintf(`type=AVC msg=audit(%d.%03d:%d): apparmor=%s`, at.Unix(), at.Nanosecond()/1e6, serial, fields)
}

const readShadow = `"DENIED" operation="open" class="file" profile="web" name="/etc/shadow" pid=%d comm="cat" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`

type noted []notice.Notice

func (n noted) Read(_ context.Context, _ reader.Query, each func(notice.Notice) error, _ func(string)) error {
	for _, one := range n {
		if err := each(one); err != nil {
			return err
		}
	}
	return nil
}

// reads returns the events that Read gives.
func (m *machine) reads(src source.Source, n Notices, q Query) (all []*Event, r Result) {
	m.t.Helper()
	r, err := Read(m.t.Context(), &Joiner{Node: m.Node, Least: time.Millisecond}, src, n, q, func(e *Event) error {
		all = append(all, e)
		return nil
	})
	if err != nil {
		m.t.Fatal(err)
	}
	return all, r
}

// say returns a line for each event: its kind, whose it is, and its sentence.
func say(all []*Event) (lines []string) {
	for _, e := range all {
		lines = append(lines, fmt.Sprintf("%s %s: %s", e.Kind, e.Whose(), e.Sentence()))
	}
	return lines
}

func wantLines(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestRefusalsStandBetweenDenialsByTheirTime(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	now := time.Now()
	refused := func(at time.Time, id string) notice.Notice {
		return notice.Notice{Time: at, Level: notice.Refusal, Command: "create", ID: id, Message: "no"}
	}
	src := logged(t, avc(now, fmt.Sprintf(readShadow, 101)), avc(now.Add(2*time.Second), fmt.Sprintf(readShadow, 101)))
	all, r := m.reads(src, noted{refused(now.Add(-time.Hour), "a"), refused(now.Add(time.Second), "b"), refused(now.Add(time.Hour), "c"),
		{Time: now, Level: notice.Warning, ID: "d", Message: "hm"}}, Query{})
	denied := "denied web-1: cat (101) tried to read /etc/shadow: denied by profile web"
	wantLines(t, "events", say(all), "refusal a: create: no", denied, "refusal b: create: no", denied, "refusal c: create: no")
	if r.Shown != 5 || r.Denials != 2 || r.Records != 2 {
		t.Errorf("counted %+v", r)
	}
}

func TestWhatIsAskedForIsShown(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	m.create("web-2", 102, "")
	now := time.Now()
	lines := []string{
		avc(now, fmt.Sprintf(readShadow, 101)),
		avc(now, fmt.Sprintf(readShadow, gonePID)),
		avc(now, `"ALLOWED" operation="capable" class="cap" profile="web//child" pid=102 comm="ping" capability=13  capname="net_raw"`),
		avc(now, `"STATUS" operation="profile_replace" profile="unconfined" name="web" pid=5 comm="apparmor_parser"`),
		avc(now, `"AUDIT" operation="open" class="file" profile="web" name="/a" pid=102 comm="cat" requested_mask="w" fsuid=0 ouid=0`),
	}
	for name, test := range map[string]struct {
		q    Query
		want string // numbers of lines
	}{
		"usually":                         {Query{}, "0 1 2"},
		"a kind":                          {Query{Kinds: []Kind{Changed, Audited}}, "3 4"},
		"all kinds":                       {Query{Kinds: Kinds}, "0 1 2 3 4"},
		"a container and what may be its": {Query{Container: "web-1"}, "0 1"},
		"the other":                       {Query{Container: "web-2"}, "1 2"},
		"a policy":                        {Query{Policy: "web"}, "0 1 2"},
		"another policy":                  {Query{Policy: "work"}, ""},
		"a profile with its children":     {Query{Profile: "web"}, "0 1 2"},
		"a child":                         {Query{Profile: "web//child"}, "2"},
		"a pod":                           {Query{Pod: "x"}, ""},
	} {
		all, _ := m.reads(logged(t, lines...), nil, test.q)
		var got []string
		for _, e := range all {
			for i, l := range lines {
				if strings.Contains(l, fmt.Sprintf("pid=%d ", e.PID)) && strings.Contains(l, `operation="`+e.Operation+`"`) {
					got = append(got, fmt.Sprint(i))
				}
			}
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("%s: records %s, want %s", name, got, test.want)
		}
	}
}

// The beginning of an id is one that an engine has made, and is asked back where it is of several. A container whose id, name or pod it is
// comes first.
func TestMeant(t *testing.T) {
	m := newMachine(t)
	digits := func(start string) string { return start + strings.Repeat("0", 64-len(start)) }
	one, two, three := digits("cafe1"), digits("cafe2"), digits("beef")
	for i, id := range []string{one, two, three, "web-1", "beef"} {
		m.create(id, 101+i, "")
	}
	j := Joiner{Node: m.Node}
	for asked, want := range map[string]struct {
		ids   []string
		whole bool
	}{
		"cafe": {[]string{one, two}, false}, "cafe1": {[]string{one}, false}, one: {nil, true}, "web": {}, "web-1": {nil, true}, "beef": {nil, true},
		"bee": {[]string{three}, false}, "d": {},
	} {
		if ids, whole := j.Meant(&Query{Container: asked}); !slices.Equal(ids, want.ids) || whole != want.whole {
			t.Errorf("%s means %q, %v", asked, ids, whole)
		}
	}
	for _, test := range []struct {
		q     Query
		beefs int
	}{{Query{Container: "beef"}, 2}, {Query{Container: "beef", Whole: true}, 1}, {Query{Container: "we"}, 0}, {Query{Container: "cafe"}, 0}} {
		n := 0
		for _, id := range []string{three, "beef", "web-1"} {
			if test.q.of(&Container{ID: id}) {
				n++
			}
		}
		if n != test.beefs {
			t.Errorf("%+v is %d of them", test.q, n)
		}
	}
}

// "No denials of container X" is true only if none of those that were left out can be its.
func TestWhatMayBeOfTheContainerThatIsAskedForIsCounted(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	m.create("work-1", 102, "work")
	m.process(1, "web (enforce)", "/init.scope", time.Minute)
	now := time.Now()
	by := func(profile string, pid int) string {
		return avc(now, strings.Replace(fmt.Sprintf(readShadow, pid), `profile="web"`, `profile="`+profile+`"`, 1))
	}
	for name, test := range map[string]struct {
		line     string
		q        Query
		unplaced uint64
		stranger bool
	}{
		"of a container that is not known, which is none of these":      {by("cups", gonePID), Query{Container: "web-1"}, 0, false},
		"of one of a profile's child":                                   {by("web//x", gonePID), Query{Container: "work-1"}, 0, false},
		"of any, since the record has no profile that tells":            {by("unconfined", gonePID), Query{Container: "web-1"}, 1, false},
		"of a container that is not known, and so is the one asked for": {by("cups", gonePID), Query{Container: "shop"}, 1, true},
		"the same of a pod":    {by("cups", gonePID), Query{Pod: "shop"}, 1, true},
		"the same of a policy": {by("cups", gonePID), Query{Policy: "shop"}, 1, false},
		"of another container, and the one that is asked for is not known": {by("web", 101), Query{Container: "shop"}, 0, true},
		"of the node":                           {by("web", 1), Query{Container: "work-1"}, 0, false},
		"of another node":                       {by("web", 101), Query{Container: "web-1", Elsewhere: true}, 1, false},
		"of before the container that is known": {strings.Replace(by("web", 101), fmt.Sprint(now.Unix()), fmt.Sprint(now.Unix()-3600), 1), Query{Container: "web-1"}, 1, false},
	} {
		all, r := m.reads(logged(t, test.line), nil, test.q)
		if len(all) != 0 || r.Unplaced != test.unplaced || r.Stranger != test.stranger {
			t.Errorf("%s: %q, %d not placed, a stranger: %v", name, say(all), r.Unplaced, r.Stranger)
		}
		if u := (&End{Result: r, Source: source.Kmsg}).Unknown(); (len(u) == 0) != (r.Unplaced == 0 && !r.Stranger) {
			t.Errorf("%s: unknown is %q", name, u)
		}
	}
}

// A policy that nobody knows may be a name that was written wrongly.
func TestNothingOfAPolicyThatIsNotKnownSaysNothing(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	m.create("work-1", 102, "work")
	for name, test := range map[string]struct {
		q        Query
		noPolicy bool
	}{
		"of none":                   {Query{Policy: "shop"}, true},
		"in force":                  {Query{Policy: "shop", InForce: true}, false},
		"of a container":            {Query{Policy: "work"}, false},
		"of records of other nodes": {Query{Policy: "shop", Elsewhere: true}, false},
		"none was asked for":        {Query{Container: "work-1"}, false},
		"something was found":       {Query{Policy: "web"}, false},
	} {
		_, r := m.reads(logged(t, avc(time.Now(), fmt.Sprintf(readShadow, 101))), nil, test.q)
		said := strings.Contains(fmt.Sprint((&End{Result: r, Source: source.Kmsg}).Unknown()), "not in force")
		if r.NoPolicy != test.noPolicy || said != test.noPolicy {
			t.Errorf("%s: %+v, and it is said: %v", name, r, said)
		}
	}
}

// A line in the form of the kernel's log can be in a file by anybody's hand.
func TestWhatNobodyVouchesForIsNotBelieved(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	forged := fmt.Sprintf("[1.2] audit: type=1400 audit(%d.000:7): apparmor="+readShadow, time.Now().Unix(), 101)
	all, r := m.reads(logged(t, forged), nil, Query{})
	if len(all) != 0 || r.Untrusted != 1 {
		t.Errorf("gave %q, and %d left out", say(all), r.Untrusted)
	}
	end := End{Result: r, Source: "/x/dmesg"}
	if u := end.Unknown(); len(u) != 1 || !strings.Contains(u[0], "1 record was left out") {
		t.Errorf("of a file that is said to be unknown: %q", u)
	}
	end.Source = source.Kmsg // which tells the two apart
	if u, n := end.Unknown(), end.Notes(); len(u) != 0 || len(n) != 1 {
		t.Errorf("of the kernel's log it is unknown %q, and noted %q", u, n)
	}
	all, _ = m.reads(logged(t, forged), nil, Query{Untrusted: true})
	wantLines(t, "with --untrusted, and no container, whatever pid it names", say(all),
		"denied -: cat (101) tried to read /etc/shadow: denied by profile web; nobody vouches for this record")
}

func TestAnotherNodesRecordsNameNoContainerOfThisOne(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	l := avc(time.Now(), fmt.Sprintf(readShadow, 101))
	for name, test := range map[string]struct {
		line string
		q    Query
		want string
	}{
		"of this one":          {"node=here " + l, Query{Host: "here"}, "web-1"},
		"without a host":       {l, Query{Host: "here"}, "web-1"},
		"of another":           {"node=there " + l, Query{Host: "here"}, "-"},
		"said to be another's": {l, Query{Host: "here", Elsewhere: true}, "-"},
	} {
		all, _ := m.reads(logged(t, test.line), nil, test.q)
		if len(all) != 1 || all[0].Whose() != test.want {
			t.Errorf("%s: %q, want %s", name, say(all), test.want)
		}
	}
}

// steady is a source that brings records until its context ends.
type steady struct {
	source.Source
	lines chan string
	lost  func() []source.Loss
}

func (s steady) Next(ctx context.Context, e *source.Entry) error {
	select {
	case l, ok := <-s.lines:
		if !ok {
			return io.EOF
		}
		e.Kernel = true
		if _, ok := e.Record.Parse([]byte(l)); !ok {
			return errors.New("no record: " + l)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func TestFollowedUntilItIsEnough(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	src := steady{lines: make(chan string, 3)}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	src.lines <- avc(time.Now(), fmt.Sprintf(readShadow, 101))
	var got []string
	_, err := Read(ctx, &Joiner{Node: m.Node, Least: time.Millisecond}, src, nil, Query{Follow: true}, func(e *Event) error {
		got = append(got, e.Whose())
		if len(got) == 1 { // the container ends, and then its process is denied something
			at := time.Now()
			m.end("web-1", 101)
			src.lines <- avc(at, fmt.Sprintf(readShadow, 101))
			return nil
		}
		stop()
		return nil
	})
	if err != nil || !slices.Equal(got, []string{"web-1", "web-1"}) {
		t.Errorf("of %q, %v", got, err)
	}
	full := errors.New("the disk is full")
	src.lines <- avc(time.Now(), fmt.Sprintf(readShadow, 101))
	if _, err = Read(t.Context(), &Joiner{Node: m.Node}, src, nil, Query{Follow: true}, func(*Event) error { return full }); err != full {
		t.Errorf("an error of what is done with an event ends with %v", err)
	}
}

func (s steady) Lost() []source.Loss { return s.lost() }

// What was lost is said while events are followed, also if no record comes after it, and once.
func TestLossesAreSaidWhileEventsAreFollowed(t *testing.T) {
	m := newMachine(t)
	loss := source.Loss{By: "the kernel", Records: 3}
	src := steady{lines: make(chan string, 3), lost: func() []source.Loss { return []source.Loss{loss} }}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	src.lines <- avc(time.Now(), fmt.Sprintf(readShadow, gonePID))
	src.lines <- avc(time.Now(), fmt.Sprintf(readShadow, gonePID))
	var got []string
	time.AfterFunc(200*time.Millisecond, stop)
	_, err := Read(ctx, &Joiner{Node: m.Node, Least: time.Millisecond}, src, nil, Query{Follow: true, pace: pace{pause: 20 * time.Millisecond},
		Lost: func(l source.Loss) { got = append(got, l.String()) }}, func(*Event) error { return nil })
	if err != nil || !slices.Equal(got, []string{loss.String()}) {
		t.Errorf("said %q, %v", got, err)
	}
}

// What is missing may come yet, so a source says it later; and by then, no record need come any more.
func TestLossesThatAreKnownLateAreSaid(t *testing.T) {
	m := newMachine(t)
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		src := steady{lines: make(chan string, 1), lost: func() []source.Loss {
			if time.Since(began) < source.Settles {
				return nil
			}
			return []source.Loss{{By: "the journal", Unknown: true}}
		}}
		src.lines <- avc(time.Now(), fmt.Sprintf(readShadow, gonePID))
		ctx, stop := context.WithTimeout(t.Context(), time.Hour)
		defer stop()
		said := 0
		_, err := Read(ctx, &Joiner{Node: m.Node}, src, nil, Query{Follow: true, Elsewhere: true, Lost: func(source.Loss) { said++; stop() }},
			func(*Event) error { return nil })
		if late := time.Since(began) - source.Settles; err != nil || said != 1 || late > 2*time.Second {
			t.Errorf("said %d times, %v late, %v", said, late, err)
		}
	})
}

// calm counts how often a source is asked for something. It is a steady one.
type calm struct {
	steady
	asked *atomic.Int64
}

func (c calm) Next(ctx context.Context, e *source.Entry) error {
	c.asked.Add(1)
	return c.steady.Next(ctx, e)
}

// While nothing comes, nobody wakes up: no timer is left that would.
func TestWhoFollowsSleepsWhileNothingComes(t *testing.T) {
	m := newMachine(t)
	synctest.Test(t, func(t *testing.T) {
		var asked, looked atomic.Int64
		src := calm{steady{lines: make(chan string), lost: func() []source.Loss { looked.Add(1); return nil }}, &asked}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() {
			_, err := Read(ctx, &Joiner{Node: m.Node}, src, nil, Query{Follow: true, Elsewhere: true, Lost: func(source.Loss) {}},
				func(*Event) error { return nil })
			ended <- err
		}()
		for _, when := range []string{"at the beginning", "after a record"} {
			time.Sleep(source.Settles + 4*time.Second)
			synctest.Wait()
			asks, looks := asked.Load(), looked.Load()
			if looks == 0 {
				t.Errorf("%s it is not looked what is lost", when)
			}
			time.Sleep(1000 * time.Hour)
			synctest.Wait()
			if asks, looks = asked.Load()-asks, looked.Load()-looks; asks > 0 || looks > 0 {
				t.Errorf("%s it wakes up: the source is read %d times, and asked %d times what is lost", when, asks, looks)
			}
			looked.Store(0)
			src.lines <- avc(time.Now(), fmt.Sprintf(readShadow, gonePID))
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// That some may be lost is said once, whatever else becomes missing; and that some are lost each time.
func TestALossIsSaidAgainIfMoreIsKnownToBeLost(t *testing.T) {
	var said losses
	for i, step := range []struct {
		loss source.Loss
		news bool
	}{
		{source.Loss{By: "the journal", Unknown: true, Missing: 1, Detail: "1 number"}, true},
		{source.Loss{By: "the journal", Unknown: true, Missing: 5, Detail: "5 numbers"}, false},
		{source.Loss{By: "the kernel", Records: 3}, true},
		{source.Loss{By: "the kernel", Records: 3}, false},
		{source.Loss{By: "the kernel", Records: 4}, true},
		{source.Loss{By: "the kernel", Records: 4, Unknown: true}, true},
		{source.Loss{By: "the journal", Unknown: true, Missing: 6}, false},
	} {
		if got := said.news(step.loss); got != step.news {
			t.Errorf("step %d, %s: %v", i, step.loss, got)
		}
	}
}

// failing is a source that fails when a pause of its reader's is over.
type failing struct {
	steady
	err error
}

func (f failing) Next(ctx context.Context, e *source.Entry) error {
	<-ctx.Done()
	return f.err
}

// An error is a source's own, also if it comes just when a pause ends.
func TestASourceThatFailsIsFollowedNoMore(t *testing.T) {
	m := newMachine(t)
	src := failing{steady{lost: func() []source.Loss { return nil }}, errors.New("the disk is broken")}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
	defer stop()
	_, err := Read(ctx, &Joiner{Node: m.Node}, src, nil, Query{Follow: true, pace: pace{time.Millisecond, time.Hour},
		Lost: func(source.Loss) {}}, func(*Event) error { return nil })
	if err != src.err {
		t.Errorf("it ends with %v", err)
	}
}

func TestRepeatsAreOneGroup(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	m.create("web-2", 102, "")
	now := time.Now().Truncate(time.Millisecond)
	all, _ := m.reads(logged(t,
		avc(now.Add(time.Second), fmt.Sprintf(readShadow, 101)),
		avc(now.Add(2*time.Second), fmt.Sprintf(readShadow, 101)),
		avc(now.Add(time.Second), fmt.Sprintf(readShadow, 102)),
		avc(now, fmt.Sprintf(readShadow, 101)),
		avc(now, fmt.Sprintf(readShadow, gonePID)),
		avc(now, strings.Replace(fmt.Sprintf(readShadow, 101), "/etc/shadow", "/etc/gshadow", 1)),
	), nil, Query{})
	var g Groups
	for _, e := range all {
		g.Add(e)
	}
	var got []string
	for _, one := range g.All() {
		got = append(got, fmt.Sprintf("%d %s %s", one.Count, one.Whose(), one.get("name")))
	}
	wantLines(t, "groups", got, "3 web-1 /etc/shadow", "1 web-2 /etc/shadow", "1 one of web-1, web-2 /etc/shadow", "1 web-1 /etc/gshadow")
	if first := g.All()[0]; !first.First.Equal(now) || !first.Last.Equal(now.Add(2*time.Second)) {
		t.Errorf("the first is from %s to %s", first.First, first.Last)
	}

	containers, policies := Summarise(g.All())
	if len(containers) != 3 || containers[0].Of != "web-1" || containers[0].Denials() != 4 || containers[0].Most[0].N != 3 ||
		len(policies) != 1 || policies[0].Of != "web" || policies[0].Denials() != 6 {
		t.Errorf("summaries %+v, %+v", containers, policies)
	}
}

func TestGroupsAreBounded(t *testing.T) {
	var g Groups
	for i := range mostGroups + 5 {
		g.Add(&Event{Kind: Denied, content: fmt.Sprint(i)})
	}
	if len(g.All()) != mostGroups || g.Beyond != 5 {
		t.Errorf("%d groups, and %d beyond", len(g.All()), g.Beyond)
	}
}

func TestWords(t *testing.T) {
	for record, want := range map[string]string{
		`"DENIED" operation="exec" class="file" profile="web" name="/usr/bin/id" pid=7 comm="sh" requested_mask="x" denied_mask="x" fsuid=0 ouid=0`:                                    "sh (7) tried to execute /usr/bin/id: denied by profile web",
		`"DENIED" operation="rename_src" class="file" profile="web" name="/a" pid=7 comm="mv" requested_mask="wrd" denied_mask="wrd" fsuid=0 ouid=0`:                                   "mv (7) tried to rename /a: denied by profile web",
		`"DENIED" operation="file_mmap" class="file" profile="web" name="/a" pid=7 comm="x" requested_mask="rm" denied_mask="rm" fsuid=0 ouid=0`:                                       "x (7) tried to read and map as a program /a: denied by profile web",
		`"DENIED" operation="create" class="net" profile="web" pid=7 comm="ping" family="inet" sock_type="raw" protocol=1 requested_mask="create" denied_mask="create"`:                "ping (7) tried to make a socket of inet, raw: denied by profile web",
		`"DENIED" operation="mount" class="mount" info="failed mntpnt match" error=-13 profile="web" name="/mnt/" pid=7 comm="mount" fstype="tmpfs" srcname="none" flags="ro, nosuid"`: "mount (7) tried to mount tmpfs of none at /mnt/ (ro, nosuid): denied by profile web (failed mntpnt match)",
		`"DENIED" operation="signal" class="signal" profile="web" pid=7 comm="kill" requested_mask="send" denied_mask="send" signal=term peer="unconfined"`:                            "kill (7) tried to send the signal term to a process under unconfined: denied by profile web",
		`"DENIED" operation="signal" class="signal" profile="web" pid=7 comm="runc" requested_mask="receive" denied_mask="receive" signal=kill peer="runc"`:                            "runc (7) tried to send it the signal kill: denied by profile web",
		`"DENIED" operation="ptrace" class="ptrace" profile="web" pid=7 comm="gdb" requested_mask="trace" denied_mask="trace" peer="unconfined"`:                                       "gdb (7) tried to debug a process under unconfined: denied by profile web",
		`"KILLED" operation="capable" class="cap" profile="web" pid=7 comm="x" capability=21  capname="sys_admin"`:                                                                     "x (7) tried to use the capability sys_admin: denied by profile web, which kills",
		`"ALLOWED" operation="userns_create" class="namespace" profile="web" pid=7 comm="x" requested="userns_create" denied="userns_create"`:                                          "x (7) tried to make a user namespace: would be denied by profile web, which only logs",
		`"DENIED" operation="open" class="file" namespace="root//lxd" profile="web" name="/a" pid=7 comm="x" requested_mask="w" denied_mask="w" fsuid=0 ouid=0`:                        "x (7) tried to write /a: denied by profile web of the namespace root//lxd",
		`"DENIED" operation="what_is_new" class="new" profile="web" pid=7 comm="x"`:                                                                                                    "x (7) tried to what_is_new: denied by profile web",
		`"DENIED" profile="web"`: "a process tried to something: denied by profile web",
	} {
		var e source.Entry
		e.Kernel = true
		if _, ok := e.Record.Parse([]byte(avc(time.Now(), record))); !ok {
			t.Fatal(record)
		}
		if got := eventOf(&e).Sentence(); got != want {
			t.Errorf("%s\nsays %s\nwant %s", record, got, want)
		}
	}
}

// hostile is what a workload may put wherever it can choose a text.
const hostile = "x\n2026-11-30T00:00:00Z  denied   docker  shop  web  y\x1b[31m\x1b]0;t\a\"\\\u202e\u0085\xff }, {\"kind\": \"denied\"}"

// Whatever a record's or a container's texts are, an event is one line of printable ASCII, and the JSON of one object.
func TestHostileTextStaysWhereItIs(t *testing.T) {
	hex := fmt.Sprintf("%X", hostile)
	c := &Container{ID: hostile, Name: hostile, Engine: hostile, Namespace: hostile, Pod: hostile, Image: hostile, Policy: hostile, Label: hostile}
	for _, record := range []string{
		fmt.Sprintf(`"DENIED" operation="open" class="file" profile=%[1]s name=%[1]s pid=7 comm=%[1]s requested_mask="w" denied_mask="w" fsuid=0 ouid=0`, hex),
		fmt.Sprintf(`"DENIED" operation="mount" class="mount" profile=%[1]s name=%[1]s pid=7 comm=%[1]s fstype=%[1]s srcname=%[1]s flags="x]"`, hex),
		fmt.Sprintf(`"DENIED" operation="ptrace" class="ptrace" profile=%[1]s pid=7 comm=%[1]s requested_mask="trace" denied_mask="trace" peer=%[1]s`, hex),
		fmt.Sprintf(`"DENIED" operation="%[1]s" info="%[1]s" class="%[1]s" profile="%[1]s" namespace=%[2]s pid=7 comm="%[1]s"`, "a\x1b[31m\u202e", hex),
	} {
		var e source.Entry
		if _, ok := e.Record.Parse([]byte(avc(time.Now(), record))); !ok {
			t.Fatal(record)
		}
		for _, where := range []Joined{{}, {Container: c, By: ByProcess}, {Candidates: []*Container{c, c}}} {
			ev := eventOf(&e)
			ev.Joined = where
			for _, text := range append(ev.Accesses(), ev.Sentence(), ev.Whose(), ev.Who()) {
				wantPrintable(t, text)
			}
			data, err := ev.JSON([]Reason{{PartReason: profiles.PartReason{Source: hostile, Profile: hostile, Rules: []profiles.UsedRule{{Rule: hostile}}}}})
			if err != nil {
				t.Fatal(err)
			}
			wantPrintable(t, strings.TrimSuffix(string(data), "\n"))
			var back struct{ Comm string }
			if err := json.Unmarshal(data, &back); err != nil {
				t.Errorf("%v in %s", err, data)
			}
			validate(t, data)
		}
	}
	containers, policies := Summarise([]*Group{{Event: &Event{Kind: Denied, Joined: Joined{Container: c}, Comm: hostile}, Count: 1}})
	for _, s := range append(containers, policies...) {
		wantPrintable(t, s.Of)
		data, err := s.JSON("container")
		if err != nil {
			t.Fatal(err)
		}
		wantPrintable(t, strings.TrimSuffix(string(data), "\n"))
		validate(t, data)
	}
}

func wantPrintable(t *testing.T, text string) {
	t.Helper()
	if strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("not printable: %q", text)
	}
}

func validate(t testing.TB, data []byte) {
	t.Helper()
	outputtest.Valid(t, Schema(), data)
}

func TestEndIsInTheSchema(t *testing.T) {
	for _, e := range []End{
		{Source: "kmsg"},
		{Source: "kmsg", Asked: true, Dead: errors.New("dead"), Lost: []source.Loss{{By: "the kernel", Records: 3, Unknown: true},
			{By: "the journal", Detail: "5 in all", Missing: 5, Unknown: true}}},
	} {
		data, err := e.JSON()
		if err != nil {
			t.Fatal(err)
		}
		validate(t, data)
	}
}

// Such records are not about an access that a rule allows or denies: nobody is asked why, and nobody counts denials.
func TestErrorsAndHintsAreNoDenials(t *testing.T) {
	m := newMachine(t)
	m.create("web-1", 101, "")
	now := time.Now()
	all, r := m.reads(logged(t,
		avc(now, `"ERROR" operation="change_hat" info="failed token match" error=-13 profile="web" pid=101 comm="cat" target="web//hat"`),
		avc(now, `"HINT" operation="exec" profile="web" name="/bin/id" pid=101 comm="cat"`),
	), nil, Query{})
	wantLines(t, "events", say(all),
		"error web-1: cat (101) tried to change into the hat web//hat: AppArmor had an error under web (failed token match)",
		"unknown web-1: cat (101) tried to execute /bin/id: what AppArmor did under web is not said")
	if r.Shown != 2 || r.Denials != 0 {
		t.Errorf("counted %+v", r)
	}
	got := asks{}
	for _, e := range all {
		Why(t.Context(), got, e)
		if len(e.Access) > 0 || !strings.Contains(e.Because, "is not about an access") {
			t.Errorf("%s is said to be about %q, because %q", e.Kind, e.Accesses(), e.Because)
		}
	}
	if len(got) > 0 {
		t.Errorf("it is asked why of %v", got)
	}
}

// asks answers why by the access, and counts.
type asks map[string]int

func (a asks) Why(_ context.Context, profile string, asked meaning.Access) (profiles.PartReason, error) {
	a[profile+" "+access.Format(asked)]++
	return profiles.PartReason{}, errors.New("the text of " + profile + " is not known")
}

func TestWhyIsAskedOfDenials(t *testing.T) {
	for record, want := range map[string]asks{
		fmt.Sprintf(readShadow, 7): {"web owner read /etc/shadow": 1},
		`"STATUS" operation="profile_replace" profile="unconfined" name="web" pid=5 comm="apparmor_parser"`:                                                                       {},
		`"DENIED" operation="open" class="file" namespace="root//lxd" profile="web" name="/a" pid=7 comm="x" requested_mask="w" denied_mask="w" fsuid=0 ouid=0`:                   {},
		`"DENIED" operation="open" class="file" info="Failed name lookup - disconnected path" error=-13 profile="web" name="a" pid=7 comm="x" requested_mask="w" denied_mask="w"`: {},
	} {
		var e source.Entry
		if _, ok := e.Record.Parse([]byte(avc(time.Now(), record))); !ok {
			t.Fatal(record)
		}
		got := asks{}
		Why(t.Context(), got, eventOf(&e))
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: asks %v, want %v", record, got, want)
		}
	}
}
