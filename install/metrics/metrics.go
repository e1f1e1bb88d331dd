// Package metrics tells Prometheus how AppArmor stands on a node, and what the programs on it have done. It makes metrics of
// the counters of package counts, of package status, and of the policy in force. The agent serves them, and the command
// status writes them into a file for a node that has no agent: names and types are the same.
//
// It changes nothing, and decides nothing.
package metrics

import (
	"cmp"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/oci-apparmor/oci-apparmor/hook/counts"
	"github.com/oci-apparmor/oci-apparmor/hook/version"
	"github.com/oci-apparmor/oci-apparmor/install/status"
	"github.com/oci-apparmor/oci-apparmor/policy/audit/source"
	"github.com/oci-apparmor/oci-apparmor/policy/kernel"
)

// prefix is in front of all names.
const prefix = "oci_apparmor_"

// Node is what metrics are made of.
type Node struct {
	Counts *counts.Table
	State  *status.Node
	Detect func() kernel.Readiness
	Lost   func() (records uint32, known bool) // audit records that the kernel has dropped; nil if nobody knows
	Agent  func() Agent                        // what an agent knows; nil without one

	mu       sync.Mutex
	profiles profilesSeen
}

// Agent is what only an agent knows.
type Agent struct {
	Applied  bool      // it has applied the policy, or tried
	Success  bool      // the last time, it was put in force or was in force already
	At       time.Time // when that was
	Wirings  map[string]bool
	Standing int // profiles that have drifted and were not put right
}

// NewNode returns a node without an agent. run is the directory of the counters: /run/oci-apparmor.
func NewNode(state *status.Node, detect func() kernel.Readiness, run string) *Node {
	return &Node{Counts: counts.New(filepath.Join(run, filepath.Base(counts.Path))), State: state, Detect: detect, Lost: kernelLost}
}

func kernelLost() (uint32, bool) {
	s, err := source.ReadStatus()
	return s.Lost, err == nil
}

// Row is a metric: its name, its kind (counter, gauge or histogram), its labels, and what it means.
type Row struct {
	Name   string
	Kind   string
	Labels []string
	Help   string
}

// The metrics that are not counters of package counts. A new one is a row here, the line that sets it, and a row in
// install/README.md, which a test compares.
var (
	buildInfo  = gauge("build_info", "The version of the program that tells these metrics.", "version")
	ready      = gauge("enforcing", "Whether AppArmor is on in this kernel, and enforces what profiles deny: 1 or 0.")
	containers = gauge("containers", "Containers on the node by their engine and by how they are confined: the verdicts of "+
		"oci-apparmor status.", "engine", "state")
	recorded   = gauge("recorded_policies", "Policies that are recorded now: containers of them that start run under a profile that denies nothing.")
	generation = gauge("policy_generation", "The number of the policy in force. 0 if there is none.")
	policyInfo = gauge("policy_info", "The policy in force, by a hash of it as it was written: nodes with the same files have the same.",
		"digest")
	appliedAt    = gauge("policy_applied_timestamp_seconds", "When the policy in force was put in force, in seconds since 1970.")
	profilesBy   = gauge("policy_profiles", "Profiles of the policy in force by how the kernel has them. One that is missing is loaded by the next start that needs it.", "state")
	kernelLoaded = gauge("kernel_profiles", "Profiles that the kernel holds, of whomever, by their mode.", "mode")
	lastSuccess  = gauge("last_apply_success", "Whether the agent's last apply of the policy went well: 1 or 0. Not there before it has made one.")
	lastAt       = gauge("last_apply_timestamp_seconds", "When the agent's last apply of the policy ended, in seconds since 1970.")
	wired        = gauge("engine_wired", "Whether an engine that oci-apparmor install has wired still comes to oci-apparmor: 1 or 0.", "engine")
	standing     = gauge("drifted_profiles", "Profiles that the agent found drifted and could not put right.")
	auditLost    = Row{prefix + "audit_records_lost_total", counter, nil, "Audit records that the kernel has dropped since the boot: denials may be " +
		"among them."}
	countsLost = Row{prefix + "counts_lost_total", counter, nil, "Counts for which the table of counters had no room, or that cannot be read."}
	problems   = gauge("collect_problems", "What could not be read for these metrics, and of which they therefore say nothing or too little.")
)

const (
	counter   = "counter"
	gaugeKind = "gauge"
	histogram = "histogram"
)

func gauge(name, help string, labels ...string) Row {
	return Row{prefix + name, gaugeKind, labels, help}
}

func counted(f *counts.Family) Row { return Row{prefix + f.Name + "_total", counter, f.Labels, f.Help} }

func timed(h *counts.Histogram) Row {
	return Row{prefix + h.Name + "_seconds", histogram, h.Labels, h.Help}
}

// Rows returns all metrics, by name.
func Rows() []Row {
	all := []Row{buildInfo, ready, containers, recorded, generation, policyInfo, appliedAt, profilesBy, kernelLoaded, lastSuccess, lastAt,
		wired, standing, auditLost, countsLost, problems}
	for _, f := range counts.Families {
		all = append(all, counted(f))
	}
	for _, h := range counts.Histograms {
		all = append(all, timed(h))
	}
	slices.SortFunc(all, func(a, b Row) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

func (r Row) desc() *prometheus.Desc { return prometheus.NewDesc(r.Name, r.Help, r.Labels, nil) }

// scrape is one look at the node.
type scrape struct {
	node     *Node
	to       chan<- prometheus.Metric
	problems int
}

// set tells a metric. Labels that are not UTF-8 would fail the whole scrape.
func (s *scrape) set(r Row, value float64, labels ...string) {
	kind := prometheus.GaugeValue
	if r.Kind == counter {
		kind = prometheus.CounterValue
	}
	if m, err := prometheus.NewConstMetric(r.desc(), kind, value, labels...); err == nil {
		s.to <- m
	} else {
		s.problems++
	}
}

// Describe is that of prometheus.Collector.
func (n *Node) Describe(to chan<- *prometheus.Desc) {
	for _, r := range Rows() {
		to <- r.desc()
	}
}

// Collect is that of prometheus.Collector. Of several that come at once, each waits for the one before.
func (n *Node) Collect(to chan<- prometheus.Metric) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &scrape{node: n, to: to}
	s.set(buildInfo, 1, version.String())
	s.counters()
	s.policy()
	s.state()
	s.agent()
	s.set(problems, float64(s.problems))
}

// counters tells the counters. Labels that only a later version knows are added up.
func (s *scrape) counters() {
	totals, err := s.node.Counts.Read()
	if err != nil {
		s.problems++
		return
	}
	s.set(countsLost, float64(totals.Lost))
	for _, f := range counts.Families {
		byLabels := make(map[string]uint64)
		values := make(map[string][]string)
		for _, c := range totals.All {
			if c.Name == f.Name {
				key, labels := pick(c.Labels, f.Labels)
				byLabels[key] += c.N
				values[key] = labels
			}
		}
		for _, key := range slices.Sorted(maps.Keys(byLabels)) {
			s.set(counted(f), float64(byLabels[key]), values[key]...)
		}
	}
	for _, h := range counts.Histograms {
		s.durations(h, totals.All)
	}
}

// pick returns the values of these labels, and one string of them.
func pick(labels map[string]string, names []string) (key string, values []string) {
	for _, name := range names {
		values = append(values, labels[name])
		key += labels[name] + "\x00"
	}
	return key, values
}

// durations tells a histogram. The bounds of its buckets are those of this version and of any other that has counted.
func (s *scrape) durations(h *counts.Histogram, all []counts.Total) {
	type series struct {
		labels  []string
		buckets map[float64]uint64
		sum     uint64
	}
	found := make(map[string]*series)
	of := func(c counts.Total) *series {
		key, labels := pick(c.Labels, h.Labels)
		if found[key] == nil {
			found[key] = &series{labels: labels, buckets: make(map[float64]uint64)}
			for _, bound := range h.Bounds {
				found[key].buckets[bound.Seconds()] = 0
			}
		}
		return found[key]
	}
	for _, c := range all {
		switch c.Name {
		case h.Sum():
			of(c).sum += c.N
		case h.Buckets():
			if le, err := strconv.ParseFloat(c.Labels[counts.Bucket], 64); err == nil && !math.IsNaN(le) {
				of(c).buckets[le] += c.N
			} else {
				s.problems++
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		one := found[key]
		var total uint64
		for _, le := range slices.Sorted(maps.Keys(one.buckets)) {
			total += one.buckets[le]
			one.buckets[le] = total
		}
		delete(one.buckets, math.Inf(1)) // it is the count
		m, err := prometheus.NewConstHistogram(timed(h).desc(), total, time.Duration(one.sum).Seconds(), one.buckets, one.labels...)
		if err != nil {
			s.problems++
			continue
		}
		s.to <- m
	}
}

// agent tells what only an agent knows.
func (s *scrape) agent() {
	if s.node.Agent == nil {
		return
	}
	a := s.node.Agent()
	if a.Applied {
		s.set(lastSuccess, oneIf(a.Success))
		s.set(lastAt, seconds(a.At))
	}
	for _, engine := range slices.Sorted(maps.Keys(a.Wirings)) {
		s.set(wired, oneIf(a.Wirings[engine]), engine)
	}
	s.set(standing, float64(a.Standing))
}

func oneIf(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
