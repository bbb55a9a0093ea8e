package otelx

import (
	"context"
	"errors"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/tier"
)

// Observe lets the meter read the counts of a cache when metrics are collected:
// a hit in memory then costs no call of OpenTelemetry. All series are there from
// the start, at zero. Call the returned func before the cache is closed.
//
//	stop, err := otelx.Observe(&otelx.Options{CacheName: "users"}, users.Stats)
func Observe(opts *Options, stats func() cache.Stats) (stop func() error, err error) {
	h := newHooks(opts)
	meter := h.opts.MeterProvider.Meter(Scope)
	c := &counts{meters: h.meters}
	all, err := c.create(meter)
	if err != nil {
		return nil, err
	}
	reg, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := stats()
		c.observe(o, &s)
		return nil
	}, all...)
	if err != nil {
		return nil, err
	}
	return reg.Unregister, nil
}

// counts are the instruments that show a cache.Stats.
type counts struct {
	*meters

	requests, errs, staleIfError metric.Int64ObservableCounter
	loads, loadErrors            metric.Int64ObservableCounter
	lookups, rejects, skips      metric.Int64ObservableCounter
	waits, takeovers, losses     metric.Int64ObservableCounter
	usualLoad, longestLoad       metric.Float64ObservableGauge
	holderLoads, otherLoadErrs   rest
	servedWaits, otherErrs       rest
}

func (c *counts) create(m metric.Meter) (all []metric.Observable, err error) {
	counter := func(at *metric.Int64ObservableCounter, name, unit, what string) {
		var e error
		*at, e = m.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(what))
		all, err = append(all, *at), errors.Join(err, e)
	}
	gauge := func(at *metric.Float64ObservableGauge, name, what string) {
		var e error
		*at, e = m.Float64ObservableGauge(name, metric.WithUnit("s"), metric.WithDescription(what))
		all, err = append(all, *at), errors.Join(err, e)
	}
	counter(&c.requests, MetricRequests, "{request}", "Reads, each counted once, by result.")
	counter(&c.errs, MetricErrors, "{error}", "Reads that returned an error, by what the cache knows of it.")
	counter(&c.staleIfError, MetricStaleIfError, "{fallback}", "Stale values served instead of a failure.")
	counter(&c.loads, MetricLoads, "{load}", "Calls of loaders.")
	counter(&c.loadErrors, MetricLoadErrors, "{error}", "Calls of loaders that failed.")
	gauge(&c.usualLoad, MetricLoadUsual, "How long a load usually takes: a weighted mean of recent ones.")
	gauge(&c.longestLoad, MetricLoadLongest, "How long the longest load has taken.")
	counter(&c.lookups, MetricTierLookups, "{lookup}", "Lookups in tiers outside of the process.")
	counter(&c.rejects, MetricTierRejects, "{entry}", "Entries that could not be used; each is also a miss.")
	counter(&c.skips, MetricTierSkips, "{call}", "Calls of tiers that were not made: breaker open, or queue full.")
	counter(&c.waits, MetricWaits, "{wait}", "Waits for another's load.")
	counter(&c.takeovers, MetricTakeovers, "{takeover}", "Leases won from a holder whose process had died.")
	counter(&c.losses, MetricLosses, "{loss}", "Results not written, because the lease was gone.")
	return all, err
}

func (c *counts) observe(o metric.Observer, s *cache.Stats) {
	show := func(on metric.Int64ObservableCounter, n uint64, attrs ...attribute.KeyValue) {
		o.ObserveInt64(on, int64(n), c.set(attrs...))
	}
	result := func(r cache.Result) attribute.KeyValue { return attribute.String(AttrResult, r.String()) }
	role := func(r cache.Role) attribute.KeyValue { return attribute.String(AttrFillRole, r.String()) }
	kind := func(kind string) attribute.KeyValue { return attribute.String(AttrErrorType, kind) }
	outcome := func(outcome string) attribute.KeyValue { return attribute.String(AttrLockOutcome, outcome) }

	show(c.requests, s.Hits, result(cache.ResultHit), attribute.String(AttrTier, "l1"))
	show(c.requests, s.RemoteHits, result(cache.ResultHit), attribute.String(AttrTier, "l2"))
	show(c.requests, s.Stale, result(cache.ResultStale))
	show(c.requests, s.Negative, result(cache.ResultNegative))
	show(c.requests, s.Shared, result(cache.ResultShared))
	show(c.requests, s.Filled, result(cache.ResultFilled))
	show(c.requests, s.Loaded, result(cache.ResultLoaded))
	show(c.requests, s.Errors, result(cache.ResultError))
	show(c.errs, s.Cooled, kind(errorType(cache.ErrCooling)))
	show(c.errs, s.HardTimeouts, kind(errorType(cache.ErrTimeout)))
	show(c.errs, s.Overloads, kind(errorType(cache.ErrOverloaded)))
	show(c.errs, c.otherErrs.of(s.Errors, s.Cooled+s.HardTimeouts+s.Overloads), kind(typeOther))
	show(c.staleIfError, s.StaleIfError)

	show(c.loads, c.holderLoads.of(s.Loads, s.Unprotected), role(cache.RoleHolder))
	show(c.loads, s.Unprotected, role(cache.RoleUnprotected))
	show(c.loadErrors, s.LoadTimeouts, kind(errorType(cache.ErrLoadTimeout)))
	show(c.loadErrors, c.otherLoadErrs.of(s.LoadErrors, s.LoadTimeouts), kind(typeOther))
	o.ObserveFloat64(c.usualLoad, s.UsualLoad.Seconds(), c.set())
	o.ObserveFloat64(c.longestLoad, s.LongestLoad.Seconds(), c.set())

	show(c.waits, c.servedWaits.of(s.Waits, s.WaitTimeouts), outcome("served"))
	show(c.waits, s.WaitTimeouts, outcome("timeout"))
	show(c.takeovers, s.Takeovers)
	show(c.losses, s.LeasesLost)
	for i := range s.Tiers {
		c.observeTier(show, &s.Tiers[i], tierName(i+2)) // behind the one in memory
	}
}

func (c *counts) observeTier(show func(metric.Int64ObservableCounter, uint64, ...attribute.KeyValue), t *tier.Stats, name string) {
	at := attribute.String(AttrTier, name)
	show(c.lookups, t.Hits, at, attribute.String(AttrResult, "hit"))
	show(c.lookups, t.Misses, at, attribute.String(AttrResult, "miss"))
	show(c.lookups, t.Errors, at, attribute.String(AttrResult, "error"))
	show(c.rejects, t.Corrupt, at, attribute.String(AttrRejectReason, "corrupt"))
	show(c.rejects, t.Foreign, at, attribute.String(AttrRejectReason, "foreign"))
	show(c.skips, t.Skipped, at)
}

// rest is a count without a part that is counted by itself. The two are not
// read in one step: without the memory, the difference could fall, which a
// backend takes for a restart.
type rest struct{ top atomic.Uint64 }

func (r *rest) of(whole, part uint64) uint64 {
	n := uint64(0)
	if whole > part {
		n = whole - part
	}
	for {
		top := r.top.Load()
		if n <= top {
			return top
		}
		if r.top.CompareAndSwap(top, n) {
			return n
		}
	}
}
