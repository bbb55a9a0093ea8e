package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// LoadFunc loads the value of key from the source. Its context carries the
// values of the caller that leads the flight, but ends only when every caller
// has left or the cache is closed. It returns an error that is or wraps
// [ErrNotFound] when the source has no such key. It must not ask the cache for
// the key that it is loading.
type LoadFunc[K comparable, V any] func(ctx context.Context, key K) (V, error)

// Cache is a typed cache. Make it with [New]; it is safe for concurrent use.
type Cache[K comparable, V any] struct {
	load    LoadFunc[K, V]
	opts    Options[K, V]
	key     func(K) string
	panics  bool // hashing a K can panic
	tiers   *tier.Stack[K, V]
	locker  *lock.Locker // nil if no tier leases
	flights flight.Group[outcome[V]]
	observe flight.Follower[outcome[V]] // follow, bound once
	fills   sync.Pool                   // of *fill[K, V]
	writes  keyMutex
	closed  atomic.Bool
	count   counters
}

// New returns a cache of the tiers, nearest first, before load. It takes the
// tiers' stores over: Close closes them. load may be nil if every read is a
// GetOrLoad or a Peek. New does no I/O and succeeds while servers are down. If
// it fails, the stores stay the caller's.
func New[K comparable, V any](load LoadFunc[K, V], opts *Options[K, V], tiers ...tier.Tier) (*Cache[K, V], error) {
	o := opts.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	c := &Cache[K, V]{load: load, opts: o}
	c.observe = c.follow
	var err error
	if c.key, c.panics, err = keyFunc(o.Key); err != nil {
		return nil, err
	}
	c.tiers, err = tier.NewStack[K](tier.Config[V]{Codec: o.Codec, Schema: o.Schema, Hooks: &c.opts.Hooks.Tier}, tiers...)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	lease := o.Lease
	lease.Hooks.AcquireDone = c.countWait(lease.Hooks.AcquireDone)
	locker, err := lock.New(leaseDriver[K, V]{c.tiers}, &lease) // also validates the options of a cache that needs none
	if err != nil {
		return nil, fmt.Errorf("cache: Options.Lease: %w", err)
	}
	if c.tiers.Leases() {
		c.locker = locker
		c.advise()
	}
	return c, nil
}

// advise warns of options that work but defeat their purpose.
func (c *Cache[K, V]) advise() {
	if ttl := c.locker.TTL(); c.opts.TTL <= ttl && c.opts.Hooks.Warn != nil {
		c.opts.Hooks.Warn(context.Background(), lock.Warning{
			Code: lock.WarnEntryTTL,
			Message: fmt.Sprintf("cache %q: Options.TTL (%v) is not above Options.Lease.TTL (%v): "+
				"entries may expire while waiters still look for them; make TTL several times the lease's", c.opts.Name, c.opts.TTL, ttl),
		})
	}
}

func (c *Cache[K, V]) countWait(next func(context.Context, lock.AcquireDone)) func(context.Context, lock.AcquireDone) {
	return func(ctx context.Context, info lock.AcquireDone) {
		if info.Waited > 0 {
			c.count.waits.Add(1)
			c.count.waitTime.Add(int64(info.Waited))
			if info.Outcome == lock.OutcomeTimeout || info.Outcome == lock.OutcomeCanceled {
				c.count.waitTimeouts.Add(1)
			}
		}
		if next != nil {
			next(ctx, info)
		}
	}
}

// closeWait is how long Close waits for loaders. With what closing the stores
// takes it stays below 2 s.
const closeWait = time.Second

// Close refuses new calls, cancels the loads that are under way, waits for
// them for up to a second, and closes the tiers' stores. It reports loaders
// that did not end. It is idempotent and nil on repeat.
func (c *Cache[K, V]) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), closeWait,
		fmt.Errorf("cache %q: close: a loader has not returned after its context ended", c.opts.Name))
	defer cancel()
	err := c.flights.Close(ctx)
	if c.locker != nil {
		err = errors.Join(err, c.locker.Close())
	}
	return errors.Join(err, c.tiers.Close())
}

// check refuses what no tier should see.
func (c *Cache[K, V]) check(ctx context.Context, key K) error {
	switch {
	case ctx == nil:
		return ErrNilContext
	case c.closed.Load():
		return ErrClosed
	case c.panics && !canCompare(key):
		return ErrKey
	}
	return nil
}

// leaseDriver lets the locker renew and release what the stack has leased.
type leaseDriver[K comparable, V any] struct{ tiers *tier.Stack[K, V] }

func (d leaseDriver[K, V]) Acquire(ctx context.Context, key string, req lock.Request) (lock.Grant, error) {
	reply, err := d.tiers.Lease(ctx, key, leaseRequest(req))
	return grant(reply), err
}

func (d leaseDriver[K, V]) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	return d.tiers.Renew(ctx, key, token, ttl)
}

func (d leaseDriver[K, V]) Release(ctx context.Context, key, token string) (bool, error) {
	return d.tiers.Release(ctx, key, token)
}
