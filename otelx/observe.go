package otelx

import (
	"context"
	"errors"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/cache"
	"github.com/bellwethercache/bellwether/lock"
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

	requests, errs, staleIfError                               metric.Int64ObservableCounter
	loads, loadErrors                                          metric.Int64ObservableCounter
	lookups, rejects, skips, migrations                        metric.Int64ObservableCounter
	acquisitions, evictions                                    metric.Int64ObservableCounter
	changes, replays, drops                                    metric.Int64ObservableCounter
	waits, takeovers, losses                                   metric.Int64ObservableCounter
	waitTime                                                   metric.Float64ObservableCounter
	waiting, loading, entries                                  metric.Int64ObservableUpDownCounter
	breaker, hearing, backlog                                  metric.Int64ObservableUpDownCounter
	usualLoad, longestLoad                                     metric.Float64ObservableGauge
	holderLoads, otherLoadErrs                                 rest
	otherErrs                                                  rest
	processWaits, processTimeouts, processServed, remoteServed rest
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
	level := func(at *metric.Int64ObservableUpDownCounter, name, unit, what string) {
		var e error
		*at, e = m.Int64ObservableUpDownCounter(name, metric.WithUnit(unit), metric.WithDescription(what))
		all, err = append(all, *at), errors.Join(err, e)
	}
	seconds := func(at *metric.Float64ObservableCounter, name, what string) {
		var e error
		*at, e = m.Float64ObservableCounter(name, metric.WithUnit("s"), metric.WithDescription(what))
		all, err = append(all, *at), errors.Join(err, e)
	}
	counter(&c.requests, MetricRequests, "{request}", "Reads, each counted once, by result.")
	level(&c.waiting, MetricWaiting, "{request}", "Reads right now that memory could not serve.")
	level(&c.loading, MetricLoading, "{load}", "Calls of loaders right now.")
	counter(&c.errs, MetricErrors, "{error}", "Reads that returned an error, by what the cache knows of it.")
	counter(&c.staleIfError, MetricStaleIfError, "{fallback}", "Stale values served instead of a failure.")
	counter(&c.loads, MetricLoads, "{load}", "Calls of loaders.")
	counter(&c.loadErrors, MetricLoadErrors, "{error}", "Calls of loaders that failed.")
	gauge(&c.usualLoad, MetricLoadUsual, "How long a load usually takes: a weighted mean of recent ones.")
	gauge(&c.longestLoad, MetricLoadLongest, "How long the longest load has taken.")
	counter(&c.lookups, MetricTierLookups, "{lookup}", "Lookups in tiers outside of the process.")
	counter(&c.rejects, MetricTierRejects, "{entry}", "Entries that could not be used; each is also a miss.")
	counter(&c.migrations, MetricTierMigrations, "{entry}", "Entries of another schema or codec that a migration has read; each is also a hit.")
	counter(&c.skips, MetricTierSkips, "{call}", "Calls of tiers that were not made: breaker open, or queue full.")
	level(&c.backlog, MetricBacklog, "{change}", "Changes right now that a tier could not be told of yet.")
	counter(&c.replays, MetricReplays, "{change}", "Changes that a tier was told of later, when it was back.")
	counter(&c.drops, MetricDrops, "{change}", "Changes that a tier was never told of: there was no room to queue them, or it refused.")
	level(&c.breaker, MetricBreaker, "1", "1 for the state that the breaker of a tier is in, 0 for the other.")
	level(&c.hearing, MetricHearing, "1", "1 for whether changes by other processes are heard of right now, 0 for the other.")
	counter(&c.changes, MetricChanges, "{change}", "Changes by other processes that were heard of.")
	level(&c.entries, MetricEntries, "{entry}", "Entries in memory right now.")
	counter(&c.evictions, MetricEvictions, "{eviction}", "Entries dropped from memory, or not taken in, for want of room.")
	counter(&c.acquisitions, MetricAcquisitions, "{acquisition}", "Acquisitions of leases, by what came of them.")
	counter(&c.waits, MetricWaits, "{wait}", "Waits for another's load.")
	seconds(&c.waitTime, MetricWaitTime, "Time spent in those waits.")
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

	show(c.requests, s.Hits, result(cache.ResultHit), attribute.String(AttrTier, "l1"))
	show(c.requests, s.RemoteHits, result(cache.ResultHit), attribute.String(AttrTier, "l2"))
	show(c.requests, s.Stale, result(cache.ResultStale))
	show(c.requests, s.Negative, result(cache.ResultNegative))
	show(c.requests, s.Shared, result(cache.ResultShared))
	show(c.requests, s.Filled, result(cache.ResultFilled))
	show(c.requests, s.Loaded, result(cache.ResultLoaded))
	show(c.requests, s.Errors, result(cache.ResultError))
	o.ObserveInt64(c.waiting, int64(s.Waiting), c.set())
	o.ObserveInt64(c.loading, int64(s.Loading), c.set())
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

	c.observeLocks(show, s)
	o.ObserveFloat64(c.waitTime, s.WaitTime.Seconds(), c.set())
	for i := range s.Memory {
		c.observeMemory(o, &s.Memory[i], attribute.String(AttrTier, tierName(i+1)))
	}
	for i := range s.Tiers {
		c.observeTier(o, show, &s.Tiers[i], attribute.String(AttrTier, tierName(i+2))) // behind the one in memory
	}
}

type showFunc func(on metric.Int64ObservableCounter, n uint64, attrs ...attribute.KeyValue)

func (c *counts) observeLocks(show showFunc, s *cache.Stats) {
	outcome := func(outcome string) attribute.KeyValue { return attribute.String(AttrLockOutcome, outcome) }
	for o, n := range s.Acquisitions {
		show(c.acquisitions, n, outcome(lock.Outcome(o).String()))
	}
	process, distributed := attribute.String(AttrLockScope, scopeProcess), attribute.String(AttrLockScope, scopeDistributed)
	waits, timeouts := c.processWaits.of(s.Waits, s.RemoteWaits), c.processTimeouts.of(s.WaitTimeouts, s.RemoteTimeouts)
	show(c.waits, c.processServed.of(waits, timeouts), process, outcome("served"))
	show(c.waits, timeouts, process, outcome("timeout"))
	show(c.waits, c.remoteServed.of(s.RemoteWaits, s.RemoteTimeouts), distributed, outcome("served"))
	show(c.waits, s.RemoteTimeouts, distributed, outcome("timeout"))
	show(c.takeovers, s.Takeovers)
	show(c.losses, s.LeasesLost)
}

func (c *counts) observeMemory(o metric.Observer, m *tier.LocalStats, at attribute.KeyValue) {
	if m.Counted { // else zero would be a lie
		o.ObserveInt64(c.entries, int64(m.Entries), c.set(at))
		o.ObserveInt64(c.evictions, int64(m.Evicted), c.set(at))
	}
}

func (c *counts) observeTier(o metric.Observer, show showFunc, t *tier.Stats, at attribute.KeyValue) {
	state := func(on metric.Int64ObservableUpDownCounter, key string, is bool, yes, no string) {
		n := int64(0)
		if is {
			n = 1
		}
		o.ObserveInt64(on, n, c.set(at, attribute.String(key, yes)))
		o.ObserveInt64(on, 1-n, c.set(at, attribute.String(key, no)))
	}
	state(c.breaker, AttrBreakerState, t.BreakerOpen, "open", "closed")
	if m := t.CoherenceMode; m != "" && m != backend.CoherenceOff { // else there is nothing to hear
		state(c.hearing, AttrHearing, m != backend.CoherenceDeaf, "hears", "deaf")
		show(c.changes, t.Changes, at)
	}
	show(c.lookups, t.Hits, at, attribute.String(AttrResult, "hit"))
	show(c.lookups, t.Misses, at, attribute.String(AttrResult, "miss"))
	show(c.lookups, t.Errors, at, attribute.String(AttrResult, "error"))
	show(c.rejects, t.Corrupt, at, attribute.String(AttrRejectReason, "corrupt"))
	show(c.rejects, t.Foreign, at, attribute.String(AttrRejectReason, "foreign"))
	show(c.migrations, t.Migrated, at)
	show(c.skips, t.Skipped, at)
	o.ObserveInt64(c.backlog, int64(t.Queued), c.set(at))
	show(c.replays, t.Replayed, at)
	show(c.drops, t.Dropped, at)
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
