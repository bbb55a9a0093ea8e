// Package otelx turns a cache's hooks into OpenTelemetry spans and metrics, so
// that "why did this request take 800 ms?" has an answer across processes: each
// wait is a span, linked to the read that it waited for.
//
//	users, err := cache.New(loadUser, &cache.Options[string, User]{
//		Name:  "users",
//		Hooks: otelx.Hooks(&otelx.Options{CacheName: "users"}),
//	}, tiers...)
//
// # Spans
//
// The names are in this package's constants, followed by the cache's name:
//
//	cache.get users                      a read that memory could not answer
//	  cache.fill users                   the leader of its flight
//	    cache.lock.acquire users         won the lease
//	    cache.load users                 the loader; its own spans nest here
//	  cache.lock.wait users              or: waited for another (a link says for whom)
//	cache.get_many users                 many reads; what it leads and waits for nests here
//	cache.refresh users                  in the background: a trace of its own, linked to
//	  cache.fill users                   the span that set it off
//
// A hit in memory makes no span, fresh or stale. Options.Spans shows fewer, or
// none; Options.RequireParent only what belongs to a request that is traced.
//
// A wait is linked to the span of the read or refresh that does the work: its
// cache.get, cache.get_many or cache.refresh, below which the load is. That is
// the trace context that travels in the lease, which is asked for before anybody
// knows that there will be a load. If another takes over meanwhile, a second link
// leads to it. As few viewers show links well, the last holder's trace id is an
// attribute too: searching for it lists everyone who waited. There is no link to
// a span that is not sampled; that of a process that was killed died with it. A
// waiter looks again when its own process notices that the holder is gone; one that
// has its answer before that has seen, and names, only the dead one. Search for
// cache.lock.took_over then: it is on the wait of whoever took over.
//
// How a wait ended is in cache.lock.outcome: filled and shared (the value came),
// acquired (the lease came), stale (a stale value was better than waiting on),
// failed (the load has failed, or its key cools down), timeout, canceled, error.
// An acquisition that finds another holder and does not wait, because there is a
// stale value, is no wait: it is a cache.lock.acquire with the outcome held.
//
// # Errors
//
// A span has error status only if what it describes failed its caller.
// Contention is no error, and a Get that a wait's timeout did not fail is none.
// A wait for a load that failed has done what it was for: the error is on the
// cache.load, and on each cache.get that returned it. A stale value served
// instead of an error is none either; cache.stale.reason says what it was.
// error.type is of few values, and never an error's message.
//
// # Metrics
//
// Histograms of waits, holds, loads and calls of the shared tier, recorded with
// the span's context, so that exemplars lead to traces. Counts come from
// cache.Stats when they are collected: see [Observe]. The five figures that
// cache.Stats computes are quotients of them:
//
//	APICallReduction  1 - cache.loads / cache.requests
//	HitRate           cache.requests with the result hit, stale or negative / cache.requests
//	LockWaitRate      cache.lock.waits / cache.requests
//	AverageWait       cache.lock.wait.time / cache.lock.waits
//	TimeoutRate       cache.lock.waits with the outcome timeout / cache.lock.waits
//
// examples/observe has them as recording rules, alerts and a dashboard.
//
// # What is not shown
//
// Keys, values and tokens appear nowhere, unless Options.Key says how to show
// a key.
//
// # Bursts
//
// A waiter is two spans, its cache.get and its cache.lock.wait, beside its
// caller's own. A stampede of 10,000 of them is 20,000 spans at once, of which
// the SDK's batch processor silently drops what exceeds its queue of 2048. Give
// it room for the largest burst that you want to see whole; a place costs a
// pointer until it is used:
//
//	sdktrace.WithBatcher(exporter, sdktrace.WithMaxQueueSize(1<<15))
//
// or set OTEL_BSP_MAX_QUEUE_SIZE in the environment.
package otelx

import (
	"cmp"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/bellwethercache/bellwether/cache"
)

// Options configure the telemetry of one cache. The zero value, and nil, mean
// the defaults.
type Options struct {
	// CacheName is in span names and attributes. Use the cache's own.
	// Defaults to "cache", as the cache's does.
	CacheName string

	// TracerProvider and MeterProvider default to the global ones.
	TracerProvider trace.TracerProvider
	MeterProvider  metric.MeterProvider

	// Spans says which events become spans. Defaults to SpansSlow: all that
	// memory could not answer.
	Spans Level

	// Key turns a cache's key into what the attribute cache.key may show: a
	// hash ([HashKey]), a redacted form, or the key itself. Defaults to none:
	// keys are often personal data.
	Key func(key string) string

	// RequireParent makes spans only where the context has a span already; of
	// a refresh, that of the caller that set it off. Defaults to false: a wait
	// is worth a trace of its own.
	RequireParent bool

	// Next is called after these hooks: the program's own.
	Next cache.Hooks
}

// hooks is what all hooks of one cache share.
type hooks struct {
	name   string
	opts   Options
	tracer trace.Tracer
	meters *meters
}

// Hooks returns hooks that make spans and metrics of a cache's events.
func Hooks(opts *Options) cache.Hooks {
	h := newHooks(opts)
	own := cache.Hooks{
		GetStart: h.getStart, GetDone: h.getDone,
		Tag:       h.tag,
		FillStart: h.fillStart, FillDone: h.fillDone,
		RefreshStart: h.refreshStart, RefreshDone: h.refreshDone,
		ManyStart: h.manyStart, ManyDone: h.manyDone,
		WaitStart: h.waitStart, WaitDone: h.waitDone,
		LoadStart: h.loadStart, LoadDone: h.loadDone,
		WriteStart: h.writeStart, WriteDone: h.writeDone,
	}
	own.Lock.AcquireStart = h.acquireStart
	own.Lock.Contended = h.contended
	own.Lock.Retry = h.retry
	own.Lock.AcquireDone = h.acquireDone
	own.Lock.Released = h.released
	own.Tier.OpDone = h.opDone
	return cache.JoinHooks(own, h.opts.Next)
}

func newHooks(opts *Options) *hooks {
	h := &hooks{}
	if opts != nil {
		h.opts = *opts
	}
	h.name = cmp.Or(h.opts.CacheName, "cache")
	if h.opts.TracerProvider == nil {
		h.opts.TracerProvider = otel.GetTracerProvider()
	}
	if h.opts.MeterProvider == nil {
		h.opts.MeterProvider = otel.GetMeterProvider()
	}
	h.tracer = h.opts.TracerProvider.Tracer(Scope)
	h.meters = newMeters(h.opts.MeterProvider.Meter(Scope), attribute.String(AttrName, h.name))
	return h
}
