package cache

import (
	"context"
	"time"

	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// Hooks observe a cache: package otelx turns them into spans and metrics, and
// they serve logs and tests as well. A nil func is off; the zero Hooks cost
// nothing. Hooks are called on the path that they observe, concurrently, and
// must not block or call the cache. None is called on a hit of the in-process
// tier: count those with [Cache.Stats].
//
// Most are called for each request that gets past memory: a log should tell of
// changes instead. The example logs an outage in two lines, however many
// requests it meets.
//
// A Start hook returns the context that what follows runs in, down to the
// loader; its Done hook gets that context.
//
// The Key of an info is the cache's key as a string. It may be personal data:
// show it nowhere unless the user asked for it.
type Hooks struct {
	// GetStart and GetDone surround a Get, from the miss of the in-process
	// tier on.
	GetStart func(ctx context.Context, info GetStart) context.Context
	GetDone  func(ctx context.Context, info GetDone)

	// Tag says what those who wait, in whatever process, are told of the
	// acquisition that is about to be made in ctx: a trace context, without
	// line breaks. It comes to their Lock hooks, and to WaitStart and WaitDone.
	Tag func(ctx context.Context) string

	// FillStart and FillDone surround what the leader of a flight does once
	// no tier had the value: acquire, load, store. The first attempt for the
	// lease may have been made before.
	FillStart func(ctx context.Context, info FillStart) context.Context
	FillDone  func(ctx context.Context, info FillDone)

	// RefreshStart and RefreshDone surround a refresh in the background. Its
	// context has the values of the caller that set it off, who does not wait
	// for it: it is no part of that caller's work.
	RefreshStart func(ctx context.Context, info RefreshStart) context.Context
	RefreshDone  func(ctx context.Context, info RefreshDone)

	// ManyStart and ManyDone surround a GetMany, from the misses of the
	// in-process tier on. Its flights are told by the hooks above, without
	// GetStart and GetDone; its one load by LoadStart and LoadDone.
	ManyStart func(ctx context.Context, info ManyStart) context.Context
	ManyDone  func(ctx context.Context, info ManyDone)

	// WaitStart and WaitDone surround the wait of a caller that joined
	// another's flight in this process. Waits for other processes are in Lock.
	WaitStart func(ctx context.Context, info WaitStart) context.Context
	WaitDone  func(ctx context.Context, info WaitDone)

	// LoadStart and LoadDone surround each call of a loader.
	LoadStart func(ctx context.Context, info LoadStart) context.Context
	LoadDone  func(ctx context.Context, info LoadDone)

	// WriteStart and WriteDone surround Set, Delete and Expire, also by tag.
	WriteStart func(ctx context.Context, info WriteStart) context.Context
	WriteDone  func(ctx context.Context, info WriteDone)

	// Warn gives advice: something works but will hurt.
	Warn func(ctx context.Context, w lock.Warning)

	// Lock observes the leases. Its Warn is not used: Warn above gets all.
	Lock lock.Hooks

	// Tier observes the tiers outside of this process.
	Tier tier.Hooks
}

// Result says where a Get's value came from.
type Result uint8

// The results, as spans and metrics name them. A coalesced caller is Shared,
// whatever its leader did.
const (
	ResultError    Result = iota // no value
	ResultHit                    // a tier had it fresh
	ResultStale                  // a tier had it stale, and it was served
	ResultNegative               // a tier knew that the source has none
	ResultShared                 // another caller in this process got it
	ResultFilled                 // another process loaded it while we waited or asked
	ResultLoaded                 // our loader
)

var resultNames = [...]string{"error", "hit", "stale", "negative", "shared", "filled", "loaded"}

// String returns the result's name in spans and metrics.
func (r Result) String() string { return resultNames[r] }

// Role says under what protection a fill loads.
type Role uint8

// The roles, as spans and metrics name them.
const (
	RoleHolder      Role = iota // it held the lease, or there is no shared tier to lease from
	RoleWaiter                  // it found another's value and loaded nothing
	RoleUnprotected             // the lease could not be had: an outage, or a wait that was too long
)

var roleNames = [...]string{"holder", "waiter", "unprotected"}

// String returns the role's name in spans and metrics.
func (r Role) String() string { return roleNames[r] }

// GetStart is the info of [Hooks].GetStart.
type GetStart struct{ Key string }

// GetDone is the info of [Hooks].GetDone.
type GetDone struct {
	Result   Result
	Tier     int           // of a hit: 1 is the nearest
	Age      time.Duration // of a hit or stale value
	Why      error         // of ResultStale: why nothing fresher was to be had, if that is known
	Degraded bool          // a tier gave no answer
	Err      error         // of ResultError and ResultNegative
}

// FillStart is the info of [Hooks].FillStart.
type FillStart struct {
	Key   string
	Began time.Time // of the first attempt for the lease, if it was made before; else zero
}

// FillDone is the info of [Hooks].FillDone.
type FillDone struct {
	Role    Role
	Waiters int // callers in this process that joined
	Err     error
}

// RefreshStart is the info of [Hooks].RefreshStart.
type RefreshStart struct{ Key string }

// RefreshDone is the info of [Hooks].RefreshDone.
type RefreshDone struct {
	Result Result // ResultLoaded, ResultFilled (another has done it), or ResultError
	Err    error  // nil also if another process sees to it
}

// ManyStart is the info of [Hooks].ManyStart.
type ManyStart struct{ Keys int } // that memory did not have

// ManyDone is the info of [Hooks].ManyDone.
type ManyDone struct {
	Found  int // of the keys: with a value
	Absent int // not found
	Err    error
}

// WaitStart is the info of [Hooks].WaitStart.
type WaitStart struct {
	Tag string // what Hooks.Tag said for the flight's leader; may be empty
}

// WaitDone is the info of [Hooks].WaitDone.
type WaitDone struct {
	Tag      string // as in WaitStart, but as of now: a leader's lock is known later
	Waited   time.Duration
	Canceled bool // the caller left on its own context
	Stale    bool // it was given a stale value instead
	Err      error
}

// LoadStart is the info of [Hooks].LoadStart.
type LoadStart struct {
	Role Role
	Keys int // 1, or more in a GetMany
}

// LoadDone is the info of [Hooks].LoadDone.
type LoadDone struct {
	Role     Role
	Keys     int
	Duration time.Duration
	Err      error // as the loader returned it, a *PanicError or ErrGoexit
}

// WriteStart is the info of [Hooks].WriteStart.
type WriteStart struct {
	Op   tier.Op // tier.OpSet, tier.OpDelete or tier.OpExpire
	Key  string  // "" of a write by tag
	Tags int     // of a write by tag: how many; Clear and ExpireAll count as 1
}

// WriteDone is the info of [Hooks].WriteDone.
type WriteDone struct {
	Op  tier.Op
	Err error
}
