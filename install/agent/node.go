package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oci-apparmor/oci-apparmor/hook/notice"
)

// The keys by which a Node says how it stands. Their prefix is a name that belongs to the project, as Kubernetes asks for:
// kubernetes.io and k8s.io are Kubernetes' own, and a key without a prefix is the user's.
const (
	ReadyLabel        = "oci-apparmor.github.io/ready"          // "true" or "false"
	PolicyAnnotation  = "oci-apparmor.github.io/policy"         // the digest of the policy in force, as State.Policy has it
	RefusedAnnotation = "oci-apparmor.github.io/policy-refused" // why the policy as it is now is not in force; none if it is
	ReadyCondition    = "OCIAppArmorReady"
)

// NodePace is how the Node follows the state.
var NodePace = Pace{Quiet: time.Second, Most: 5 * time.Second, Rest: 2 * time.Second}

// Bounds of events: in a row, and after how long one more.
const (
	mostEvents = 10
	moreEvents = time.Minute
)

// Bounds of events that tell of refusals, whose number workloads decide: in moreRefusals, and after how long one more tells of the same kind.
// A pod that is refused is started again and again.
const (
	mostRefusals = 5
	moreRefusals = 10 * time.Minute
)

// An exam is made anew after examAge, because an engine may break in ways of which nothing tells. It is made anew before that where a
// container was refused by a fault of the node's, but not more often than examRest.
const (
	examAge  = time.Hour
	examRest = time.Minute
)

// nodePart tells the cluster how the node stands.
type nodePart struct {
	name, handler string
	agent         *Agent
	kube          *Kube
	child         Child

	exam    *ExamAnswer // the last one
	of      string      // what it was an exam of
	failed  int         // trials that failed, one after the other
	since   time.Time   // when the first of them did
	told    State       // of which events were made
	begun   bool        // told counts
	pending []pendingEvent
	sent    []time.Time

	mu      sync.Mutex    // of what Watch sees of it
	failing bool          // the last Act has failed, and is tried again
	at      time.Time     // when the last exam was made
	faults  uint64        // how many refusals were by the node's fault then
	refused []toldRefusal // of which there are events, by kinds
}

// toldRefusal is a kind of refusals, with the number that events tell of, and when the last one was made.
type toldRefusal struct {
	Refusal
	at time.Time
}

type pendingEvent struct{ kind, reason, message string }

// How many trials in a row must fail before a node that was ready is not, and for how long: an engine that is upgraded is down for a while.
const (
	patientTrials = 3
	patientFor    = time.Minute
)

// NewNode returns the part that tells the cluster how the Node of this name stands, of which the runtime handler is ours. a
// is the agent that the part is added to.
func NewNode(a *Agent, name, handler string, kube *Kube, child Child) Part {
	return &nodePart{name: name, handler: handler, agent: a, kube: kube, child: child}
}

// Names of parts: the one that tells the cluster, the one that applies the policy, and the one that looks after the kernel's profiles.
const (
	nodeName   = "node"
	policyName = "policy"
	driftName  = "profiles"
)

// ConfigMapName is the name of a part that brings the policy's files from the cluster. Where it fails, the files on the node's disk are
// not what the cluster has, and the Node says so.
const ConfigMapName = "configmap"

func (*nodePart) Name() string { return nodeName }

func (p *nodePart) Watch(ctx context.Context, changed func()) error {
	heard := p.agent.Changed()
	changed() // the first Act may have seen what was before
	for last := told(p.agent.State()); ; {
		wait := p.due(p.agent.State(), time.Now())
		if wait <= 0 {
			changed()
			wait = examRest // Act may take a while until it is not due any more
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		case <-heard:
			timer.Stop()
		}
		if now := told(p.agent.State()); now != last {
			last = now
			changed()
		}
	}
}

// due returns after how long Act is to be called although nothing else changes: to make an exam anew, or to tell of refusals. After an Act
// that has failed that is not waited for, since it is called again anyway: who is refused all the time would have it called all the time.
func (p *nodePart) due(s State, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failing || p.at.IsZero() {
		return examAge
	}
	next := p.at.Add(examAge)
	if nodeFaults(s) > p.faults {
		next = p.at.Add(examRest)
	}
	for _, f := range s.Refused {
		if at, more := p.tells(f); more > 0 && at.Before(next) {
			next = at
		}
	}
	return next.Sub(now)
}

// tells returns when there may be an event of refusals of a kind, and of how many it tells. The caller holds p.mu.
func (p *nodePart) tells(now Refusal) (at time.Time, more uint64) {
	more = now.Count
	if i := p.toldOf(now); i >= 0 {
		more -= min(more, p.refused[i].Count)
		at = p.refused[i].at.Add(moreRefusals)
	}
	var latest []time.Time
	for _, f := range p.refused {
		latest = append(latest, f.at)
	}
	slices.SortFunc(latest, func(a, b time.Time) int { return b.Compare(a) })
	if len(latest) >= mostRefusals {
		if free := latest[mostRefusals-1].Add(moreRefusals); free.After(at) {
			at = free
		}
	}
	return at, more
}

func (p *nodePart) toldOf(f Refusal) int {
	return slices.IndexFunc(p.refused, func(one toldRefusal) bool { return one.same(f) })
}

// told returns what of a state is told to the cluster. How this part itself fares is not, nor how often others have tried. Of refusals due
// tells.
func told(s State) string {
	s.Refused = nil
	var failed []PartState
	for _, p := range s.Parts {
		if p.Name != nodeName && p.Problem != "" {
			failed = append(failed, PartState{Name: p.Name, Problem: p.Problem})
		}
	}
	s.Parts = failed
	b, err := json.Marshal(s)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// ExamAnswer is what the child says that examines the node and starts a container on it.
type ExamAnswer struct {
	Probed   []string `json:"probed"`   // engines in which a container and what was executed in it had the right label
	Failed   []string `json:"failed"`   // sentences: why others had not
	Findings []string `json:"findings"` // the doctor's errors and warnings, the worst first
	Errors   int      `json:"errors"`   // how many of them are errors
}

// Act tells the cluster what the state is. Before the store has been read, as when the agent starts, it leaves what the Node says.
func (p *nodePart) Act(ctx context.Context, r *Reporter) error {
	err := p.act(ctx, r)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failing = err != nil
	return err
}

func (p *nodePart) act(ctx context.Context, r *Reporter) error {
	s := r.State()
	if !s.Policy.Known && s.part(driftName).Problem == "" {
		return nil // Watch hears when it is
	}
	p.note(s)
	if s.Policy.Known {
		var err error
		if s, err = p.examine(ctx, r); err != nil {
			err = fmt.Errorf("whether containers are confined cannot be told: %w", err)
			if n, unknown := p.kube.node(ctx, p.name); unknown == nil {
				err = errors.Join(err, p.send(ctx, n.Metadata.UID)) // what has happened may be why
			}
			return err
		}
		p.note(s)
	}
	n, err := p.kube.node(ctx, p.name)
	if err != nil {
		return fmt.Errorf("the Node %s: %w", p.name, err)
	}
	ready, reason, message := p.verdict(s, &n)
	var failed error
	switch reason {
	case isReady, noPolicy:
		p.failed = 0
	default: // what ends this may be something of which nothing tells, as the kubelet asks the engine again: the next trial is a new one
		if p.failed++; p.failed == 1 {
			p.since = time.Now()
		}
		p.exam = nil
		failed = errors.New(message)
	}
	// A kubelet that is restarted ends pods whose node has lost the label. Trials may fail as the engine is restarted just then.
	wait := failed != nil && n.Metadata.Labels[ReadyLabel] == "true" && (p.failed < patientTrials || time.Since(p.since) < patientFor)
	if err := p.tell(ctx, s, &n, wait, ready, reason, message); err != nil {
		return fmt.Errorf("the Node %s: %w", p.name, err)
	}
	if err := p.send(ctx, n.Metadata.UID); err != nil {
		return fmt.Errorf("events of the Node %s: %w", p.name, err)
	}
	return failed
}

// mostExams is how many exams one Act makes, because what decides their outcome has changed meanwhile.
const mostExams = 2

// examine makes an exam where something has changed that decides its outcome, or where the last one is old, as it starts a container. It
// returns the state after it.
func (p *nodePart) examine(ctx context.Context, r *Reporter) (State, error) {
	for range mostExams {
		s := r.State()
		of, faults, age := decides(s), nodeFaults(s), time.Since(p.at)
		if p.exam != nil && p.of == of && age < examAge && (faults <= p.faults || age < examRest) {
			break
		}
		exam := new(ExamAnswer)
		if err := ask(ctx, p.child, r, exam, "exam"); err != nil {
			return State{}, err
		}
		p.exam, p.of = exam, of
		p.mu.Lock()
		p.at, p.faults = time.Now(), faults
		p.mu.Unlock()
	}
	return r.State(), nil
}

// decides returns what of a state decides the outcome of an exam.
func decides(s State) string {
	of := fmt.Sprint(s.Policy.Generation)
	for _, w := range s.Wiring {
		of += " " + w.Engine + "=" + w.State
	}
	return of
}

// nodeFaults returns how many refusals of a state were by a fault of the node's.
func nodeFaults(s State) (n uint64) {
	for _, f := range s.Refused {
		if notice.Reason(f.Reason).ByNode() {
			n += f.Count
		}
	}
	return n
}

// The reasons of the condition.
const (
	isReady     = "Confines"
	noPolicy    = "NoPolicy"
	unread      = "PolicyUnread"
	noHandler   = "NoRuntimeHandler"
	notConfined = "ProbeFailed"
)

// verdict says whether the node confines as decided.
func (p *nodePart) verdict(s State, n *kubeNode) (ready bool, reason, message string) {
	switch {
	case !s.Policy.Known:
		return false, unread, "which policy is in force cannot be told: " + s.part(driftName).Problem
	case s.Policy.Generation == 0:
		return false, noPolicy, "no policy is in force"
	case len(n.Status.RuntimeHandlers) > 0 && !slices.ContainsFunc(n.Status.RuntimeHandlers, func(h struct {
		Name string `json:"name"`
	}) bool {
		return h.Name == p.handler
	}):
		return false, noHandler, fmt.Sprintf("the kubelet lists no runtime handler %s: run oci-apparmor install, and restart the engine",
			p.handler)
	case len(p.exam.Failed) > 0:
		return false, notConfined, p.exam.Failed[0]
	case len(p.exam.Probed) == 0:
		return false, notConfined, "no throw-away container could be started"
	}
	message = fmt.Sprintf("generation %d of the policy is in force; a container and what was executed in it had the right label in %s",
		s.Policy.Generation, strings.Join(p.exam.Probed, ", "))
	if why := refusal(s); why != "" {
		message += "; the policy as it is now is not in force: " + why
	}
	if len(s.Drift.Standing) > 0 {
		message += "; profiles with other content than the policy's: " + s.Drift.Standing[0].Profile
		if more := len(s.Drift.Standing) - 1; more > 0 {
			message += fmt.Sprintf(" and %d more", more)
		}
	}
	for i, f := range p.exam.Findings {
		if i == 3 {
			message += fmt.Sprintf("; and %d more findings of oci-apparmor doctor", len(p.exam.Findings)-i)
			break
		}
		message += "; " + f
	}
	return true, isReady, message
}

// refusal returns why the policy as it is now is not in force, or an empty string if it is: it does not reach the node's disk, is
// refused, or cannot be applied.
func refusal(s State) string {
	if why := s.part(ConfigMapName).Problem; why != "" {
		return why
	}
	if l := s.Policy.Last; l != nil && (l.Outcome == Refused || l.Outcome == Failed) && len(l.Errors) > 0 {
		return l.Errors[0]
	}
	return s.part(policyName).Problem
}

// tell changes the Node where it says something else. With wait it leaves as it is whether the node is ready, and the digest of a policy
// that cannot be read.
func (p *nodePart) tell(ctx context.Context, s State, n *kubeNode, wait, ready bool, reason, message string) error {
	word, digest := map[bool]string{true: "true", false: "false"}[ready], s.Policy.Digest
	if wait {
		word = n.Metadata.Labels[ReadyLabel]
		if !s.Policy.Known {
			digest = n.Metadata.Annotations[PolicyAnnotation]
		}
	}
	labels := differing(n.Metadata.Labels, map[string]string{ReadyLabel: word})
	annotations := differing(n.Metadata.Annotations, map[string]string{PolicyAnnotation: digest, RefusedAnnotation: refusal(s)})
	if len(labels)+len(annotations) > 0 {
		if err := p.kube.mark(ctx, p.name, labels, annotations); err != nil {
			return err
		}
	}
	if wait {
		return nil
	}
	now := time.Now().UTC().Format(time.RFC3339)
	c := kubeCondition{Type: ReadyCondition, Status: map[bool]string{true: "True", false: "False"}[ready], Reason: reason,
		Message: clean(message), LastHeartbeatTime: now, LastTransitionTime: now}
	for _, was := range n.Status.Conditions {
		if was.Type != c.Type {
			continue
		}
		if was.Status == c.Status && was.Reason == c.Reason && was.Message == c.Message {
			return nil
		}
		if was.Status == c.Status {
			c.LastTransitionTime = was.LastTransitionTime
		}
	}
	return p.kube.condition(ctx, p.name, c)
}

// differing returns what is to be set to have the values that are wanted. An empty value is one that is to be gone.
func differing(have, want map[string]string) map[string]*string {
	set := make(map[string]*string)
	for key, value := range want {
		is, there := have[key]
		switch {
		case value == "" && there:
			set[key] = nil
		case value != "" && is != value:
			set[key] = &value
		}
	}
	return set
}

// note adds the events of what is new in the state.
func (p *nodePart) note(s State) {
	was := p.told
	first := !p.begun
	p.told, p.begun = s, true
	add := func(kind, reason, message string) (added bool) {
		if len(p.pending) >= mostEvents {
			return false
		}
		p.pending = append(p.pending, pendingEvent{kind, reason, clean(message)})
		return true
	}
	if l := s.Policy.Last; l != nil && (was.Policy.Last == nil || !l.Time.Equal(was.Policy.Last.Time)) {
		switch l.Outcome {
		case Applied:
			add("Normal", "PolicyApplied", fmt.Sprintf("generation %d is in force, %s", l.Generation, s.Policy.Digest))
		case Refused, Failed:
			if last := was.Policy.Last; last == nil || !slices.Equal(last.Errors, l.Errors) {
				add("Warning", "Policy"+strings.ToUpper(string(l.Outcome[:1]))+string(l.Outcome[1:]), strings.Join(l.Errors, "; "))
			}
		}
	}
	if first {
		return // what was found before the agent's first look is no news
	}
	for _, d := range s.Drift.Last {
		if slices.ContainsFunc(was.Drift.Last, func(o Drifted) bool { return o == d }) {
			continue
		}
		does := d.Problem
		if d.Repaired {
			does = "the policy's has been loaded again"
		}
		add("Warning", "ProfileDrifted", fmt.Sprintf("profile %s: %s; %s", d.Profile, d.What, does))
	}
	for _, w := range s.Wiring {
		at := slices.IndexFunc(was.Wiring, func(o Wiring) bool { return o.Engine == w.Engine })
		if w.State != WiringKept && (at < 0 || was.Wiring[at].State != w.State) {
			add("Warning", "EngineWiring", fmt.Sprintf("%s: %s: %s", w.Engine, w.State, w.What))
		}
	}
	p.noteRefused(s, time.Now(), add)
}

// noteRefused adds events of what was refused. One tells of all of a kind since the one before.
func (p *nodePart) noteRefused(s State, now time.Time, add func(kind, reason, message string) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range s.Refused {
		at, more := p.tells(f)
		if more == 0 || at.After(now) {
			continue
		}
		times, since, i := "once", "", p.toldOf(f)
		if more > 1 {
			times = fmt.Sprintf("%d times", more)
		}
		if i >= 0 {
			since = " since " + p.refused[i].at.UTC().Format(time.TimeOnly) + " UTC"
		}
		if !add("Warning", "ContainerRefused", fmt.Sprintf("%s: %s was refused %s%s: %s [%s]; oci-apparmor log on the node names the containers", f.Engine,
			f.Command, times, since, notice.Reason(f.Reason).Means(), f.Reason)) {
			return // it is told when it can be
		}
		if i >= 0 {
			p.refused = slices.Delete(p.refused, i, i+1)
		}
		p.refused = append(p.refused, toldRefusal{f, now})
	}
}

// send makes the events that are due. Those that come too fast wait, and then the oldest are kept.
func (p *nodePart) send(ctx context.Context, uid string) error {
	for len(p.pending) > 0 {
		now := time.Now()
		p.sent = slices.DeleteFunc(p.sent, func(at time.Time) bool { return now.Sub(at) > mostEvents*moreEvents })
		if len(p.sent) >= mostEvents && now.Sub(p.sent[len(p.sent)-1]) < moreEvents {
			p.pending = nil // the state and the log have them
			return nil
		}
		e := p.pending[0]
		if err := p.kube.event(ctx, p.name, uid, e.kind, e.reason, e.message); err != nil {
			return err
		}
		p.sent = append(p.sent, now)
		p.pending = p.pending[1:]
	}
	return nil
}
