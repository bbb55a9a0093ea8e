package otelx_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/otelx"
	"github.com/bellwethercache/bellwether/tier"
)

// collect returns each series' sum, value or count.
func (w *world) collect(t *testing.T) map[string]float64 {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := w.reader.Collect(context.Background(), &rm); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, scope := range rm.ScopeMetrics {
		for _, m := range scope.Metrics {
			add := func(attrs attribute.Set, v float64) {
				var pairs []string
				for _, kv := range attrs.ToSlice() {
					pairs = append(pairs, string(kv.Key)+"="+kv.Value.String())
				}
				got[m.Name+" {"+strings.Join(pairs, " ")+"}"] += v
			}
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					add(p.Attributes, float64(p.Value))
				}
			case metricdata.Sum[float64]:
				for _, p := range d.DataPoints {
					add(p.Attributes, p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range d.DataPoints {
					add(p.Attributes, p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range d.DataPoints {
					add(p.Attributes, float64(p.Count))
				}
			}
		}
	}
	return got
}

// TestMetricsGolden pins the series that are there before anything has happened.
func TestMetricsGolden(t *testing.T) {
	w := newWorld(t)
	c := w.process(t, "a", after(0, 1, nil), config{})
	stop, err := otelx.Observe(&w.opts, c.Stats)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for series, v := range w.collect(t) {
		lines = append(lines, fmt.Sprintf("%s %v\n", series, v))
	}
	slices.Sort(lines)
	golden(t, "testdata/metrics.golden", strings.Join(lines, ""))
	if err := stop(); err != nil {
		t.Error(err)
	}
	if n := len(w.collect(t)); n != 0 {
		t.Errorf("%d series after stop, want none", n)
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t)
	s := cache.Stats{
		Hits: 1, RemoteHits: 2, Stale: 3, Negative: 4, Shared: 5, Filled: 6, Loaded: 7, Errors: 80,
		Loads: 90, Unprotected: 10, LoadErrors: 11, LoadTimeouts: 1, LongestLoad: 12 * time.Second, UsualLoad: 13 * time.Second,
		Waits: 140, WaitTime: 27 * time.Second, WaitTimeouts: 14, RemoteWaits: 41, RemoteTimeouts: 3,
		Acquisitions: lock.Outcomes{31, 32, 33, 34, 35, 36, 37},
		Memory:       []tier.LocalStats{{Counted: true, Entries: 38, Evicted: 39}, {Entries: 1, Evicted: 1}}, LeasesLost: 15, Takeovers: 16, Waiting: 28, Loading: 29, StaleIfError: 17, Cooled: 18, HardTimeouts: 19, Overloads: 20,
		Tiers: []tier.Stats{{Hits: 21, Misses: 22, Errors: 23, Corrupt: 24, Foreign: 25, Migrated: 41, Skipped: 26, Queued: 42, Replayed: 43, Dropped: 44, BreakerOpen: true, CoherenceMode: backend.CoherenceKeys, Changes: 40}},
	}
	stop, err := otelx.Observe(&w.opts, func() cache.Stats { return s })
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"cache.requests {cache.name=x cache.result=hit cache.tier=l1}": 1,
		"cache.requests {cache.name=x cache.result=hit cache.tier=l2}": 2,
		"cache.requests {cache.name=x cache.result=stale}":             3,
		"cache.requests {cache.name=x cache.result=negative}":          4,
		"cache.requests {cache.name=x cache.result=shared}":            5,
		"cache.requests {cache.name=x cache.result=filled}":            6,
		"cache.requests {cache.name=x cache.result=loaded}":            7,
		"cache.requests {cache.name=x cache.result=error}":             80,

		"cache.requests.active {cache.name=x}":                     28,
		"cache.loads.active {cache.name=x}":                        29,
		"cache.errors {cache.name=x error.type=cooling}":           18,
		"cache.errors {cache.name=x error.type=hard_timeout}":      19,
		"cache.errors {cache.name=x error.type=overloaded}":        20,
		"cache.errors {cache.name=x error.type=_OTHER}":            23,
		"cache.stale.fallbacks {cache.name=x}":                     17,
		"cache.loads {cache.fill.role=holder cache.name=x}":        80,
		"cache.loads {cache.fill.role=unprotected cache.name=x}":   10,
		"cache.load.errors {cache.name=x error.type=load_timeout}": 1,
		"cache.load.errors {cache.name=x error.type=_OTHER}":       10,
		"cache.load.usual {cache.name=x}":                          13,
		"cache.load.longest {cache.name=x}":                        12,

		"cache.lock.waits {cache.lock.outcome=served cache.lock.scope=process cache.name=x}":      88,
		"cache.lock.waits {cache.lock.outcome=timeout cache.lock.scope=process cache.name=x}":     11,
		"cache.lock.waits {cache.lock.outcome=served cache.lock.scope=distributed cache.name=x}":  38,
		"cache.lock.waits {cache.lock.outcome=timeout cache.lock.scope=distributed cache.name=x}": 3,

		"cache.lock.acquisitions {cache.lock.outcome=acquired cache.name=x}":              31,
		"cache.lock.acquisitions {cache.lock.outcome=filled cache.name=x}":                32,
		"cache.lock.acquisitions {cache.lock.outcome=timeout cache.name=x}":               33,
		"cache.lock.acquisitions {cache.lock.outcome=canceled cache.name=x}":              34,
		"cache.lock.acquisitions {cache.lock.outcome=error cache.name=x}":                 35,
		"cache.lock.acquisitions {cache.lock.outcome=held cache.name=x}":                  36,
		"cache.lock.acquisitions {cache.lock.outcome=failed cache.name=x}":                37,
		"cache.entry.count {cache.name=x cache.tier=l1}":                                  38,
		"cache.evictions {cache.name=x cache.tier=l1}":                                    39,
		"cache.breaker.status {cache.breaker.state=open cache.name=x cache.tier=l2}":      1,
		"cache.breaker.status {cache.breaker.state=closed cache.name=x cache.tier=l2}":    0,
		"cache.coherence.status {cache.coherence.state=hears cache.name=x cache.tier=l2}": 1,
		"cache.coherence.status {cache.coherence.state=deaf cache.name=x cache.tier=l2}":  0,
		"cache.coherence.changes {cache.name=x cache.tier=l2}":                            40,
		"cache.lock.wait.time {cache.name=x}":                                             27,
		"cache.lock.takeovers {cache.name=x}":                                             16,
		"cache.lock.losses {cache.name=x}":                                                15,
		"cache.tier.lookups {cache.name=x cache.result=hit cache.tier=l2}":                21,
		"cache.tier.lookups {cache.name=x cache.result=miss cache.tier=l2}":               22,
		"cache.tier.lookups {cache.name=x cache.result=error cache.tier=l2}":              23,
		"cache.tier.rejects {cache.name=x cache.reject.reason=corrupt cache.tier=l2}":     24,
		"cache.tier.rejects {cache.name=x cache.reject.reason=foreign cache.tier=l2}":     25,
		"cache.tier.migrations {cache.name=x cache.tier=l2}":                              41,
		"cache.tier.skips {cache.name=x cache.tier=l2}":                                   26,
		"cache.tier.backlog {cache.name=x cache.tier=l2}":                                 42,
		"cache.tier.replays {cache.name=x cache.tier=l2}":                                 43,
		"cache.tier.drops {cache.name=x cache.tier=l2}":                                   44,
	}
	got := w.collect(t)
	for series, v := range want {
		if n, ok := got[series]; !ok || n != v {
			t.Errorf("%s = %v (there: %t), want %v", series, n, ok, v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d series, want %d: %v", len(got), len(want), got)
	}
	s.Tiers[0].CoherenceMode = backend.CoherenceDeaf
	if n := w.collect(t)["cache.coherence.status {cache.coherence.state=deaf cache.name=x cache.tier=l2}"]; n != 1 {
		t.Errorf("deaf = %v while changes are not heard of", n)
	}
	// Counts are not read in one step: a load without the lease came between.
	s.Unprotected++
	if n := w.collect(t)["cache.loads {cache.fill.role=holder cache.name=x}"]; n != 80 {
		t.Errorf("a counter fell to %v", n)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// opName is an operation's name, if there is such an operation.
func opName(op tier.Op) (name string) {
	defer func() { _ = recover() }()
	return op.String()
}

// TestHistograms records what every outcome and operation leads to.
func TestHistograms(t *testing.T) {
	w := newWorld(t)
	h := otelx.Hooks(&w.opts)
	ctx := context.Background()
	want := 0
	for o := lock.OutcomeAcquired; o <= lock.OutcomeFailed; o++ {
		h.Lock.AcquireDone(ctx, lock.AcquireDone{Outcome: o, Waited: 1})
		want++
	}
	for _, info := range []cache.WaitDone{
		{},
		{Stale: true},
		{Err: cache.ErrNotFound},
		{Err: &cache.LoadError{Err: cache.ErrTimeout}},
		{Err: cache.ErrTimeout},
		{Err: cache.ErrClosed},
		{Err: context.Canceled, Canceled: true},
	} {
		h.WaitDone(ctx, info)
	}
	want += 6 // not found is an answer
	for op := tier.OpGet; op <= tier.OpTags; op++ {
		h.Tier.OpDone(ctx, tier.OpDone{Tier: 2, Op: op})
		h.Tier.OpDone(ctx, tier.OpDone{Tier: 9, Op: op, Err: backend.ErrUnavailable})
		want += 2
	}
	if name := opName(tier.OpTags + 1); name != "" {
		t.Errorf("no series for the operation %s", name)
	}
	for role := cache.RoleHolder; role <= cache.RoleUnprotected; role++ {
		h.LoadDone(ctx, cache.LoadDone{Role: role})
		h.LoadDone(ctx, cache.LoadDone{Role: role, Err: errors.New("x")})
		want += 2
	}
	for _, info := range []lock.Released{{}, {Lost: true}, {Err: backend.ErrUnavailable}} {
		h.Lock.Released(ctx, info)
		want++
	}
	if got := w.collect(t); len(got) != want {
		t.Errorf("%d series, want %d: %v", len(got), want, got)
	}
}
