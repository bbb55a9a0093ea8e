package tier

import (
	"context"
	"time"
)

// Hooks observe the remote tiers. A nil func is off. They must not block.
type Hooks struct {
	// OpDone is called after each call of a store, also after one that was
	// not made because the breaker is open.
	OpDone func(ctx context.Context, info OpDone)
	// Breaker is called when a tier's breaker opens or closes.
	Breaker func(ctx context.Context, info Breaker)
	// Hearing is called when the farthest tier begins to tell what other
	// processes change, and when it ends to: once a change, however often the
	// store says so. Until the first call changes are not told; that may come
	// while the cache is being made. It belongs to no request: its context is
	// empty.
	Hearing func(ctx context.Context, info Hearing)
}

// OpDone is the info of [Hooks].OpDone.
type OpDone struct {
	Tier     int // 1 is the nearest
	Op       Op
	Duration time.Duration
	Err      error // nil also for a miss
	Skipped  bool  // the breaker is open or the queue is full: Err says which
}

// Breaker is the info of [Hooks].Breaker.
type Breaker struct {
	Tier int // 1 is the nearest
	Open bool
}

// Hearing is the info of [Hooks].Hearing.
type Hearing struct {
	Tier  int  // 1 is the nearest
	Heard bool // all changes are told from now on; else some may be missed
}

// Op is what a tier asks of its store.
type Op uint8

// The operations, as metrics name them.
const (
	OpGet Op = iota
	OpSet
	OpDelete
	OpLease
	OpCommit
	OpRenew
	OpRelease
	OpExpire
	OpStamp // tags
	OpTags  // read stamps

	numOps = iota
)

var opNames = [numOps]string{"get", "set", "delete", "lease", "commit", "renew", "release", "expire", "stamp", "tags"}

// String returns the operation's name in metrics.
func (o Op) String() string { return opNames[o] }
