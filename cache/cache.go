package cache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// LoadFunc loads the value of key from the source. Its context carries the
// values of the caller that leads the flight, but ends only when every caller
// has left, when the lease is lost (with cause [lock.ErrLost]), after
// Policy.LoadTimeout, or when the cache is closed. It returns an error that is
// or wraps [ErrNotFound] when the source has no such key. It must not ask the
// cache for the key that it is loading. [LoadFrom] lets it say more than a
// value.
type LoadFunc[K comparable, V any] func(ctx context.Context, key K) (V, error)

// Cache is a typed cache. Make it with [New]; it is safe for concurrent use.
type Cache[K comparable, V any] struct {
	*core[K, V]
	tiers  *tier.Stack[K, V]         // as the policy wants to see them
	flown  *flight.Group[outcome[V]] // the flights that read those tiers
	policy Policy
	bad    error // the policy that With was asked for makes no sense
}

// core is what caches of different policies share.
type core[K comparable, V any] struct {
	load       LoadFunc[K, V]
	opts       Options[K, V]
	key        func(K) string
	parse      func(string) (K, bool) // its inverse; nil: there is none
	panics     bool                   // hashing a K can panic
	stack      *tier.Stack[K, V]
	tierCount  int
	routes     routes[outcome[V]]
	locker     *lock.Locker // nil if no tier leases
	flights    flight.Group[outcome[V]]
	observe    flight.Follower[outcome[V]] // follow, bound once
	fills      sync.Pool                   // of *fill[K, V]
	writes     keyMutex
	readers    readers
	cooling    cooler
	slots      chan struct{} // one for each load that runs
	loaders    sync.WaitGroup
	refreshing atomic.Int64
	claims     claims
	usual      average // of how long loads take
	closed     atomic.Bool
	count      counters
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
	if len(tiers) > 0 { // without any, NewStack says what is missing
		if err := o.Policy.validateTiers(len(tiers)); err != nil {
			return nil, err
		}
	}
	c := &core[K, V]{load: load, opts: o, tierCount: len(tiers), slots: make(chan struct{}, o.MaxLoads)}
	c.observe = c.follow
	c.flights.Limit = int64(o.MaxWaiters)
	var err error
	if c.key, c.panics, err = keyFunc(o.Key); err != nil {
		return nil, err
	}
	if c.parse = parseFunc[K](o.Key); o.ParseKey != nil {
		c.parse = o.ParseKey
	}
	cfg := tier.Config[K, V]{
		Codec: o.Codec, Schema: o.Schema, Migrations: o.Migrations, Hooks: &c.opts.Hooks.Tier, Key: c.key, Parse: parseFunc[K](o.Key),
		News: tier.News{Changed: c.changed, Busy: c.busy, Stamped: c.part},
		Lock: c.writes.lock, Request: func() backend.LeaseRequest { return leaseRequest(c.locker.NewRequest()) },
	}
	c.stack, err = tier.NewStack(cfg, tiers...)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	lease := o.Lease
	lease.Hooks.AcquireDone = c.countWait(lease.Hooks.AcquireDone)
	locker, err := lock.New(leaseDriver[K, V]{c.stack}, &lease) // also validates the options of a cache that needs none
	if err != nil {
		return nil, fmt.Errorf("cache: Options.Lease: %w", err)
	}
	if c.stack.Leases() {
		c.locker = locker
		c.warnOfTTL()
	}
	c.warnOfLacks()
	return (&Cache[K, V]{core: c, policy: o.Policy}).routed(), nil
}

// routed sees the tiers as the policy wants to.
func (c *Cache[K, V]) routed() *Cache[K, V] {
	c.tiers, c.flown = c.stack, &c.flights
	if p := &c.policy; p.SkipReads != 0 || p.SkipWrites != 0 {
		c.tiers = c.stack.Skip(p.SkipReads, p.SkipWrites)
	}
	if skip := c.policy.SkipReads; skip != 0 {
		c.flown = c.routes.group(skip, c.flights.Limit)
	}
	return c
}

// With returns a cache with another policy over the same entries, loads and
// tiers: change sees a copy of this cache's. Make one for each kind of call, or
// for a single call; it costs an allocation. If the policy makes no sense, the
// methods of the returned cache say so. Closing one of them closes all. An entry
// keeps the lifetime that it was stored with: what one policy has not kept beyond
// its TTL, another cannot serve.
//
//	patient := users.With(func(p *cache.Policy) { p.HardTimeout = time.Second })
func (c *Cache[K, V]) With(change func(p *Policy)) *Cache[K, V] {
	w := &Cache[K, V]{core: c.core, policy: c.policy, bad: c.bad}
	if change != nil {
		change(&w.policy)
	}
	w.policy = w.policy.withDefaults()
	if err := cmp.Or(w.policy.validate(), w.policy.validateTiers(c.tierCount)); err != nil {
		w.bad = err
	}
	return w.routed()
}

func (c *core[K, V]) countWait(next func(context.Context, lock.AcquireDone)) func(context.Context, lock.AcquireDone) {
	return func(ctx context.Context, info lock.AcquireDone) {
		if info.TookOver {
			c.count.takeovers.Add(1)
		}
		c.count.acquisitions[info.Outcome].Add(1)
		if info.Waited > 0 {
			c.count.waits.Add(1)
			c.count.remoteWaits.Add(1)
			c.count.waitTime.Add(int64(info.Waited))
			if info.Outcome == lock.OutcomeTimeout || info.Outcome == lock.OutcomeCanceled {
				c.count.waitTimeouts.Add(1)
				c.count.remoteTimeouts.Add(1)
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
// that did not end, and how many queued changes are lost
// (tier.RemoteOptions.Backlog). It is idempotent and nil on repeat.
func (c *Cache[K, V]) Close() error {
	if c.closed.Swap(true) {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(context.Background(), closeWait,
		fmt.Errorf("cache %q: close: a loader has not returned after its context ended", c.opts.Name))
	defer cancel()
	err := errors.Join(c.flights.Close(ctx), c.routes.close(ctx))
	if err == nil {
		err = c.awaitLoaders(ctx)
	}
	if c.locker != nil {
		err = errors.Join(err, c.locker.Close())
	}
	return errors.Join(err, c.stack.Close())
}

// awaitLoaders waits for loaders that have outlived their flight.
func (c *core[K, V]) awaitLoaders(ctx context.Context) error {
	idle := make(chan struct{})
	go func() { // ends with the last loader
		c.loaders.Wait()
		close(idle)
	}()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// check refuses what no tier should see.
func (c *Cache[K, V]) check(ctx context.Context, key K) error {
	switch {
	case ctx == nil:
		return ErrNilContext
	case c.bad != nil:
		return c.bad
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
	return grant(reply.LeaseReply), err
}

func (d leaseDriver[K, V]) Renew(ctx context.Context, key, token string, ttl time.Duration) (bool, error) {
	return d.tiers.Renew(ctx, key, token, ttl)
}

func (d leaseDriver[K, V]) Release(ctx context.Context, key, token string) (bool, error) {
	return d.tiers.Release(ctx, key, token, backend.Failure{})
}

func leaseRequest(req lock.Request) backend.LeaseRequest {
	return backend.LeaseRequest{
		Token: req.Token, Owner: req.Owner, Tag: req.Tag, TTL: req.TTL, Usual: req.Usual, Watch: req.Watch,
	}
}

// grant is a reply without a value in the words of lock.
func grant(r backend.LeaseReply) lock.Grant {
	switch {
	case r.Won:
		return lock.Grant{Status: lock.Won, Fence: r.Fence, Token: r.Token, TookOver: r.TookOver}
	case r.Cooling != nil:
		return lock.Grant{Status: lock.Failed}
	}
	return lock.Grant{Status: lock.Held, Pushed: r.Pushed, Holder: lock.Holder{
		Owner: r.Owner, Tag: r.Tag, Since: r.Since, Remaining: r.Remaining, Usual: r.Usual,
	}}
}

// average is an exponentially weighted mean of durations: each counts for an
// eighth. The zero value knows none.
type average struct{ ns atomic.Int64 }

func (a *average) add(d time.Duration) {
	old := a.ns.Load()
	if old == 0 {
		a.ns.Store(int64(d))
		return
	}
	a.ns.Store(old + (int64(d)-old)/8)
}

func (a *average) get() time.Duration { return time.Duration(a.ns.Load()) }
