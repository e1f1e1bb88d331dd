package agent

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
)

// apiServer is as much of an API server as the agent talks to.
type apiServer struct {
	*httptest.Server
	t   *testing.T
	dir string // of the service account

	mu      sync.Mutex
	token   string
	down    bool
	node    map[string]any
	events  []map[string]any
	patches []string
}

func newAPIServer(t *testing.T) *apiServer {
	t.Helper()
	s := &apiServer{t: t, dir: t.TempDir()}
	s.node = map[string]any{
		"metadata": map[string]any{"name": "n1", "uid": "u1", "labels": map[string]any{"a": "b"}},
		"status":   map[string]any{"runtimeHandlers": []any{map[string]any{"name": ""}}},
	}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	// As the kubelet has it: through a link that is swapped.
	for _, d := range []string{"..1"} {
		if err := os.Mkdir(filepath.Join(s.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(s.dir+"/..1/ca.crt", ca, 0o600), os.Symlink("..1", s.dir+"/..data"),
		os.Symlink("..data/ca.crt", s.dir+"/ca.crt"), os.Symlink("..data/token", s.dir+"/token")); err != nil {
		t.Fatal(err)
	}
	s.rotate("first")
	return s
}

// rotate gives the service account another token.
func (s *apiServer) rotate(token string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
	if err := os.WriteFile(s.dir+"/..1/token", []byte(token+"\n"), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *apiServer) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fail := func(code int, message string) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "message": message})
	}
	body, _ := io.ReadAll(r.Body)
	switch {
	case s.down:
		fail(http.StatusServiceUnavailable, "etcd is gone")
	case r.Header.Get("Authorization") != "Bearer "+s.token:
		fail(http.StatusUnauthorized, "Unauthorized")
	case r.Method == http.MethodGet && r.URL.Path == "/api/v1/nodes/n1":
		_ = json.NewEncoder(w).Encode(s.node)
	case r.Method == http.MethodPatch && r.URL.Path == "/api/v1/nodes/n1" && r.Header.Get("Content-Type") == mergePatch:
		s.patches = append(s.patches, string(body))
		var patch map[string]any
		if json.Unmarshal(body, &patch) != nil {
			fail(http.StatusBadRequest, "no JSON")
			return
		}
		merge(s.node, patch)
		_ = json.NewEncoder(w).Encode(s.node)
	case r.Method == http.MethodPatch && r.URL.Path == "/api/v1/nodes/n1/status" && r.Header.Get("Content-Type") == strategicPatch:
		s.patches = append(s.patches, string(body))
		var patch struct {
			Status struct {
				Conditions []map[string]any `json:"conditions"`
			} `json:"status"`
		}
		if json.Unmarshal(body, &patch) != nil || len(patch.Status.Conditions) != 1 {
			fail(http.StatusBadRequest, "no condition")
			return
		}
		s.node["status"].(map[string]any)["conditions"] = []any{patch.Status.Conditions[0]}
	case r.Method == http.MethodPost && r.URL.Path == "/api/v1/namespaces/default/events":
		var event map[string]any
		if json.Unmarshal(body, &event) != nil {
			fail(http.StatusBadRequest, "no JSON")
			return
		}
		s.events = append(s.events, event)
		w.WriteHeader(http.StatusCreated)
	default:
		fail(http.StatusForbidden, r.Method+" "+r.URL.Path+" is forbidden")
	}
}

// merge is RFC 7386.
func merge(into, patch map[string]any) {
	for key, value := range patch {
		below, is := value.(map[string]any)
		switch have, had := into[key].(map[string]any); {
		case value == nil:
			delete(into, key)
		case is && had:
			merge(have, below)
		case is:
			have = map[string]any{}
			merge(have, below)
			into[key] = have
		default:
			into[key] = value
		}
	}
}

func (s *apiServer) at(keys ...string) any {
	s.mu.Lock()
	defer s.mu.Unlock()
	var at any = s.node
	for _, key := range keys {
		m, _ := at.(map[string]any)
		at = m[key]
	}
	return at
}

func (s *apiServer) condition(key string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all, _ := s.node["status"].(map[string]any)["conditions"].([]any)
	if len(all) == 0 {
		return ""
	}
	word, _ := all[0].(map[string]any)[key].(string)
	return word
}

func (s *apiServer) reasons() (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.events {
		all = append(all, e["reason"].(string))
	}
	return all
}

// The Node is labelled when the kubelet lists the handler and a container's labels match, and says which policy is in force and
// what is wrong. Neither a server that is down nor a token that was replaced is the end of it.
func TestNode(t *testing.T) {
	s := newAPIServer(t)
	files, err := os.OpenRoot(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKube(s.URL, files)
	if err != nil {
		t.Fatal(err)
	}
	exam := ExamAnswer{Probed: []string{"containerd"}, Findings: []string{"something [x]"}}
	exams := 0
	child := func(context.Context, func(string), ...string) ([]byte, error) {
		exams++
		return json.Marshal(exam)
	}
	var log lines
	a := New(Options{Dir: t.TempDir(), Log: log.log})
	r := &Reporter{a, "node"}
	p := NewNode(a, "n1", "apparmor", k, child)
	act := func() error { return p.Act(t.Context(), r) }
	set := func(change func(*State)) { a.update(change) }

	set(func(s *State) {
		s.Policy = Policy{Known: true, Generation: 3, Digest: "sha256:abc", Last: &Apply{Time: time.Now(), Outcome: Applied, Generation: 3}}
	})
	if err := act(); err == nil || !strings.Contains(err.Error(), "lists no runtime handler apparmor") {
		t.Error(err)
	}
	if s.at("metadata", "labels", ReadyLabel) != "false" || s.condition("reason") != noHandler || s.at("metadata", "labels", "a") != "b" {
		t.Errorf("%v", s.node)
	}
	s.mu.Lock()
	s.node["status"].(map[string]any)["runtimeHandlers"] = []any{map[string]any{"name": ""}, map[string]any{"name": "apparmor"}}
	s.mu.Unlock()
	if err := act(); err != nil {
		t.Fatal(err)
	}
	if s.at("metadata", "labels", ReadyLabel) != "true" || s.at("metadata", "annotations", PolicyAnnotation) != "sha256:abc" ||
		s.condition("status") != "True" || !strings.Contains(s.condition("message"), "in containerd; something [x]") {
		t.Errorf("%v", s.node)
	}
	if got := s.reasons(); !slices.Equal(got, []string{"PolicyApplied"}) {
		t.Errorf("events %q", got)
	}
	before, examined := len(s.patches), exams
	if err := act(); err != nil || len(s.patches) != before || exams != examined {
		t.Errorf("where nothing is new: %v, %q, %d exams", err, s.patches[before:], exams-examined)
	}

	// A policy that is refused, with the server down and then another token.
	set(func(s *State) {
		s.Policy.Last = &Apply{Time: time.Now(), Outcome: Refused, Generation: 3, Errors: []string{"policy.yaml:1:1: no"}}
		s.Drift.Last = []Drifted{{Time: time.Now(), Profile: "web", What: "it was loaded with other content", Repaired: true}}
		s.Wiring = []Wiring{{Engine: "containerd", State: WiringLost, What: "gone"}}
	})
	s.mu.Lock()
	s.down = true
	s.mu.Unlock()
	if err := act(); err == nil || !strings.Contains(err.Error(), "503: etcd is gone") {
		t.Error(err)
	}
	s.mu.Lock()
	s.down = false
	s.mu.Unlock()
	s.rotate("second")
	if err := act(); err != nil {
		t.Fatal(err)
	}
	if s.at("metadata", "annotations", RefusedAnnotation) != "policy.yaml:1:1: no" || s.at("metadata", "annotations", PolicyAnnotation) != "sha256:abc" {
		t.Errorf("%v", s.node)
	}
	if got := s.reasons(); !slices.Equal(got, []string{"PolicyApplied", "PolicyRefused", "ProfileDrifted", "EngineWiring"}) {
		t.Errorf("events %q", got)
	}
	for _, e := range s.events {
		if about := e["involvedObject"].(map[string]any); about["name"] != "n1" || about["uid"] != "u1" {
			t.Errorf("event %v", e)
		}
	}
	if exams == examined {
		t.Error("after the wiring has changed nothing is examined")
	}

	// It is corrected, and then a ConfigMap cannot be read.
	set(func(s *State) {
		s.Policy.Last = &Apply{Time: time.Now(), Outcome: Unchanged, Generation: 3}
		s.Wiring = nil
	})
	if err := act(); err != nil || s.at("metadata", "annotations", RefusedAnnotation) != nil {
		t.Errorf("%v: %v", err, s.node)
	}
	heard := told(a.State())
	a.acted(ConfigMapName, errors.New("it has no policy.yaml"), 1)
	if told(a.State()) == heard {
		t.Error("that a ConfigMap cannot be read is not told")
	}
	heard = told(a.State())
	a.acted(ConfigMapName, errors.New("it has no policy.yaml"), 2)
	if told(a.State()) != heard {
		t.Error("each try is told")
	}
	if err := act(); err != nil || s.at("metadata", "annotations", RefusedAnnotation) != "it has no policy.yaml" ||
		!strings.HasSuffix(s.condition("message"), "; the policy as it is now is not in force: it has no policy.yaml; something [x]") {
		t.Errorf("%v: %v", err, s.node)
	}
	a.acted(ConfigMapName, nil, 0)

	// It is corrected, and then nothing starts.
	set(func(s *State) {
		s.Policy.Generation, s.Policy.Last = 4, &Apply{Time: time.Now(), Outcome: Applied, Generation: 4}
		s.Wiring = nil
	})
	exam = ExamAnswer{Failed: []string{"containerd: a throw-away container does not start [probe-failed]"}}
	for failed := 1; failed <= patientTrials; failed++ {
		p.(*nodePart).since = time.Now().Add(-patientFor)
		if s.at("metadata", "labels", ReadyLabel) != "true" || s.condition("status") != "True" {
			t.Errorf("after %d failed trials: %v", failed-1, s.node)
		}
		if err := act(); err == nil || !strings.Contains(err.Error(), "does not start") {
			t.Error(err)
		}
	}
	if s.at("metadata", "annotations", RefusedAnnotation) != nil || s.at("metadata", "labels", ReadyLabel) != "false" ||
		s.condition("status") != "False" || s.condition("reason") != notConfined {
		t.Errorf("%v", s.node)
	}

	// Events are bounded.
	for i := range 15 {
		set(func(s *State) {
			s.Drift.Last = []Drifted{{Time: time.Unix(int64(i), 0), Profile: "web", Repaired: true}}
		})
		_ = act()
	}
	if n := len(s.reasons()); n > mostEvents {
		t.Errorf("%d events", n)
	}
}

// Events tell of what is refused, by kinds, and of the same kind not again and again. An exam is made anew when it is old, and when
// something was refused by a fault of the node's, but not for each that is.
func TestNodeHearsOfRefusals(t *testing.T) {
	n := newNoding(t, "sha256:abc")
	exams, part := 0, n.part.(*nodePart)
	n.exam = func() ExamAnswer { exams++; return ExamAnswer{Probed: []string{"containerd"}} }
	n.inForce(1, "sha256:abc")
	act := func(wantExams int, wantEvents ...string) {
		t.Helper()
		n.mu.Lock()
		n.events = nil
		n.mu.Unlock()
		before := exams
		if err := n.act(); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range n.events {
			if e["type"] != "Warning" || e["reason"] != "ContainerRefused" {
				t.Errorf("event %v", e)
			}
			got = append(got, e["message"].(string))
		}
		if !slices.Equal(got, wantEvents) || exams-before != wantExams {
			t.Errorf("%d exams, and the events %q", exams-before, got)
		}
	}
	at := time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)
	refused := func(all ...Refusal) { n.a.update(func(s *State) { s.Refused = all }) }
	pods := Refusal{"containerd", "create", string(notice.UnknownPolicy), 1, at}
	act(1)
	refused(pods)
	act(0, "containerd: create was refused once: the container asks for a policy that does not exist [unknown-policy]; oci-apparmor log on the node names the containers")
	pods.Count = 4
	refused(pods)
	act(0)
	nodes := Refusal{"docker", "exec", string(notice.Load), 2, at}
	part.at = time.Now().Add(-examRest)
	refused(pods, nodes)
	act(1, "docker: exec was refused 2 times: a profile could not be loaded or checked [load]; oci-apparmor log on the node names the containers")
	pods.Count, nodes.Count = 5, 3
	refused(pods, nodes)
	act(0)
	before := time.Now().Add(-moreRefusals).UTC()
	part.refused[part.toldOf(pods)].at = before
	act(0, "containerd: create was refused 4 times since "+before.Format(time.TimeOnly)+" UTC: the container asks for a policy that does not exist [unknown-policy]; oci-apparmor log on the node names the containers")
	part.at = time.Now().Add(-examRest)
	act(1)
	act(0)
	part.at = time.Now().Add(-examAge)
	act(1)

	// More kinds than there may be events of wait for their time.
	more := []Refusal{pods, nodes}
	for _, r := range notice.Reasons[:2*mostRefusals] {
		more = append(more, Refusal{"podman", "create", string(r.Reason), 1, at})
	}
	refused(more...)
	part.faults = 100
	for i := range part.refused {
		part.refused[i].at = before
	}
	n.events = nil
	if err := n.act(); err != nil || len(n.events) != mostRefusals {
		t.Errorf("%v: %d events at once", err, len(n.events))
	}
	for i := range part.refused {
		part.refused[i].at = before
	}
	n.events, part.sent = nil, nil
	if err := n.act(); err != nil || len(n.events) != mostRefusals {
		t.Errorf("%v: then %d events", err, len(n.events))
	}
}

// The part acts an hour after the last exam, a minute after it where refusals were by the node's fault, and when an event is due. While it
// fails and tries again, refusals do not have it act.
func TestNodeActsWhenItIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{Dir: t.TempDir(), Log: func(string) {}})
		p := NewNode(a, "n1", "apparmor", nil, nil).(*nodePart)
		now := time.Now()
		p.at = now
		acts := make(chan time.Duration, 100)
		ctx, cancel := context.WithCancel(t.Context())
		go p.Watch(ctx, func() { acts <- time.Since(now) })
		defer synctest.Wait()
		defer cancel()
		within := func(d time.Duration) (all []time.Duration) {
			time.Sleep(d)
			synctest.Wait()
			for len(acts) > 0 {
				all = append(all, (<-acts).Round(time.Second))
			}
			return all
		}
		change := func(failing bool, refused ...Refusal) {
			p.mu.Lock()
			p.failing = failing
			p.mu.Unlock()
			a.update(func(s *State) { s.Refused = refused })
		}
		want := func(what string, got []time.Duration, want ...time.Duration) {
			t.Helper()
			if !slices.Equal(got, want) {
				t.Errorf("%s: it acts after %v, want %v", what, got, want)
			}
		}
		want("at the start", within(time.Second), 0)
		pod := Refusal{"docker", "create", string(notice.UnknownPolicy), 1, now}
		change(false, pod)
		want("a refusal", within(time.Second), time.Second)
		p.refused = []toldRefusal{{pod, time.Now()}}
		pod.Count = 2
		change(false, pod)
		want("another one", within(examRest), []time.Duration{}...)
		want("when an event may tell of it", within(moreRefusals-examRest+time.Second), 2*time.Second+moreRefusals)
		p.refused = []toldRefusal{{pod, time.Now()}}
		p.at = time.Now()
		at := time.Since(now).Round(time.Second)
		node := Refusal{"docker", "create", string(notice.Load), 1, now}
		p.refused = append(p.refused, toldRefusal{node, time.Now()})
		change(false, pod, node)
		want("by the node's fault", within(examRest+time.Second), at+examRest)
		node.Count = 2
		change(true, pod, node)
		want("while it fails", within(10*examRest), []time.Duration{}...)
		p.faults, p.at = 2, time.Now()
		at = time.Since(now).Round(time.Second)
		p.refused = []toldRefusal{{pod, time.Now()}, {node, time.Now()}}
		change(false, pod, node)
		want("later", within(examAge+time.Second), at+examAge)
	})
}

// noding is the part that tells the cluster, with a server to tell and exams that a test decides.
type noding struct {
	*apiServer
	a    *Agent
	part Part
	exam func() ExamAnswer
}

// newNoding returns one whose Node is ready, with the policy of a digest, by what an earlier agent has told. Exams pass.
func newNoding(t *testing.T, digest string) *noding {
	t.Helper()
	n := &noding{apiServer: newAPIServer(t), exam: func() ExamAnswer { return ExamAnswer{Probed: []string{"containerd"}} }}
	meta := n.node["metadata"].(map[string]any)
	meta["labels"].(map[string]any)[ReadyLabel] = "true"
	meta["annotations"] = map[string]any{PolicyAnnotation: digest}
	n.node["status"] = map[string]any{"runtimeHandlers": []any{map[string]any{"name": "apparmor"}},
		"conditions": []any{map[string]any{"type": ReadyCondition, "status": "True", "reason": isReady}}}
	files, err := os.OpenRoot(n.dir)
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKube(n.URL, files)
	if err != nil {
		t.Fatal(err)
	}
	n.a = New(Options{Dir: t.TempDir(), Log: func(line string) { t.Log(line) }})
	n.part = NewNode(n.a, "n1", "apparmor", k, func(context.Context, func(string), ...string) ([]byte, error) { return json.Marshal(n.exam()) })
	return n
}

func (n *noding) act() error { return n.part.Act(n.t.Context(), &Reporter{n.a, nodeName}) }

func (n *noding) inForce(generation uint64, digest string) {
	n.a.update(func(s *State) { s.Policy = Policy{Known: true, Generation: generation, Digest: digest} })
}

func (n *noding) digest() any { return n.at("metadata", "annotations", PolicyAnnotation) }
func (n *noding) label() any  { return n.at("metadata", "labels", ReadyLabel) }

// unready returns the patches that have set the Node to not ready, or that have removed something.
func (n *noding) unready() (all []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, p := range n.patches {
		if strings.Contains(p, `"false"`) || strings.Contains(p, `"False"`) || strings.Contains(p, "null") {
			all = append(all, p)
		}
	}
	return all
}

// An agent that starts tells nothing before it knows which policy is in force, and then sees it without a further change: a Node that was
// ready stays so, with the digest of its policy, while the agent is restarted.
func TestNodeOverRestart(t *testing.T) {
	n := newNoding(t, "sha256:abc")
	if err := n.act(); err != nil || len(n.patches) > 0 {
		t.Errorf("before the store was read: %v, %q", err, n.patches)
	}
	n.a.Add(n.part, Pace{})
	n.a.Add(acting{act: func(r *Reporter) error {
		r.Update(func(s *State) { s.Policy = Policy{Known: true, Generation: 3, Digest: "sha256:abc"} })
		return nil
	}}, Pace{})
	end := start(t, n.a)
	defer end()
	eventually(t, "the policy in force is told", func() bool { return strings.HasPrefix(n.condition("message"), "generation 3 ") })
	end()
	if n.label() != "true" || n.digest() != "sha256:abc" || len(n.unready()) > 0 {
		t.Errorf("%v, by %q", n.node, n.patches)
	}
	n.inForce(0, "")
	if err := n.act(); err != nil || n.label() != "false" || n.digest() != nil || n.condition("reason") != noPolicy {
		t.Errorf("without a policy: %v, %v", err, n.node)
	}
}

// A node that is ready stays so until three trials in a row have failed, whatever is the reason. A policy that is gone is told at once.
func TestNodeIsPatient(t *testing.T) {
	handlers := func(names ...string) func(n *noding) {
		return func(n *noding) {
			var all []any
			for _, name := range names {
				all = append(all, map[string]any{"name": name})
			}
			n.mu.Lock()
			defer n.mu.Unlock()
			n.node["status"].(map[string]any)["runtimeHandlers"] = all
		}
	}
	exam := func(answer ExamAnswer) func(n *noding) {
		return func(n *noding) {
			n.exam = func() ExamAnswer { return answer }
			n.inForce(n.a.State().Policy.Generation+1, "sha256:one") // of which an exam is made
		}
	}
	passes := exam(ExamAnswer{Probed: []string{"containerd"}})
	for name, c := range map[string]struct {
		fails, works func(n *noding)
		reason       string
	}{
		"the kubelet lists another handler": {handlers("", "runc"), handlers("", "apparmor"), noHandler},
		"a container has no label":          {exam(ExamAnswer{Failed: []string{"no label"}}), passes, notConfined},
		"no container could be started":     {exam(ExamAnswer{}), passes, notConfined},
		"the policy cannot be read": {func(n *noding) {
			n.a.update(func(s *State) { s.Policy = Policy{} })
			n.a.acted(driftName, errors.New("the disk is gone"), 1)
		}, func(n *noding) {
			n.inForce(1, "sha256:one")
			n.a.acted(driftName, nil, 0)
		}, unread},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNoding(t, "sha256:one")
			n.inForce(1, "sha256:one")
			if err := n.act(); err != nil {
				t.Fatal(err)
			}
			fail := func(times int) {
				t.Helper()
				for failed := 1; failed <= times; failed++ {
					n.part.(*nodePart).since = time.Now().Add(-patientFor)
					if err := n.act(); err == nil {
						t.Error("a trial that failed is not tried again")
					}
					if failed < patientTrials && (n.label() != "true" || n.digest() != "sha256:one" || n.condition("status") != "True") {
						t.Errorf("after %d failed trials: %v", failed, n.node)
					}
				}
			}
			c.fails(n)
			fail(patientTrials - 1)
			c.works(n)
			if err := n.act(); err != nil {
				t.Error(err)
			}
			if done := n.unready(); len(done) > 0 {
				t.Errorf("it was told %q", done)
			}
			c.fails(n)
			fail(patientTrials)
			if n.label() != "false" || n.condition("status") != "False" || n.condition("reason") != c.reason {
				t.Errorf("after %d failed trials: %v", patientTrials, n.node)
			}
		})
	}
}

// What is told after an exam is what is in force then, of which an exam is made as well.
func TestNodeWhileExamined(t *testing.T) {
	n := newNoding(t, "sha256:one")
	exams := 0
	n.exam = func() ExamAnswer {
		if exams++; exams == 1 {
			n.inForce(2, "sha256:two")
		}
		return ExamAnswer{Probed: []string{"containerd"}}
	}
	n.inForce(1, "sha256:one")
	if err := n.act(); err != nil {
		t.Fatal(err)
	}
	if n.digest() != "sha256:two" || n.label() != "true" || !strings.HasPrefix(n.condition("message"), "generation 2 ") || exams != 2 {
		t.Errorf("after %d exams: %v", exams, n.node)
	}
}

// Another server is not talked to, and what is no address of one is refused.
func TestKube(t *testing.T) {
	s, other := newAPIServer(t), newAPIServer(t)
	files, err := os.OpenRoot(s.dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.dir+"/..1/ca.crt", []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	k, err := NewKube(other.URL, files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.node(t.Context(), "n1"); err == nil || !strings.Contains(err.Error(), "certificates") {
		t.Error(err)
	}
	stranger := httptest.NewUnstartedServer(http.NotFoundHandler())
	stranger.StartTLS()
	defer stranger.Close()
	for _, bad := range []string{"http://x", "x", "https://", "https://x/y", "https://x?y", "https://u:p@x"} {
		if _, err := NewKube(bad, files); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := NewKube("", files); err == nil {
		t.Error("outside of a pod there is a server")
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "fd00::1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	if k, err := NewKube("", files); err != nil || k.server.String() != "https://[fd00::1]:443" {
		t.Error(k, err)
	}
}
