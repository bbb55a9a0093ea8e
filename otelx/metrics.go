package otelx

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// buckets in seconds. 0.5 is among them so that the share of waits below it,
// one of the five figures to watch, is exact.
var buckets = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// meters are the histograms of one cache. The attribute sets of each
// combination are made once: building them costs more than recording.
type meters struct {
	name attribute.KeyValue

	waits, holds, loads, ops metric.Float64Histogram

	waitSet map[[2]string]metric.MeasurementOption // by scope and outcome
	holdSet map[string]metric.MeasurementOption
	loadSet map[loadKey]metric.MeasurementOption
	opSet   [maxTiers][tier.OpRelease + 1][2]metric.MeasurementOption
}

type loadKey struct {
	role   cache.Role
	failed bool
}

// maxTiers is for how many tiers attribute sets are made in advance; those
// beyond share the last one's.
const maxTiers = 4

func newMeters(m metric.Meter, name attribute.KeyValue) *meters {
	histogram := func(metricName, what string) metric.Float64Histogram {
		h, err := m.Float64Histogram(metricName, metric.WithUnit("s"), metric.WithDescription(what),
			metric.WithExplicitBucketBoundaries(buckets...))
		if err != nil {
			otel.Handle(err)
		}
		return h
	}
	ms := &meters{
		name:    name,
		waits:   histogram(MetricWaitDuration, "Time spent waiting for another's load."),
		holds:   histogram(MetricHoldDuration, "Time for which leases were held."),
		loads:   histogram(MetricLoadDuration, "Time spent in loaders."),
		ops:     histogram(MetricTierOperation, "Time of calls of tiers outside of the process."),
		waitSet: make(map[[2]string]metric.MeasurementOption),
		holdSet: make(map[string]metric.MeasurementOption),
		loadSet: make(map[loadKey]metric.MeasurementOption),
	}
	ms.precompute()
	return ms
}

func (m *meters) precompute() {
	outcomes := []string{outcomeShared}
	for o := lock.OutcomeAcquired; o <= lock.OutcomeError; o++ {
		outcomes = append(outcomes, o.String())
	}
	for _, scope := range []string{scopeProcess, scopeDistributed} {
		for _, outcome := range outcomes {
			m.waitSet[[2]string{scope, outcome}] = m.set(
				attribute.String(AttrLockScope, scope), attribute.String(AttrLockOutcome, outcome))
		}
	}
	for _, outcome := range []string{"released", "lost", "error"} {
		m.holdSet[outcome] = m.set(attribute.String(AttrLockOutcome, outcome))
	}
	for role := cache.RoleHolder; role <= cache.RoleUnprotected; role++ {
		attr := attribute.String(AttrFillRole, role.String())
		m.loadSet[loadKey{role, false}] = m.set(attr)
		m.loadSet[loadKey{role, true}] = m.set(attr, attribute.String(AttrErrorType, "load"))
	}
	for t := range maxTiers {
		for op := tier.OpGet; op <= tier.OpRelease; op++ {
			attrs := []attribute.KeyValue{
				attribute.String(AttrTier, tierName(t+1)), attribute.String(AttrOperation, op.String()),
			}
			m.opSet[t][op][0] = m.set(attrs...)
			m.opSet[t][op][1] = m.set(append(attrs, attribute.String(AttrErrorType, "unavailable"))...)
		}
	}
}

func (m *meters) set(attrs ...attribute.KeyValue) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(append(attrs, m.name)...))
}

func (m *meters) wait(ctx context.Context, scope, outcome string, d time.Duration) {
	m.waits.Record(ctx, d.Seconds(), m.waitSet[[2]string{scope, outcome}])
}

func (m *meters) hold(ctx context.Context, info lock.Released) {
	outcome := "released"
	switch {
	case info.Err != nil:
		outcome = "error"
	case info.Lost:
		outcome = "lost"
	}
	m.holds.Record(ctx, info.Held.Seconds(), m.holdSet[outcome])
}

func (m *meters) load(ctx context.Context, role cache.Role, failed bool, d time.Duration) {
	m.loads.Record(ctx, d.Seconds(), m.loadSet[loadKey{role, failed}])
}

func (m *meters) operation(ctx context.Context, info tier.OpDone) {
	failed := 0
	if info.Err != nil {
		failed = 1
	}
	t := min(info.Tier, maxTiers) - 1
	m.ops.Record(ctx, info.Duration.Seconds(), m.opSet[t][info.Op][failed])
}

// Observe lets the meter read the counts of a cache when metrics are collected:
// a hit in memory then costs no call of OpenTelemetry. All series are there from
// the start, at zero. Call the returned func before the cache is closed.
//
//	stop, err := otelx.Observe(&otelx.Options{CacheName: "users"}, users.Stats)
func Observe(opts *Options, stats func() cache.Stats) (stop func() error, err error) {
	h := newHooks(opts)
	meter := h.opts.MeterProvider.Meter(Scope)
	counter := func(name, unit, what string) metric.Int64ObservableCounter {
		c, e := meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(what))
		if e != nil {
			err = e
		}
		return c
	}
	requests := counter(MetricRequests, "{request}", "Reads, each counted once, by result.")
	loads := counter(MetricLoads, "{load}", "Calls of loaders.")
	lookups := counter(MetricTierLookups, "{lookup}", "Lookups in tiers outside of the process.")
	waits := counter(MetricWaits, "{wait}", "Waits for another's load.")
	if err != nil {
		return nil, err
	}
	reg, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		h.meters.observe(o, stats(), requests, loads, lookups, waits)
		return nil
	}, requests, loads, lookups, waits)
	if err != nil {
		return nil, err
	}
	return reg.Unregister, nil
}

func (m *meters) observe(o metric.Observer, s cache.Stats, requests, loads, lookups, waits metric.Int64ObservableCounter) {
	request := func(n uint64, result cache.Result, tier string) {
		attrs := []attribute.KeyValue{attribute.String(AttrResult, result.String())}
		if tier != "" {
			attrs = append(attrs, attribute.String(AttrTier, tier))
		}
		o.ObserveInt64(requests, int64(n), m.set(attrs...))
	}
	request(s.Hits, cache.ResultHit, "l1")
	request(s.RemoteHits, cache.ResultHit, "l2")
	request(s.Stale, cache.ResultStale, "")
	request(s.Negative, cache.ResultNegative, "")
	request(s.Shared, cache.ResultShared, "")
	request(s.Filled, cache.ResultFilled, "")
	request(s.Loaded, cache.ResultLoaded, "")
	request(s.Errors, cache.ResultError, "")

	o.ObserveInt64(loads, int64(s.Loads-s.Unprotected), m.set(attribute.String(AttrFillRole, cache.RoleHolder.String())))
	o.ObserveInt64(loads, int64(s.Unprotected), m.set(attribute.String(AttrFillRole, cache.RoleUnprotected.String())))

	for i, t := range s.Tiers {
		name := attribute.String(AttrTier, tierName(i+2)) // behind the one in memory
		o.ObserveInt64(lookups, int64(t.Hits), m.set(name, attribute.String(AttrResult, "hit")))
		o.ObserveInt64(lookups, int64(t.Misses), m.set(name, attribute.String(AttrResult, "miss")))
		o.ObserveInt64(lookups, int64(t.Errors), m.set(name, attribute.String(AttrResult, "error")))
	}
	o.ObserveInt64(waits, int64(s.Waits-s.WaitTimeouts), m.set(attribute.String(AttrLockOutcome, "served")))
	o.ObserveInt64(waits, int64(s.WaitTimeouts), m.set(attribute.String(AttrLockOutcome, "timeout")))
}
