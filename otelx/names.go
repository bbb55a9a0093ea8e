package otelx

// Scope is the name of the tracer and the meter.
const Scope = "github.com/bellwethercache/bellwether/otelx"

// Spans are named "<name> <cache>". None is made for a hit in memory, fresh or
// stale.
const (
	SpanGet         = "cache.get"          // a Get, from the miss in memory on
	SpanGetMany     = "cache.get_many"     // a GetMany, from the misses in memory on
	SpanRefresh     = "cache.refresh"      // a refresh in the background: a trace of its own, linked to what set it off
	SpanFill        = "cache.fill"         // what a flight's leader does once no tier had the value
	SpanLockAcquire = "cache.lock.acquire" // an acquisition that does not wait
	SpanLockWait    = "cache.lock.wait"    // a wait: for another process, or for a flight of this one
	SpanLoad        = "cache.load"         // a call of the loader
	SpanSet         = "cache.set"
	SpanDelete      = "cache.delete"
	SpanExpire      = "cache.expire"
)

// Events on spans.
const (
	EventContended = "cache.lock.contended" // on a wait: the first attempt found a holder
	EventRetry     = "cache.lock.retry"     // on a wait: before each sleep, the first 16
	EventReleased  = "cache.lock.released"  // on a fill or a get_many: a lease ended
	EventLost      = "cache.lock.lost"      // on a fill or a get_many: a lease was no longer its own
	EventDegraded  = "cache.l2.skipped"     // on a get: a tier gave no answer
)

// Attributes of spans, events and metrics.
const (
	AttrName          = "cache.name"
	AttrKey           = "cache.key" // only with Options.Key
	AttrResult        = "cache.result"
	AttrHit           = "cache.hit"
	AttrTier          = "cache.tier" // l1, l2, ...
	AttrStaleAge      = "cache.stale.age"
	AttrStaleReason   = "cache.stale.reason" // why nothing fresher was to be had: as error.type
	AttrDegraded      = "cache.degraded"
	AttrFillRole      = "cache.fill.role" // holder, waiter, unprotected
	AttrFillWaiters   = "cache.fill.waiters"
	AttrLoadKeys      = "cache.load.keys" // of a load of several
	AttrManyKeys      = "cache.many.keys" // that memory did not have
	AttrManyFound     = "cache.many.found"
	AttrManyAbsent    = "cache.many.absent"
	AttrManyFailed    = "cache.many.failed"
	AttrLockScope     = "cache.lock.scope" // distributed, process
	AttrLockTTL       = "cache.lock.ttl"   // s
	AttrLockOutcome   = "cache.lock.outcome"
	AttrLockAttempt   = "cache.lock.attempt"
	AttrLockAttempts  = "cache.lock.attempts"
	AttrLockBackoff   = "cache.lock.backoff"   // s
	AttrLockHeld      = "cache.lock.held"      // s
	AttrLockPushed    = "cache.lock.pushed"    // the end of the holder's lease is told: nobody polls
	AttrLockTookOver  = "cache.lock.took_over" // from a holder whose process is gone
	AttrLockHopeless  = "cache.lock.hopeless"  // not waited for: the caller's deadline comes before the usual end
	AttrHolderTraceID = "cache.lock.holder.trace_id"
	AttrHolderID      = "cache.lock.holder.id"
	AttrOperation     = "cache.operation"
	AttrTagsCount     = "cache.tags.count"      // of a write by tag; the tags themselves may be personal data
	AttrBreakerState  = "cache.breaker.state"   // open, closed
	AttrHearing       = "cache.coherence.state" // hears, deaf: to what other processes change
	AttrRejectReason  = "cache.reject.reason"   // corrupt, foreign
	AttrErrorType     = "error.type"
)

// Metrics. Times are in seconds.
const (
	MetricRequests       = "cache.requests"
	MetricWaiting        = "cache.requests.active"
	MetricErrors         = "cache.errors"
	MetricStaleIfError   = "cache.stale.fallbacks"
	MetricLoads          = "cache.loads"
	MetricLoading        = "cache.loads.active"
	MetricLoadErrors     = "cache.load.errors"
	MetricLoadUsual      = "cache.load.usual"
	MetricLoadLongest    = "cache.load.longest"
	MetricTierLookups    = "cache.tier.lookups"
	MetricTierRejects    = "cache.tier.rejects"
	MetricTierMigrations = "cache.tier.migrations"
	MetricTierSkips      = "cache.tier.skips"
	MetricBacklog        = "cache.tier.backlog"
	MetricReplays        = "cache.tier.replays"
	MetricDrops          = "cache.tier.drops"
	MetricBreaker        = "cache.breaker.status"
	MetricHearing        = "cache.coherence.status"
	MetricChanges        = "cache.coherence.changes"
	MetricEntries        = "cache.entry.count"
	MetricEvictions      = "cache.evictions"
	MetricAcquisitions   = "cache.lock.acquisitions"
	MetricWaits          = "cache.lock.waits"
	MetricWaitTime       = "cache.lock.wait.time"
	MetricTakeovers      = "cache.lock.takeovers"
	MetricLosses         = "cache.lock.losses"
	MetricWaitDuration   = "cache.lock.wait.duration"
	MetricHoldDuration   = "cache.lock.hold.duration"
	MetricLoadDuration   = "cache.load.duration"
	MetricTierOperation  = "cache.tier.operation.duration"
)

// Scopes of a wait.
const (
	scopeDistributed = "distributed"
	scopeProcess     = "process"
)

// Outcomes of a wait beyond lock.Outcome's.
const (
	outcomeShared = "shared" // got what the flight's leader got
	outcomeStale  = "stale"  // was given a stale value instead of waiting on
)

// typeOther is OpenTelemetry's error.type for all that has no value of its own.
const typeOther = "_OTHER"
