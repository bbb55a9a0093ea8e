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
	opSet   [maxTiers][lastOp + 1][2]metric.MeasurementOption
}

// lastOp is the last of tier.Op.
const lastOp = tier.OpTags

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
	outcomes := []string{outcomeShared, outcomeStale}
	for o := lock.OutcomeAcquired; o <= lock.OutcomeFailed; o++ {
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
		for op := tier.OpGet; op <= lastOp; op++ {
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
