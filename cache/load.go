package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/clock"
	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// fill is the work of one flight: look, acquire, load, store.
type fill[K comparable, V any] struct {
	call  flight.Call[outcome[V]]
	cache *Cache[K, V]
	key   K
	skey  string
	load  LoadFunc[K, V]

	probed   bool           // probe went to its end
	stale    *tier.Entry[V] // usable if nothing better is to be had
	seen     []byte         // begins what the shared tier holds and we cannot use
	degraded error          // why the shared tier gave no answer
}

// newFill takes one that a remote hit has left behind, if there is one.
func (c *Cache[K, V]) newFill(key K, load LoadFunc[K, V]) *fill[K, V] {
	f, _ := c.fills.Get().(*fill[K, V])
	if f == nil {
		f = new(fill[K, V])
	}
	f.cache, f.key, f.skey, f.load = c, key, c.key(key), load
	return f
}

// freeFill keeps f for the next, if it led a flight that nobody joined and
// that ended where it began, or never led one.
func (c *Cache[K, V]) freeFill(f *fill[K, V], followed bool) {
	if followed || f.call.Reset() {
		*f = fill[K, V]{}
		c.fills.Put(f)
	}
}

// Probe looks in all tiers, on the leader's own goroutine.
//
// The nearest tier is looked at again, because between this caller's miss and
// its flight another flight may have begun, filled it and ended:
//
//	1 A misses                    4 B's flight fills L1 and ends
//	2 B misses                    5 A finds no flight, leads its own
//	3 B's flight loads            6 A would load a second time
func (f *fill[K, V]) Probe(ctx context.Context, call *flight.Call[outcome[V]]) (out outcome[V], ok bool, err error) {
	tiers := f.cache.tiers
	if e, ok := tiers.Local(f.key); ok {
		if e.Fresh() {
			out, err = hit(&e, ResultHit, 1)
			return out, true, err
		}
		stale := e
		f.stale = &stale
	}
	look, index, err := tiers.Remote(ctx, f.skey)
	if ctx.Err() != nil {
		return out, false, nil // a follower's context may still live: run begins anew
	}
	f.probed, f.degraded = true, err
	if look.Found && look.Entry.Fresh() {
		if index > 1 {
			e := look.Entry
			f.promote(ctx, call, &e, index)
		}
		out, err = hit(&look.Entry, ResultHit, index)
		return out, true, err
	}
	f.reject(&look)
	return out, false, nil
}

// reject remembers what was found and cannot be served as fresh.
func (f *fill[K, V]) reject(look *tier.Lookup[V]) {
	f.seen = look.Seen
	if look.Found {
		e := look.Entry
		f.stale = &e
	}
}

// promote writes what tier index held to the tiers above it.
func (f *fill[K, V]) promote(ctx context.Context, call *flight.Call[outcome[V]], e *tier.Entry[V], index int) {
	kept := call.Publish(func() { f.cache.tiers.SetLocal(f.key, e) })
	if kept && index > 0 {
		_ = f.cache.tiers.SetRemote(ctx, f.skey, e, index) // reported to Hooks.Tier
	}
}

// Run goes on where Probe found nothing. It runs on the flight's goroutine.
func (f *fill[K, V]) Run(ctx context.Context, call *flight.Call[outcome[V]]) (out outcome[V], err error) {
	if !f.probed {
		if out, ok, err := f.Probe(ctx, call); ok || ctx.Err() != nil {
			return out, errors.Join(err, context.Cause(ctx))
		}
	}
	role := RoleWaiter
	hooks := &f.cache.opts.Hooks
	if hooks.FillStart != nil {
		var tag string
		ctx, tag = hooks.FillStart(ctx, FillStart{Key: f.skey})
		call.SetTag(tag)
	}
	if hooks.FillDone != nil {
		err = ErrGoexit // stands if the loader never returns
		defer func() { hooks.FillDone(ctx, FillDone{Role: role, Waiters: call.Joined(), Err: err}) }()
	}
	lease, out, err := f.acquire(ctx, call)
	if out.result != ResultError || err != nil {
		return out, err
	}
	role = RoleUnprotected
	if lease != nil || !f.cache.tiers.Leases() {
		role = RoleHolder
	}
	if lease != nil {
		// Also on panic and Goexit, so that nobody waits for a load that is over.
		defer func() { _ = lease.Release(context.WithoutCancel(ctx)) }()
	}
	err = ErrGoexit
	return f.loadAndStore(ctx, call, lease, role)
}

// acquire gets the lease, or the value that makes it needless (then the
// outcome has a result). Neither, and no error, means: load without a lease.
func (f *fill[K, V]) acquire(ctx context.Context, call *flight.Call[outcome[V]]) (lease *lock.Lease, out outcome[V], err error) {
	c := f.cache
	if c.locker == nil || f.degraded != nil {
		return nil, out, nil
	}
	var found *tier.Entry[V]
	try := func(ctx context.Context, req lock.Request) (lock.Grant, error) {
		call.SetTag(req.Tag)
		reply, err := f.lease(ctx, req)
		if reply.Lookup.Found {
			found = &reply.Lookup.Entry
		}
		return grant(reply), err
	}
	serveStale := c.opts.Wait == ServeStale && f.stale != nil
	if serveStale {
		lease, err = c.locker.TryAcquireFunc(ctx, f.skey, try)
	} else {
		lease, err = c.locker.AcquireFunc(ctx, f.skey, try)
	}
	switch {
	case err == nil:
		return lease, out, nil
	case errors.Is(err, lock.ErrFilled):
		f.promote(ctx, call, found, 0)
		out, err = hit(found, ResultFilled, 0)
		return nil, out, err
	case ctx.Err() != nil:
		return nil, out, context.Cause(ctx)
	case errors.Is(err, lock.ErrHeld) && serveStale:
		out, err = hit(f.stale, ResultStale, 0)
		return nil, out, err
	case errors.Is(err, lock.ErrHeld) && c.opts.Wait == FailFast:
		return nil, out, fmt.Errorf("%w: %w", ErrInProgress, err)
	case errors.Is(err, lock.ErrClosed):
		return nil, out, err
	}
	if !errors.Is(err, lock.ErrHeld) {
		f.degraded = err
	}
	return nil, out, nil
}

// lease asks once, and a second time if what it found is no better than what
// was seen before.
func (f *fill[K, V]) lease(ctx context.Context, req lock.Request) (reply tier.LeaseReply[V], err error) {
	for range 2 {
		ask := leaseRequest(req)
		ask.Rejected = f.seen
		reply, err = f.cache.tiers.Lease(ctx, f.skey, ask)
		if err != nil || reply.Value == nil || reply.Lookup.Found && reply.Lookup.Entry.Fresh() {
			return reply, err
		}
		f.reject(&reply.Lookup)
		reply.Lookup.Found, reply.Value = false, nil // held, as far as the caller is concerned
	}
	return reply, nil
}

// loadAndStore calls the loader and keeps what it returns.
func (f *fill[K, V]) loadAndStore(ctx context.Context, call *flight.Call[outcome[V]], lease *lock.Lease, role Role) (outcome[V], error) {
	c := f.cache
	out := outcome[V]{result: ResultLoaded, degraded: f.degraded != nil}
	v, cost, err := f.callLoader(ctx, role)
	e := &tier.Entry[V]{Value: v, Cost: cost, FreshFor: c.opts.TTL, LivesFor: c.opts.TTL + c.opts.StaleFor}
	switch {
	case err != nil && errors.Is(err, ErrNotFound):
		if c.opts.AbsentTTL == 0 {
			return out, err
		}
		e = &tier.Entry[V]{Absent: true, Cost: cost, FreshFor: c.opts.AbsentTTL, LivesFor: c.opts.AbsentTTL}
	case err != nil:
		return out, f.wrap(err)
	default:
		out.value = v
	}
	f.store(ctx, call, lease, e)
	return out, err
}

func (f *fill[K, V]) wrap(err error) error {
	if _, panicked := err.(*PanicError); panicked || err == ErrGoexit { //nolint:errorlint // ours, not one the loader passed on
		return err
	}
	return &LoadError{Cache: f.cache.opts.Name, Err: err}
}

// callLoader runs the loader, turning a panic into an error. A Goexit passes
// through; the flight turns it into one.
func (f *fill[K, V]) callLoader(ctx context.Context, role Role) (v V, cost time.Duration, err error) {
	c := f.cache
	if f.load == nil {
		return v, 0, ErrNoLoader
	}
	if h := c.opts.Hooks.LoadStart; h != nil {
		ctx = h(ctx, LoadStart{Role: role})
	}
	began := clock.Now()
	err = ErrGoexit
	defer func() {
		if p := recover(); p != nil {
			err = &PanicError{Value: p, Stack: debug.Stack()}
		}
		cost = time.Duration(clock.Now() - began)
		c.count.load(role, cost, err)
		if h := c.opts.Hooks.LoadDone; h != nil {
			h(ctx, LoadDone{Role: role, Duration: cost, Err: err})
		}
	}()
	v, err = f.load(ctx, f.key)
	return v, cost, err
}

func (n *counters) load(role Role, took time.Duration, err error) {
	n.loads.Add(1)
	n.loadTime.Add(int64(took))
	if err != nil && !errors.Is(err, ErrNotFound) {
		n.loadErrors.Add(1)
	}
	if role == RoleUnprotected {
		n.unprotected.Add(1)
	}
}

// store keeps a loaded entry: in the shared tier under the lease, then in this
// process. The callers may all have left, which is no reason not to.
func (f *fill[K, V]) store(ctx context.Context, call *flight.Call[outcome[V]], lease *lock.Lease, e *tier.Entry[V]) {
	c := f.cache
	ctx = context.WithoutCancel(ctx)
	switch {
	case lease != nil:
		e.Fence = lease.Fence()
		err := lease.Settle(ctx, func(ctx context.Context) (bool, error) {
			return c.tiers.Commit(ctx, f.skey, lease.Token(), e)
		})
		switch {
		case errors.Is(err, lock.ErrLost):
			// Another load, a Set or a Delete has come after ours.
			c.count.leasesLost.Add(1)
			return
		case err != nil && !errors.Is(err, backend.ErrUnavailable):
			_, _ = c.tiers.Release(ctx, f.skey, lease.Token()) // too large, no room: it stays here only
		}
	case !c.tiers.Leases():
		_ = c.tiers.SetRemote(ctx, f.skey, e, 0) // reported to Hooks.Tier
	}
	// Unprotected, only this process keeps it: elsewhere it could overwrite
	// what a holder, a Set or a Delete has done meanwhile.
	call.Publish(func() { c.tiers.SetLocal(f.key, e) })
}

func leaseRequest(req lock.Request) backend.LeaseRequest {
	return backend.LeaseRequest{Token: req.Token, Owner: req.Owner, Tag: req.Tag, TTL: req.TTL}
}

func grant[V any](r tier.LeaseReply[V]) lock.Grant {
	switch {
	case r.Lookup.Found:
		return lock.Grant{Status: lock.Filled}
	case r.Won:
		return lock.Grant{Status: lock.Won, Fence: r.Fence}
	}
	return lock.Grant{Status: lock.Held, Holder: lock.Holder{
		Owner: r.Owner, Tag: r.Tag, Since: r.Since, Remaining: r.Remaining,
	}}
}
