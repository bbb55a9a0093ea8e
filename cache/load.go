package cache

import (
	"cmp"
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

// Run goes on where Probe found nothing. It runs on the flight's goroutine. A
// load whose lease was lost may have been ended by that: then somebody has set,
// deleted or taken over the key, and what that has led to is worth a look.
func (f *fill[K, V]) Run(ctx context.Context, call *flight.Call[outcome[V]]) (out outcome[V], err error) {
	if f.background {
		defer f.cache.refreshing.Add(-1)
	}
	defer f.Drop()
	for range 3 {
		if out, err = f.run(ctx, call); !errors.Is(err, errLost) {
			return out, err
		}
		f.probed, f.found, f.cooling, f.seen = false, nil, nil, nil
	}
	return out, err
}

// errLost ends a load whose context was ended by the loss of its lease.
var errLost = fmt.Errorf("cache: the loader gave up: %w", lock.ErrLost)

func (f *fill[K, V]) run(ctx context.Context, call *flight.Call[outcome[V]]) (out outcome[V], err error) {
	c := f.cache
	hooks := &c.opts.Hooks
	if f.background && hooks.RefreshStart != nil {
		ctx = hooks.RefreshStart(ctx, RefreshStart{Key: f.skey})
	}
	if f.background && hooks.RefreshDone != nil {
		ctx := ctx // not the fill's
		defer func() { hooks.RefreshDone(ctx, RefreshDone{Result: out.result, Err: quiet(err)}) }()
	}
	if !f.probed {
		if out, ok, err := f.look(ctx, call); ok || ctx.Err() != nil {
			return out, errors.Join(err, context.Cause(ctx))
		}
	}
	if f.stale != nil && !f.background {
		call.Offer(*stale(f.stale, 0, nil))
	}
	role := RoleWaiter
	if hooks.FillStart != nil {
		info := FillStart{Key: f.skey}
		if f.first != nil {
			info.Began = f.first.Asked
		}
		ctx = hooks.FillStart(ctx, info)
	}
	f.introduce(ctx, call)
	if hooks.FillDone != nil {
		err = ErrGoexit // stands if the loader never returns
		defer func() { hooks.FillDone(ctx, FillDone{Role: role, Waiters: call.Joined(), Err: quiet(err)}) }()
	}
	lease, err := f.acquire(ctx, call)
	if lease == nil {
		if out, done, err := f.outcomeOf(ctx, call, err); done {
			return out, err
		}
	}
	role = RoleUnprotected
	if lease != nil || !c.tiers.Leases() {
		role = RoleHolder
	}
	if lease != nil {
		// Also on panic and Goexit, so that nobody waits for a load that is over.
		defer func() { _ = lease.Release(context.WithoutCancel(ctx)) }()
	}
	err = ErrGoexit
	return f.loadAndStore(ctx, call, lease, role)
}

// introduce tells followers whom they wait for, where no request for a lease has
// done so.
func (f *fill[K, V]) introduce(ctx context.Context, call *flight.Call[outcome[V]]) {
	if tag := f.cache.opts.Hooks.Tag; tag != nil && f.first == nil {
		call.SetTag(tag(ctx))
	}
}

// quiet hides from hooks what is no failure of anything.
func quiet(err error) error {
	if errors.Is(err, errAgain) {
		return nil
	}
	return err
}

// look is Probe on the flight's goroutine. A refresh goes on unless the tiers
// hold something better than what it is to refresh.
func (f *fill[K, V]) look(ctx context.Context, call *flight.Call[outcome[V]]) (out outcome[V], ok bool, err error) {
	if !f.background {
		return f.Probe(ctx, call)
	}
	look, err := f.cache.tiers.Look(ctx, f.skey, false, nil)
	if ctx.Err() != nil {
		return out, false, nil
	}
	f.probed, f.degraded = true, err
	if e := &look.Entry; look.Found && e.Fresh() && (e.Absent || newer(e, f.stale)) {
		f.promote(ctx, call, e, look.Index)
		out, err = hit(e, ResultFilled, look.Index)
		return out, true, err
	}
	f.seen = look.Seen
	if look.Found && !look.Entry.Absent {
		f.useStale(&look.Entry)
		f.know(&look.Entry)
	}
	return out, false, nil
}

// newer reports whether e was loaded or set after what is to be refreshed. The
// fence decides where both have one; ages are known to a round trip.
func newer[V any](e, old *tier.Entry[V]) bool {
	if old.Fence != 0 && e.Fence != 0 {
		return e.Fence > old.Fence
	}
	return e.Age < old.Age-100*time.Millisecond
}

// loadAndStore calls the loader and keeps what it returns.
func (f *fill[K, V]) loadAndStore(ctx context.Context, call *flight.Call[outcome[V]], lease *lock.Lease, role Role) (out outcome[V], err error) {
	c := f.cache
	loadCtx, fence := ctx, uint64(0)
	if lease != nil {
		loadCtx, fence = lease.Context(), lease.Fence()
	}
	own, stop := f.guard(loadCtx, call, lease)
	if usual := c.usual.get(); usual > 0 {
		call.Announce(usual, false)
	}
	said := newLoad(cmp.Or(f.known, f.stale), fence, c.opts.Clone)
	if role != RoleUnprotected {
		said.asOf = c.tiers.AsOf(ctx, fence)
	}
	v, cost, err := f.callLoader(loadCtx, role, said, own)
	stop()
	if err != nil && lease != nil && errors.Is(context.Cause(loadCtx), lock.ErrLost) && ctx.Err() == nil {
		c.count.leasesLost.Add(1)
		return out, errLost
	}
	out, e, err := f.judge(v, cost, err, said)
	switch {
	case e != nil:
		f.store(ctx, call, lease, e)
	case err != nil && !errors.Is(err, ErrNotFound):
		return f.fail(ctx, lease, err)
	}
	return out, err
}

// alarm rings when somebody may have ended a load's lease; look finds out. The
// zero alarm never rings.
type alarm struct {
	rings <-chan struct{}
	look  func()
}

// guard makes the watch that waited for another's lease tell of our own. Who
// comes once that is lost is to have what took it away, so the flight then takes
// nobody in any more.
func (f *fill[K, V]) guard(ctx context.Context, call *flight.Call[outcome[V]], lease *lock.Lease) (own alarm, stop func()) {
	if lease == nil {
		f.endWatch()
		return own, func() {}
	}
	if f.watch != nil {
		own = alarm{f.watch.wake, func() { _ = lease.Renew(ctx) }} // which ends the lease if it was lost
	}
	retire := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), lock.ErrLost) {
			call.Retire()
		}
	})
	return own, func() {
		f.endWatch()
		retire()
	}
}

// judge says what a loader's result means for callers, and what of it is to be
// stored; nil: nothing.
func (f *fill[K, V]) judge(v V, cost time.Duration, err error, said *Load[V]) (out outcome[V], e *tier.Entry[V], _ error) {
	p := &f.cache.policy
	out = outcome[V]{result: ResultLoaded, degraded: f.degraded != nil}
	switch {
	case err == nil:
		out.value = v
		e = said.entry(p, v, cost)
		if e != nil {
			e.Value = f.cache.clone(v)
		}
	case !errors.Is(err, ErrNotFound):
		return out, nil, err
	case p.AbsentTTL > 0:
		e = &tier.Entry[V]{Absent: true, Cost: cost, FreshFor: p.AbsentTTL, LivesFor: p.AbsentTTL}
	}
	f.cache.cooling.forget(f.skey)
	if e != nil {
		e.Begun, e.AsOf = f.began, said.asOf
		e.Meta = f.cache.tagged(f.key, e.Meta)
		out.meta = e.Meta
		f.setDue(e)
	}
	return out, e, err
}

// fail deals with a load that failed: its key cools down, unless it was its
// callers who gave it up, and a stale value is better than none.
func (f *fill[K, V]) fail(ctx context.Context, lease *lock.Lease, err error) (outcome[V], error) {
	c := f.cache
	p := &c.policy
	cause := err
	err = f.wrap(err)
	if ctx.Err() == nil && p.CoolDown > 0 && !errors.Is(err, ErrNoLoader) {
		c.cooling.note(f.skey, p, err)
		if lease != nil {
			failure := backend.Failure{CoolDown: jitter(p.CoolDown), CoolDownMax: jitter(p.CoolDownMax)}
			if text := c.opts.FailureText; text != nil {
				failure.Text = text(cause)
			}
			ctx = context.WithoutCancel(ctx)
			_ = lease.Settle(ctx, func(ctx context.Context) (bool, error) { // reported to Hooks.Lock
				return c.tiers.Release(ctx, f.skey, lease.Token(), failure)
			})
		}
	}
	return f.orStale(err)
}

func (f *fill[K, V]) wrap(err error) error {
	if _, panicked := err.(*PanicError); panicked || err == ErrGoexit || err == ErrLoadTimeout || err == ErrNoLoader { //nolint:errorlint // ours, not one the loader passed on
		return err
	}
	return &LoadError{Cache: f.cache.opts.Name, Err: err}
}

// loaded is what came of a call of a loader.
type loaded[V any] struct {
	val V
	err error
}

// callLoader runs the loader, for LoadTimeout at most, turning a panic or a
// Goexit into an error. It waits for a slot first.
func (f *fill[K, V]) callLoader(ctx context.Context, role Role, said *Load[V], own alarm) (v V, cost time.Duration, err error) {
	c := f.cache
	if f.load == nil {
		return v, 0, ErrNoLoader
	}
	ctx = context.WithValue(ctx, loadKey{}, said)
	return runLoader(ctx, c.core, &c.policy, own, LoadStart{Role: role, Keys: 1}, func(ctx context.Context) (V, error) {
		return f.load(ctx, f.key)
	})
}

// runLoader is callLoader for any kind of loader.
func runLoader[K comparable, V, R any](ctx context.Context, c *core[K, V], p *Policy, own alarm, info LoadStart, load func(context.Context) (R, error)) (r R, cost time.Duration, err error) {
	for queued := true; queued; {
		select {
		case c.slots <- struct{}{}:
			queued = false
		case <-own.rings:
			own.look()
		case <-ctx.Done():
			return r, 0, context.Cause(ctx)
		}
	}
	if h := c.opts.Hooks.LoadStart; h != nil {
		ctx = h(ctx, info)
	}
	began := clock.Now()
	defer func() {
		cost = time.Duration(clock.Now() - began)
		c.countLoad(info.Role, cost, err)
		if h := c.opts.Hooks.LoadDone; h != nil {
			h(ctx, LoadDone{Role: info.Role, Keys: info.Keys, Duration: cost, Err: err})
		}
	}()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan loaded[R], 1)
	c.loaders.Add(1)
	go func() { // ends with the loader; Close waits for it
		defer c.loaders.Done()
		defer func() { <-c.slots }()
		l := loaded[R]{err: ErrGoexit} // stands if the loader never returns
		defer func() {
			if p := recover(); p != nil {
				l.err = &PanicError{Value: p, Stack: debug.Stack()}
			}
			done <- l
		}()
		l.val, l.err = load(ctx)
	}()
	var deadline <-chan time.Time
	if p.LoadTimeout > 0 {
		t := time.NewTimer(p.LoadTimeout)
		defer t.Stop()
		deadline = t.C
	}
	for {
		select {
		case l := <-done:
			return l.val, 0, l.err
		case <-own.rings:
			own.look()
		case <-deadline:
			// Not waited for: it may ignore its context, and its key must not.
			cancel(ErrLoadTimeout)
			c.count.loadTimeouts.Add(1)
			return r, 0, ErrLoadTimeout
		}
	}
}

func (c *core[K, V]) countLoad(role Role, took time.Duration, err error) {
	n := &c.count
	n.loads.Add(1)
	n.loadTime.Add(int64(took))
	n.longest(took)
	switch {
	case err == nil || errors.Is(err, ErrNotFound):
		c.usual.add(took)
	default:
		n.loadErrors.Add(1)
	}
	if role == RoleUnprotected {
		n.unprotected.Add(1)
	}
}
