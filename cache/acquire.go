package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/bellwethercache/bellwether/backend"
	"github.com/bellwethercache/bellwether/internal/flight"
	"github.com/bellwethercache/bellwether/lock"
	"github.com/bellwethercache/bellwether/tier"
)

// acquire gets the lease of the load; none, and no error, if there is none to
// be had. outcomeOf knows what to make of its error.
func (f *fill[K, V]) acquire(ctx context.Context, call *flight.Call[outcome[V]]) (*lock.Lease, error) {
	c := f.cache
	if !c.tiers.Leases() || f.degraded != nil {
		return nil, nil
	}
	if f.first == nil {
		if err := f.ask(ctx, call); err != nil {
			return nil, err
		}
	}
	acq := lock.Acquisition{
		First: f.first, Try: f.try, NoWait: f.background && call.Joined() == 0 || f.stale != nil,
		Held: func(h lock.Holder) {
			if h.Usual > h.Since {
				call.Announce(h.Usual-h.Since, true)
			}
		},
	}
	if f.watch != nil {
		acq.Wake = f.watch.wake
	}
	lease, err := c.locker.AcquireWith(ctx, f.skey, acq)
	f.first = nil
	return lease, err
}

// ask makes the first attempt, where Probe did not.
func (f *fill[K, V]) ask(ctx context.Context, call *flight.Call[outcome[V]]) error {
	f.ctx, f.on = ctx, call
	_ = f.Ask()
	f.ctx, f.on = nil, nil
	g, err := f.try(ctx, f.first.Request)
	if err != nil {
		f.Drop()
		return err
	}
	f.first.Grant, f.unsure = g, false
	return nil
}

// try makes one attempt for the lease, unless a notice has brought its answer.
func (f *fill[K, V]) try(ctx context.Context, req lock.Request) (lock.Grant, error) {
	if f.watch != nil {
		if n, ok := f.watch.take(); ok {
			if g, ok := f.heed(ctx, n); ok {
				return g, nil
			}
		}
	}
	for range 2 { // a second time if what it found is no better than what was seen
		ask := leaseRequest(req)
		ask.Rejected = f.seen
		f.began = f.cache.stack.Instant()
		reply, err := f.cache.tiers.Lease(ctx, f.skey, ask)
		switch {
		case err != nil:
			return lock.Grant{}, err
		case reply.Value == nil:
			f.cooling = reply.Cooling
			return grant(reply.LeaseReply), nil
		case f.good(&reply.Lookup):
			return lock.Grant{Status: lock.Filled}, nil
		}
		f.reject(&reply.Lookup)
	}
	return lock.Grant{Status: lock.Held}, nil // as far as we are concerned
}

// heed takes a notice for an answer, if it is one.
func (f *fill[K, V]) heed(ctx context.Context, n backend.Notice) (lock.Grant, bool) {
	switch {
	case n.Cooling != nil:
		f.cooling = n.Cooling
		return lock.Grant{Status: lock.Failed}, true
	case n.Value != nil:
		f.began = f.cache.stack.Instant() // the news of what came after it comes after it
		look, err := f.cache.tiers.Decode(ctx, f.skey, n.Value)
		if err == nil && f.good(&look) {
			return lock.Grant{Status: lock.Filled}, true
		}
	}
	return lock.Grant{}, false
}

// good keeps what was found if it makes a load needless.
func (f *fill[K, V]) good(look *tier.Lookup[V]) bool {
	if !look.Found || !look.Entry.Fresh() {
		return false
	}
	e := look.Entry
	f.found = &e
	return true
}

// refuse is the answer while the key cools down.
func (f *fill[K, V]) refuse() (outcome[V], error) {
	c := f.cache
	cool := f.cooling
	_, own := c.cooling.look(f.skey)
	err := &CoolingError{
		Cache: c.opts.Name, Failures: cool.Failures, RetryAfter: max(0, cool.RetryAfter), Text: cool.Text, Err: own,
	}
	return f.orStale(err)
}

// orStale gives the stale value, if it is usable, instead of err.
func (f *fill[K, V]) orStale(err error) (outcome[V], error) {
	if f.stale == nil || f.background || f.stale.LivesFor <= 0 {
		return outcome[V]{}, err
	}
	return *stale(f.stale, 0, err), nil
}

// held is the answer when the lease is another's and there is no more waiting.
func (f *fill[K, V]) held(err error) (out outcome[V], done bool, _ error) {
	switch {
	case f.background:
		return out, true, errAgain
	case f.stale != nil:
		return *stale(f.stale, 0, ErrInProgress), true, nil
	case f.cache.policy.Wait == FailFast:
		return out, true, fmt.Errorf("%w: %w", ErrInProgress, err)
	}
	return out, false, nil
}

// outcomeOf says what came of an acquisition that won no lease. It reports
// false if that leaves a load without a lease.
func (f *fill[K, V]) outcomeOf(ctx context.Context, call *flight.Call[outcome[V]], err error) (out outcome[V], done bool, _ error) {
	switch {
	case err == nil: // no lease to be had
		return f.alone()
	case errors.Is(err, lock.ErrFilled):
		f.promote(ctx, call, f.found, 0)
		out, err = hit(f.found, ResultFilled, 0)
		return out, true, err
	case errors.Is(err, lock.ErrFailed):
		out, err = f.refuse()
		return out, true, err
	case ctx.Err() != nil:
		return out, true, context.Cause(ctx)
	case errors.Is(err, lock.ErrClosed):
		return out, true, err
	case errors.Is(err, lock.ErrHeld):
		return f.held(err)
	}
	f.degraded = err
	return f.alone()
}

// alone is outcomeOf where the shared tier keeps no cool-down: this process's
// own then counts.
func (f *fill[K, V]) alone() (out outcome[V], done bool, err error) {
	cool, _ := f.cache.cooling.look(f.skey)
	if cool.RetryAfter <= 0 {
		return out, false, nil
	}
	f.cooling = &cool
	out, err = f.refuse()
	return out, true, err
}

// watch listens for the end of another's lease.
type watch struct {
	wake chan struct{} // of 1
	stop func()

	mu     sync.Mutex
	notice backend.Notice
	some   bool
}

// beginWatch reports whether the tier will tell.
func (f *fill[K, V]) beginWatch() bool {
	if f.watch != nil {
		return true
	}
	if !f.cache.tiers.Notifies() {
		return false
	}
	w := &watch{wake: make(chan struct{}, 1)}
	w.stop, _ = f.cache.tiers.Watch(f.skey, w.tell)
	f.watch = w
	return true
}

func (f *fill[K, V]) endWatch() {
	if f.watch != nil {
		f.watch.stop()
		f.watch = nil
	}
}

func (w *watch) tell(n backend.Notice) {
	w.mu.Lock()
	w.notice, w.some = n, true
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default: // it is going to look anyway
	}
}

// take returns the last notice, once.
func (w *watch) take() (n backend.Notice, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, ok = w.notice, w.some
	w.notice, w.some = backend.Notice{}, false
	return n, ok
}
