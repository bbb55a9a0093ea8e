package otelx

// Scope is the name of the tracer and the meter.
const Scope = "github.com/bellwethercache/bellwether/otelx"

// Spans are named "<name> <cache>". None is made for a hit in memory.
const (
	SpanGet         = "cache.get"          // a Get, from the miss in memory on
	SpanFill        = "cache.fill"         // what a flight's leader does once no tier had the value
	SpanLockAcquire = "cache.lock.acquire" // an acquisition that wins at once
	SpanLockWait    = "cache.lock.wait"    // a wait: for another process, or for a flight of this one
	SpanLoad        = "cache.load"         // a call of the loader
	SpanSet         = "cache.set"
	SpanDelete      = "cache.delete"
)

// Events on spans.
const (
	EventContended = "cache.lock.contended" // on a wait: the first attempt found a holder
	EventRetry     = "cache.lock.retry"     // on a wait: before each sleep, the first 16
	EventReleased  = "cache.lock.released"  // on a fill: its lease ended
	EventLost      = "cache.lock.lost"      // on a fill: its lease was no longer its own
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
	AttrDegraded      = "cache.degraded"
	AttrFillRole      = "cache.fill.role" // holder, waiter, unprotected
	AttrFillWaiters   = "cache.fill.waiters"
	AttrLockScope     = "cache.lock.scope" // distributed, process
	AttrLockTTL       = "cache.lock.ttl"   // s
	AttrLockOutcome   = "cache.lock.outcome"
	AttrLockAttempt   = "cache.lock.attempt"
	AttrLockAttempts  = "cache.lock.attempts"
	AttrLockBackoff   = "cache.lock.backoff" // s
	AttrLockHeld      = "cache.lock.held"    // s
	AttrHolderTraceID = "cache.lock.holder.trace_id"
	AttrHolderID      = "cache.lock.holder.id"
	AttrOperation     = "cache.operation"
	AttrErrorType     = "error.type"
)

// Metrics. Times are in seconds.
const (
	MetricRequests      = "cache.requests"
	MetricLoads         = "cache.loads"
	MetricTierLookups   = "cache.tier.lookups"
	MetricWaits         = "cache.lock.waits"
	MetricWaitDuration  = "cache.lock.wait.duration"
	MetricHoldDuration  = "cache.lock.hold.duration"
	MetricLoadDuration  = "cache.load.duration"
	MetricTierOperation = "cache.tier.operation.duration"
)

// Scopes of a wait.
const (
	scopeDistributed = "distributed"
	scopeProcess     = "process"
)

// Outcomes of a wait beyond lock.Outcome's.
const outcomeShared = "shared"
